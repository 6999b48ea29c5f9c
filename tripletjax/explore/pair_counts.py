"""False accepts and rejects of a set by the threshold, by exact counting."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from tripletjax.metrics.pairs import image_set, pair_tiles
from tripletjax.training.evaluation_arrays import draw_images

# All pairs of so many images are held, 18 million; of more a draw of images.
IMAGES = 6000
BINS = 80


class PairCounts(NamedTuple):
  """The distances of all pairs of images whose identities are known.

  Attributes:
    same, different: of pairs of each kind, float32, ascending, `[S]`, `[T]`.
    images: how many images these are the pairs of.
    known: how many images have an identity.
    of: how many images there are.
  """

  same: np.ndarray
  different: np.ndarray
  images: int
  known: int
  of: int


def count_pairs(
  embeddings: np.ndarray,
  labels: np.ndarray,
  distance: str,
  *,
  seed: int = 0,
  most: int = IMAGES,
) -> PairCounts:
  """All pairs of a set, or of a draw of its images where there are too many.

  Args:
    embeddings: `[N, D]`.
    labels: identities, `[N]`, integer; below 0 where unknown: such an image is
      in no pair.
    distance: a name from `DISTANCES`.
    seed: of the draw, which is by identities.
    most: images of which all pairs are held.
  """
  known = np.flatnonzero(labels >= 0)
  chosen = known[draw_images(labels[known], most, seed=seed)]
  # The very distances by which `metrics.threshold_at` counts.
  images = image_set(embeddings[chosen], labels[chosen], distance)
  same, different = [np.zeros(0, np.float32)], [np.zeros(0, np.float32)]
  for tile in pair_tiles(images) if len(chosen) > 1 else ():
    same.append(tile.distances[tile.same])
    different.append(tile.distances[tile.different])
  return PairCounts(
    same=np.sort(np.concatenate(same)),
    different=np.sort(np.concatenate(different)),
    images=len(chosen),
    known=len(known),
    of=len(labels),
  )


def rates(pairs: PairCounts, threshold: float) -> dict[str, int]:
  """What the rule "same when distance <= threshold" gets wrong.

  Returns:
    `false_accepts` of `different` pairs, `false_rejects` of `same` ones.

  >>> near, far = np.array([1, 2], np.float32), np.array([2, 3, 4], np.float32)
  >>> rates(PairCounts(near, far, 4, 4, 4), 2.0)
  {'false_accepts': 1, 'different': 3, 'false_rejects': 0, 'same': 2}
  """
  # The largest float32 that isn't above it: distances are float32, and a
  # comparison in float64 would copy them all.
  cut = np.float32(threshold)
  if float(cut) > threshold:
    cut = np.nextafter(cut, np.float32(-np.inf))
  accepted_same, accepted_different = (
    int(np.searchsorted(distances, cut, "right"))
    for distances in (pairs.same, pairs.different)
  )
  return {
    "false_accepts": accepted_different,
    "different": len(pairs.different),
    "false_rejects": len(pairs.same) - accepted_same,
    "same": len(pairs.same),
  }


def histograms(pairs: PairCounts) -> dict[str, Any]:
  """Pairs of each kind by distance: `edges`, `same`, `different`."""
  ends = [
    x for d in (pairs.same, pairs.different) if len(d) for x in d[[0, -1]]
  ]
  low, high = (float(min(ends)), float(max(ends))) if ends else (0.0, 1.0)
  edges = np.linspace(min(low, 0.0), high if high > low else low + 1, BINS + 1)
  return {
    "edges": edges.tolist(),
    "same": np.histogram(pairs.same, edges)[0].tolist(),
    "different": np.histogram(pairs.different, edges)[0].tolist(),
  }
