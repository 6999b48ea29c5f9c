"""What the suite `caching` measures: steps, and ways to take them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

GIB = 2**30


class Way(NamedTuple):
  """A way to take the same step.

  Attributes:
    name: in the table.
    fields: of the config.
    devices: number of virtual CPU devices.
    exact: whether it is to give the plain step's loss and gradient.
    memory: bytes that it may take, where that was asked for.
  """

  name: str
  fields: Mapping[str, Any] = {}
  devices: int = 1
  exact: bool = True
  memory: float | None = None


class Case(NamedTuple):
  """A step, and the ways to take it.

  Attributes:
    title: in the report.
    image_shape: `(H, W, C)`.
    fields: of the config, for all ways.
    ways: the first one is the plain.
  """

  title: str
  image_shape: tuple[int, int, int]
  fields: Mapping[str, Any]
  ways: Sequence[Way]


def _chunks(*sizes: int, memory: float | None = None) -> list[Way]:
  return [
    Way(f"chunks of {size}", {"batch.chunk": size}, memory=memory)
    for size in sizes
  ]


# What all steps share. SGD's momentum is, after one step, the gradient; of all
# triplets no near-tie is mined the other way, which is another step.
SHARED: Mapping[str, Any] = {
  "loss.name": "triplet",
  "loss.miner": "all",
  "model.norm": "group",
  "model.dropout": 0.1,
  "optimizer.name": "sgd",
  "optimizer.momentum": 0.9,
  "optimizer.weight_decay": 0.0,
}
_RESNET = {
  "model.name": "resnet18",
  "model.features": (),
  "model.dimension": 128,
}
# What configs/facenet.py says.
FACENET: Mapping[str, Any] = {
  "batch.identities": 45,
  "batch.images": 40,
  "augment.rotation": 0.0,
  "augment.scale": 0.0,
  "augment.shear": 0.0,
  "augment.translation": 0.0,
  "augment.flip": 0.5,
  "model.name": "inception_resnet_v1",
  "model.features": (),
  "model.dimension": 128,
  "model.dropout": 0.0,
  "model.pixels": "facenet",
  "loss.miner": "random_semi_hard",
  "loss.reduction": "mean",
  "optimizer.name": "adagrad",
  "optimizer.learning_rate": 0.05,
}
CASES: Mapping[str, Case] = {
  "convnet": Case(
    "ConvNet, 1,024 (64 x 16) images of 32 x 32",
    (32, 32, 1),
    {"batch.identities": 64, "batch.images": 16},
    [
      Way("plain"),
      *_chunks(256, 64),
      Way("2 devices", devices=2),
      Way("8 devices", devices=8),
      Way("8 devices, shard_map", {"parallel.backend": "shard_map"}, 8),
      Way("8 devices, chunks of 32", {"batch.chunk": 32}, 8),
      Way("bfloat16", {"model.dtype": "bfloat16"}, exact=False),
    ],
  ),
  "resnet": Case(
    "ResNet-18, 128 (16 x 8) images of 32 x 32",
    (32, 32, 3),
    {**_RESNET, "batch.identities": 16, "batch.images": 8},
    [
      Way("plain"),
      *_chunks(32, 8),
      Way("2 devices, chunks of 8", {"batch.chunk": 8}, 2),
    ],
  ),
  "faces": Case(
    "ResNet-18, 1,800 (45 x 40) images of 160 x 160",
    (160, 160, 3),
    {**_RESNET, "batch.identities": 45, "batch.images": 40},
    [Way("plain"), *_chunks(20, memory=4 * GIB)],
  ),
  "facenet": Case(
    "configs/facenet.py: Inception-ResNet-v1, 1,800 (45 x 40) images of "
    "160 x 160, random semi-hard negatives",
    (160, 160, 3),
    FACENET,
    [Way("plain"), *_chunks(45)],
  ),
}
