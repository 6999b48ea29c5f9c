"""Batches of explicit triplets, as offline mining finds them."""

from __future__ import annotations

import dataclasses
import functools
import sys

import numpy as np

from tripletjax.data.sampling import Shard


@dataclasses.dataclass(frozen=True, eq=False)
class TripletSampler:
  """Item t is the example ids of batch t: anchor, positive, negative, anchor.

  A pure function of (seed, t, triplets): each anchor once an epoch, with one of
  its negatives, drawn.

  Attributes:
    positives: of each image, int `[N]`; -1 for one that is no anchor.
    negatives: of each image, int `[N, M]`.
    triplets: of a batch.
    seed: which anchors and negatives come together.
  """

  positives: np.ndarray
  negatives: np.ndarray
  triplets: int
  seed: int

  def __len__(self) -> int:
    return sys.maxsize

  def __getitem__(self, index: int) -> np.ndarray:
    """Example ids, int64 `[3 * triplets]`."""
    count = self.triplets
    whole = max(int(np.count_nonzero(self.positives >= 0)) // count, 1)
    epoch, place = divmod(index, whole)
    anchors, columns = _epoch(self, epoch)
    at = np.arange(place * count, (place + 1) * count) % len(anchors)
    own = anchors[at]
    return np.stack(
      [own, self.positives[own], self.negatives[own, columns[at]]], axis=1
    ).reshape(-1)

  def shard(self, index: int, count: int) -> Shard:
    """The part of each batch that process `index` of `count` loads."""
    return Shard(self, index, count)


@functools.lru_cache(maxsize=4)
def _epoch(
  sampler: TripletSampler, epoch: int
) -> tuple[np.ndarray, np.ndarray]:
  """The anchors in the order of an epoch, and which negative each has."""
  rng = np.random.default_rng((sampler.seed, epoch))
  anchors = rng.permutation(np.flatnonzero(sampler.positives >= 0))
  return anchors, rng.integers(sampler.negatives.shape[1], size=len(anchors))
