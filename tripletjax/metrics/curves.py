"""The curve of the rule "same when distance <= threshold", by counting.

All of it follows from how many different pairs are nearer than each same pair,
and how many are at most as far: `below` and `upto`. So it needs no list of the
different pairs, of which a set has many.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import NamedTuple

import numpy as np
from jax.typing import ArrayLike


class SamePairs(NamedTuple):
  """The same pairs, nearest first, beside the different ones.

  Attributes:
    distance: ascending, `[S]`.
    below: different pairs that are nearer, int64 `[S]`.
    upto: different pairs that are nearer or as near, int64 `[S]`.
    different: how many different pairs there are.
  """

  distance: np.ndarray
  below: np.ndarray
  upto: np.ndarray
  different: int


def roc_curve(
  distances: ArrayLike, is_same: ArrayLike
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """The whole ROC curve, exactly: a point for each distinct distance.

  Args:
    distances: one for each pair, `[P]`, floating.
    is_same: True where a pair shares its identity, `[P]`, bool.

  Returns:
    False-accept rates, true-accept rates and thresholds, each `[distinct + 1]`
    and ascending; the first threshold, -inf, accepts nothing. NaN rates where
    there are no pairs of a kind, or a distance is NaN.

  Raises:
    TypeError: distances not floating, or is_same not bool.
    ValueError: a shape doesn't fit.

  >>> is_same = np.array([True, False, True])
  >>> far, tar, _ = roc_curve(np.array([0.1, 0.2, 0.3]), is_same)
  >>> far.tolist(), tar.tolist()
  ([0.0, 0.0, 1.0, 1.0], [0.0, 0.5, 0.5, 1.0])
  """
  distances, is_same = check_pairs(distances, is_same)
  values, same, different = cuts(distances, is_same)
  if np.isnan(distances).any() or not same[-1] or not different[-1]:
    nothing = np.full(len(same), np.nan)
    return nothing, nothing, np.concatenate([[-np.inf], values])
  return (
    different / different[-1],
    same / same[-1],
    np.concatenate([[-np.inf], values]),
  )


def det_curve(
  distances: ArrayLike, is_same: ArrayLike
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Detection error trade-off: the ROC curve with false rejects.

  Returns:
    False-accept rates, false-reject rates and thresholds, as `roc_curve`.

  Raises:
    TypeError: distances not floating, or is_same not bool.
    ValueError: a shape doesn't fit.

  >>> is_same = np.array([True, False, True])
  >>> far, frr, _ = det_curve(np.array([0.1, 0.2, 0.3]), is_same)
  >>> frr.tolist()
  [1.0, 0.5, 0.5, 0.0]
  """
  far, tar, thresholds = roc_curve(distances, is_same)
  return far, 1 - tar, thresholds


def check_pairs(
  distances: ArrayLike, is_same: ArrayLike
) -> tuple[np.ndarray, np.ndarray]:
  """Both as arrays, or an error that names them."""
  distances, is_same = np.asarray(distances), np.asarray(is_same)
  if not np.issubdtype(distances.dtype, np.floating):
    raise TypeError(f"expected distances to be floating, got {distances.dtype}")
  if is_same.dtype != np.bool_:
    raise TypeError(f"expected is_same to be bool, got {is_same.dtype}")
  if distances.ndim != 1 or distances.shape != is_same.shape:
    raise ValueError(
      "expected distances and is_same of one shape [pairs], "
      f"got {distances.shape} and {is_same.shape}"
    )
  return distances, is_same


def check_rates(rates: Sequence[float], name: str = "far") -> None:
  """Raises a `ValueError` unless all are in (0, 1)."""
  for rate in rates:
    if not 0 < rate < 1:
      raise ValueError(f"expected {name} in (0, 1), got {rate}")


def cuts(
  distances: np.ndarray, is_same: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Distinct distances `[C]`, and the pairs of each kind accepted by the cuts.

  A cut lies below all distances (accepts 0) or at one of them, so that the
  counts are `[C + 1]`. Pairs at one distance fall on one side together.
  """
  order = np.argsort(distances)
  return cuts_in_order(distances[order], is_same[order])


def cuts_in_order(
  values: np.ndarray, same: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """The same of ascending distances."""
  last = np.flatnonzero(np.append(values[1:] != values[:-1], len(values) > 0))
  accepted_same = np.append(0, np.cumsum(same)[last])
  return values[last], accepted_same, np.append(0, last + 1) - accepted_same


def same_beside_different(
  distances: np.ndarray, is_same: np.ndarray
) -> SamePairs:
  """The same pairs of a list, counted against the different ones."""
  same, different = np.sort(distances[is_same]), np.sort(distances[~is_same])
  return SamePairs(
    same,
    np.searchsorted(different, same, "left"),
    np.searchsorted(different, same, "right"),
    len(different),
  )


def auc(pairs: SamePairs) -> float:
  """Share of (same, different) with the same one nearer; ties count half."""
  count = len(pairs.distance)
  # Python's integers: a set of 60,000 has 10^15 of these.
  losses = int(pairs.below.sum()) + int(pairs.upto.sum())
  return float(1 - Fraction(losses, 2 * count * pairs.different))


def eer(pairs: SamePairs) -> float:
  """Where the linearly interpolated curve has as many errors of both kinds."""
  count = len(pairs.distance)
  # The curve's corners: before and after each distinct distance of same pairs.
  first = np.concatenate([[True], pairs.distance[1:] != pairs.distance[:-1]])
  last = np.concatenate([first[1:], [True]])
  before = np.flatnonzero(first)
  after = np.flatnonzero(last)
  false = np.stack([pairs.below[before], pairs.upto[after]], axis=1).ravel()
  true = np.stack([before, after + 1], axis=1).ravel()
  far = np.concatenate([[0], false, [pairs.different]]) / pairs.different
  tar = np.concatenate([[0], true, [count]]) / count
  # FAR - FRR rises from -1 to 1; its zero lies on the segment that ends at
  # the first corner where it is not negative.
  gap = far - (1 - tar)
  end = int(np.argmax(gap >= 0))
  part = gap[end - 1] / (gap[end - 1] - gap[end])
  return float(far[end - 1] + part * (far[end] - far[end - 1]))


def allowed(rate: float, count: int) -> int:
  """How many of `count` a rate allows; 0 where it can't be measured."""
  # The rate as written in decimal: 0.29 * 100 is less than 29 in floats.
  return int(Fraction(repr(float(rate))) * count)


def accepted(upto: np.ndarray, false_accepts: np.ndarray | int) -> np.ndarray:
  """Same pairs accepted with at most so many false accepts.

  Args:
    upto: different pairs nearer or as near, ascending, `[S]`.
    false_accepts: how many are allowed.
  """
  # The threshold lies below the next different pair.
  return np.asarray(np.searchsorted(upto, false_accepts, "right"))


def rate_key(name: str, rate: float) -> str:
  """The key of a score at a rate.

  >>> rate_key("tar@far", 0.001), rate_key("tar@far", 0.25)
  ('tar@far=1e-03', 'tar@far=0.25')
  """
  short = f"{rate:.0e}"
  return f"{name}={short if float(short) == rate else f'{rate:g}'}"
