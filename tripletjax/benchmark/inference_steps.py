"""Ways to embed the same images, for the suite `inference`."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from ml_collections import ConfigDict
from PIL import Image

from tripletjax.benchmark.input_files import Kind, make_files
from tripletjax.data.caching import num_cores
from tripletjax.data.pipeline import padded_batches
from tripletjax.data.sources import Source
from tripletjax.inference.embedder import Embedder
from tripletjax.inference.reading import Images
from tripletjax.training import parallel
from tripletjax.training.finished import FinishedRun
from tripletjax.training.network import make_model

Call = Callable[[], object]


class Network(NamedTuple):
  """A network, and what it embeds.

  Attributes:
    fields: changes to `config.model`.
    kind: the files.
    format: of the files, in words.
    batch: images that are embedded at a time; divides the number of files.
  """

  fields: Mapping[str, Any]
  kind: Kind
  format: str
  batch: int


NETWORKS: Mapping[str, Network] = {
  "convnet": Network(
    {}, Kind("glyphs", ".png", 32, 32, 1, 256, 16, 1, 1), "grey PNG", 256
  ),
  "resnet18": Network(
    {"name": "resnet18", "features": ()},
    Kind("faces", ".jpg", 112, 112, 3, 4, 16, 1, 1),
    "RGB JPEG",
    32,
  ),
}


def random_embedder(config: ConfigDict, network: Network) -> Embedder:
  """The network with its weights as they are before the first step."""
  config = config.copy_and_resolve_references()
  config.model.update(network.fields)
  side, channels = network.kind.side, network.kind.channels
  shape = (side, side, channels)
  model = make_model(config, axis_name=parallel.AXIS)
  create = jax.jit(lambda key, images: model.init(key, images, train=False))
  images = np.zeros((1, *shape), np.float32)
  variables = jax.tree.map(np.asarray, create(jax.random.key(0), images))
  run = FinishedRun(
    workdir=Path("random"),
    config=config,
    step=0,
    params=variables["params"],
    batch_stats=variables.get("batch_stats", {}),
  )
  return Embedder.of_run(run, shape, batch_size=network.batch)


def embedding_calls(
  config: ConfigDict, network: Network, folder: Path
) -> tuple[dict[str, Call], dict[str, Any]]:
  """Calls that embed, or decode, the same files; and what they are about.

  Args:
    config: of the network but for its `fields`.
    network: which one.
    folder: for the files; has to stay while the calls run.

  Returns:
    `alone`: the bare jitted forward pass on decoded images, all batches
    dispatched before the first is waited for; `arrays` and `files`: `embed` of
    these images and of the files; `decode` and `one`: the files decoded as
    `embed` does, and by one thread. Then the number of images and the like.
  """
  embedder = random_embedder(config, network)
  make_files(network.kind, folder)
  paths = sorted(folder.glob(f"*/*{network.kind.ending}"))
  if network.kind.ending == ".png":
    for path in paths:  # as the glyphs are: 8 bits
      path.write_bytes(_grey(path))
  images = np.stack([embedder.read(path) for path in paths])
  forward = jax.jit(embedder.forward())
  size = embedder.batch_size
  source = Source(
    images=Images(paths, embedder.image_shape, invert=False),
    labels=np.zeros(len(paths), np.int32),
    label_names=("",),
    image_shape=embedder.image_shape,
  )

  def alone() -> np.ndarray:
    # Sizes of all batches are one: see `NETWORKS`.
    found = [
      forward(images[start : start + size])
      for start in range(0, len(images), size)
    ]
    return np.concatenate([np.asarray(part) for part in found])

  def decode() -> None:
    for _ in padded_batches(source, batch_size=size, num_threads=None):
      pass

  def one() -> None:
    for _ in padded_batches(source, batch_size=size):
      pass

  calls: dict[str, Call] = {
    "alone": alone,
    "arrays": lambda: embedder.embed(images),
    "files": lambda: embedder.embed(paths),
    "decode": decode,
    "one": one,
  }
  about = {
    "images": len(paths),
    "batch": size,
    "shape": list(embedder.image_shape),
    "format": network.format,
    "cores": num_cores(),
    "bytes": sum(path.stat().st_size for path in paths),
  }
  return calls, about


def _grey(path: Path) -> bytes:
  buffer = io.BytesIO()
  with Image.open(path) as image:
    image.convert("L").save(buffer, "png")
  return buffer.getvalue()
