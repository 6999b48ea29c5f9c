"""From which distance on are two images of different identities?"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from jax.typing import ArrayLike

from tripletjax.metrics import curves
from tripletjax.metrics.blocks import check_host, check_labels
from tripletjax.metrics.pairs import (
  ImageSet,
  image_set,
  pair_tiles,
  same_pairs,
)
from tripletjax.types import DistanceFn

_BITS = 16
_LOW = np.uint32((1 << _BITS) - 1)


def threshold_at(
  embeddings: ArrayLike,
  labels: ArrayLike,
  *,
  distance: str | DistanceFn = "squared_euclidean",
  far: float,
) -> dict[str, float]:
  """The threshold of the rule "same when distance <= threshold".

  The largest one, in float32, that accepts at most a share `far` of all
  different pairs of a set, by exact counting: the one of `tar@far`. Pairs at
  one distance are accepted together. No list of pairs is kept: two passes over
  the distances count their upper 16 bits, and then the lower ones.

  Args:
    embeddings: `[N, D]`, floating.
    labels: identities, `[N]`, integer.
    distance: a name from `DISTANCES`, or a symmetric function of `x` and `y`.
    far: false-accept rate, in (0, 1).

  Returns:
    `threshold`; `far`, the share of different pairs that it accepts; `tar`, the
    share of same pairs; `same_pairs` and `different_pairs`. Not measurable, and
    nan: all shares and the threshold with fewer than 1/far different pairs or
    with a NaN distance, `tar` without same pairs.

  Raises:
    TypeError: embeddings not floating, or labels not integer.
    ValueError: a shape doesn't fit, or `far` is out of its range.

  >>> points = np.array([[0.0], [1.0], [3.0], [7.0]])
  >>> labels = np.array([0, 0, 1, 2])
  >>> found = threshold_at(points, labels, distance="euclidean", far=0.4)
  >>> round(found["threshold"], 4), found["far"], found["tar"]
  (4.0, 0.4, 1.0)
  """
  array = check_host(embeddings, "embeddings")
  labels = check_labels(labels, len(array), "labels")
  curves.check_rates((far,))
  images = image_set(array, labels, distance)
  same, _ = same_pairs(images)
  different = len(labels) * (len(labels) - 1) // 2 - len(same)
  found = dict.fromkeys(("threshold", "far", "tar"), float("nan"))
  counts = {"same_pairs": len(same), "different_pairs": different}
  most = curves.allowed(far, different)
  if most and not np.isnan(same).any():
    bound, below = _nth_different(images, most)
    # What is nearer than the first different pair that is too many.
    threshold = np.nextafter(bound, np.float32(-np.inf))
    if not np.isnan(bound):
      found |= {"threshold": float(threshold), "far": below / different}
      if len(same):
        found["tar"] = float(np.mean(same.astype(np.float32) <= threshold))
  return found | {name: float(count) for name, count in counts.items()}


def _nth_different(images: ImageSet, number: int) -> tuple[np.float32, int]:
  """The distance of a different pair, counted from 0, nearest first.

  Returns:
    The distance, NaN where any is; and how many pairs are nearer.
  """
  high = np.zeros(1 << _BITS, np.int64)
  for keys in _different_keys(images):
    if keys is None:
      return np.float32(np.nan), 0
    high += np.bincount(keys >> _BITS, minlength=len(high))
  top = int(np.searchsorted(np.cumsum(high), number, "right"))
  before = int(high[:top].sum())
  low = np.zeros(1 << _BITS, np.int64)
  for keys in _different_keys(images):
    if keys is not None:
      there = keys[keys >> _BITS == top] & _LOW
      low += np.bincount(there, minlength=len(low))
  rest = int(np.searchsorted(np.cumsum(low), number - before, "right"))
  key = np.uint32(top << _BITS | rest)
  bits = np.uint32(key & 0x7FFFFFFF) if key >> 31 else ~key
  return bits.view(np.float32), before + int(low[:rest].sum())


def _different_keys(images: ImageSet) -> Iterator[np.ndarray | None]:
  """Integers in the order of the distances of different pairs, uint32.

  Yields:
    Those of a tile; None where a distance is NaN.
  """
  for tile in pair_tiles(images):
    # -0.0 + 0.0 is 0.0: the two zeros are one value.
    values = tile.distances[tile.different].astype(np.float32) + np.float32(0)
    if np.isnan(values).any():
      yield None
    bits = values.view(np.uint32)
    yield np.where(bits >> 31, ~bits, bits | np.uint32(1 << 31))
