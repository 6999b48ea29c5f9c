"""What is raced: data sets, batches, losses, and what was asked for."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from tripletjax.benchmark.data import Size
from tripletjax.errors import UserError


class Cell(NamedTuple):
  """A training that both sides do.

  Attributes:
    data: a name from `DATA`.
    size: identities x images of a batch.
    loss: a name from `LOSSES`.
  """

  data: str
  size: Size
  loss: str

  @property
  def name(self) -> str:
    """glyphs/32x8/all, as it is typed."""
    return f"{self.data}/{self.size.name}/{self.loss}"


# Recall@1 to which the time is taken.
DATA: Mapping[str, float] = {"glyphs": 0.9, "omniglot": 0.7}
# Fields of the config, for both sides. Squared Euclidean distances on the unit
# sphere; Hermans et al.'s Euclidean ones of embeddings that aren't normalised,
# since on the sphere the hardest negatives collapse it (docs/collapse.md).
LOSSES: Mapping[str, Mapping[str, Any]] = {
  "all": {"loss.miner": "all"},
  "facenet": {"loss.miner": "random_semi_hard"},
  "batch_hard": {
    "loss.miner": "batch_hard",
    "loss.soft": True,
    "loss.margin": 0.0,
    "loss.margin_end": 0.0,
    "loss.distance": "euclidean",
    "model.normalize": False,
  },
}
# For all: the main job's network, with augmentations that both sides have.
SHARED: Mapping[str, Any] = {
  "loss.name": "triplet",
  "loss.margin": 0.2,
  "loss.margin_end": 0.2,
  "loss.reduction": "mean_active",
  "augment.elastic": 0.0,
  "model.name": "convnet",
  "model.norm": "batch",
  "model.dropout": 0.0,
  "optimizer.name": "adamw",
  "optimizer.schedule": "cosine",
}
SMALL, MIDDLE, FACENET = Size(32, 8), Size(64, 16), Size(45, 40)
# Of 40 images there are none or a few identities: as many images a batch, of
# more identities, as many as each set has.
LARGE: Mapping[str, Size] = {"glyphs": Size(120, 15), "omniglot": Size(90, 20)}
# Steps by batch. Time by step is of FaceNet's own batch too, whose labels any
# images can have.
TIMED: Sequence[tuple[Size, str]] = tuple(
  itertools.product((SMALL, MIDDLE, FACENET), LOSSES)
)
TRAINED: Sequence[Cell] = tuple(
  Cell(data, size, loss)
  for data in DATA
  for size, loss in (
    (SMALL, "facenet"),
    (MIDDLE, "all"),
    (LARGE[data], "facenet"),
  )
)
STEPS: Mapping[int, int] = {256: 400, 1024: 50, 1800: 30}
EVALUATIONS = 10  # of a training, evenly
TIMED_STEPS = 8  # of which the first isn't counted


def parse_cell(text: str) -> Cell:
  """A cell from what was typed: glyphs/32x8/all.

  Raises:
    UserError: it is none.

  >>> parse_cell("glyphs/32x8/all").size
  Size(identities=32, images=8)
  """
  data, _, rest = text.partition("/")
  size, _, loss = rest.partition("/")
  identities, _, images = size.partition("x")
  right = data in DATA and loss in LOSSES
  if right and identities.isdecimal() and images.isdecimal():
    found = Size(int(identities), int(images))
    if min(found) >= 2:
      return Cell(data, found, loss)
  raise UserError(
    f"--only: expected data/identities x images/loss such as glyphs/32x8/all, "
    f"of {', '.join(DATA)} and {', '.join(LOSSES)}; got {text!r}"
  )


def steps_of(size: Size, steps: int = 0) -> int:
  """How long a training is: `steps`, or as the batch is large when 0."""
  if steps:
    return steps
  return STEPS.get(size.batch, max(10, 400 * 256 // size.batch))


def faster_limit(size: Size, loss: str) -> float | None:
  """How many times faster ours was asked to be; None where nobody asked."""
  if size.batch == 256:
    return 1.0
  return 3.0 if loss != "batch_hard" and size.batch in (1024, 1800) else None
