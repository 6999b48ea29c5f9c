"""Two images, same or different; and three, as a triplet of the run's loss."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from tripletjax.errors import UserError
from tripletjax.inference.embedder import Embedder
from tripletjax.inference.reading import Image
from tripletjax.inference.thresholds import Threshold
from tripletjax.losses import triplet_loss


class Verdict(NamedTuple):
  """Whether two images show the same identity.

  Attributes:
    distance: by the run's distance.
    threshold: up to which they are the same.
    same: the verdict.
  """

  distance: float
  threshold: float
  same: bool


class TripletReport(NamedTuple):
  """What a triplet is to the run.

  Attributes:
    positive, negative: distances of the anchor to them.
    gap: `negative - positive`.
    margin: the run's, as it was in the end.
    kind: `hard` where the gap is at most 0, `semi-hard` up to the margin,
      `easy` beyond it.
    violated: whether the negative isn't farther than the positive by the
      margin.
    loss: `max(-gap + margin, 0)`, or its softplus where the run's loss is soft.
  """

  positive: float
  negative: float
  gap: float
  margin: float
  kind: str
  violated: bool
  loss: float


def verify(
  embedder: Embedder, a: Image, b: Image, *, threshold: Threshold | float
) -> Verdict:
  """Same or different?

  Args:
    embedder: the run.
    a: an image.
    b: another one.
    threshold: from `choose_threshold`, or a distance.

  Raises:
    UserError: one of them can't be read.
  """
  limit = np.float32(
    threshold.value if isinstance(threshold, Threshold) else threshold
  )
  found = embedder.embed([a, b])
  distance = np.float32(embedder.distances(found[:1], found[1:])[0, 0])
  return Verdict(float(distance), float(limit), bool(distance <= limit))


def judge_triplet(
  embedder: Embedder, anchor: Image, positive: Image, negative: Image
) -> TripletReport:
  """The distances of a triplet, and what it costs.

  Raises:
    UserError: one of the images can't be read.
  """
  margin = _margin(embedder)
  found = embedder.embed([anchor, positive, negative])
  to_positive, to_negative = embedder.distances(found[:1], found[1:])[0]
  gap = np.float32(to_negative - to_positive)
  cost = triplet_loss(
    *found[:, None],
    margin=margin,
    distance=embedder.distance,
    soft=embedder.config.loss.get("soft", False) is True,
  )
  kind = "hard" if gap <= 0 else "semi-hard"
  if gap > np.float32(margin):
    kind = "easy"
  return TripletReport(
    positive=float(to_positive),
    negative=float(to_negative),
    gap=float(gap),
    margin=margin,
    kind=kind,
    violated=bool(gap < np.float32(margin)),
    loss=float(cost),
  )


def _margin(embedder: Embedder) -> float:
  """The margin in the end; of a `config.json`, which nobody has checked."""
  loss = embedder.config.loss
  value = loss.get("margin_end", loss.get("margin"))
  if not isinstance(value, int | float) or not math.isfinite(value):
    raise UserError(
      f"--workdir: {embedder.workdir / 'config.json'}: loss.margin: expected a "
      f"number, got {value!r}"
    )
  return float(value)
