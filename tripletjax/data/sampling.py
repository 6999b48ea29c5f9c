"""P x K batches: P identities, K images of each, by the number of the batch.

Batch t is a pure function of (seed, t): a restart at step t, or a second
process, needs no saved state.
"""

from __future__ import annotations

import dataclasses
import sys
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from tripletjax.data.sampling_checks import (
  WEIGHTS,
  check_counts,
  check_sampling,
)
from tripletjax.data.sampling_draws import (
  draw_images,
  draw_weighted,
  first_of_each,
  permutation,
)
from tripletjax.data.sampling_index import Grouped, group_index, index_labels
from tripletjax.errors import UserError

# One stream of random numbers for each purpose. None differs from another by
# zeros at the end only: NumPy takes such seeds for equal.
_IDENTITIES, _IMAGES, _SLOTS, _MEMBERS, _WEIGHTED = range(5)


@dataclasses.dataclass(frozen=True, eq=False)
class PKSampler:
  """A sequence of batches of example ids; made by `pk_sampler`.

  Attributes:
    identities: P.
    images: K.
    seed: what the batches depend on, beside their number.
    order: example ids sorted by identity, int32 `[N]`.
    labels: the usable identities, int32 `[U]`; group by group, if a batch is
      from one group.
    starts: where each of them starts in `order`, int32 `[U]`.
    counts: number of its images, int32 `[U]`, at least 2.
    lone: identities with a single image; never sampled, since such an image has
      no positive.
    num_batches: length of the sequence.
    bounds: group g is `bounds[g]` to `bounds[g + 1]`, `[G + 1]`; None where a
      batch may be of all groups.
    skipped_groups: groups with fewer than P identities; never sampled.
    skipped_identities: identities in these.
    cumulative: sums of the weights of all identities below each, `[U + 1]`;
      None where each comes once an epoch.
    neighbours: positions of the identities that each is confused with, int32
      `[U, M]`, nearest first, -1 for none; or None.
  """

  identities: int
  images: int
  seed: int
  order: np.ndarray
  labels: np.ndarray
  starts: np.ndarray
  counts: np.ndarray
  lone: int
  num_batches: int
  bounds: np.ndarray | None = None
  skipped_groups: int = 0
  skipped_identities: int = 0
  cumulative: np.ndarray | None = None
  neighbours: np.ndarray | None = None

  @property
  def batches_per_epoch(self) -> int:
    """Batches until an identity may come again; as a seed, of neighbours."""
    if self.bounds is not None:
      return int((np.diff(self.bounds) // self.identities).sum())
    return len(self.counts) // self.seeds

  @property
  def seeds(self) -> int:
    """Identities of a batch that come in their turn; the others are theirs."""
    if self.neighbours is None:
      return self.identities
    return -(-self.identities // (1 + self.neighbours.shape[1]))

  @property
  def nbytes(self) -> int:
    """Bytes of the index: 4 an image, 12 an identity, and what is optional."""
    return sum(
      value.nbytes
      for value in vars(self).values()
      if isinstance(value, np.ndarray)
    )

  def with_neighbours(self, neighbours: ArrayLike | None) -> PKSampler:
    """The same sampler, with hard-class batches by another table.

    Batch t is then a pure function of (seed, t, table). `ceil(P / (1 + M))`
    identities of a batch come in their turn, each once an epoch; the others
    are their neighbours, the nearest of all of them first. What is still
    missing are the identities that come next.

    Args:
      neighbours: for each label the labels that it is confused with, nearest
        first, integer `[L, M]` with L above the largest label; -1 for none.
        Those with a single image are passed over. None: without neighbours.

    Raises:
      ValueError: the table has another shape, or the sampler has groups or
        weights, which neighbours would break.
    """
    if neighbours is None:
      return dataclasses.replace(self, neighbours=None)
    if self.bounds is not None or self.cumulative is not None:
      raise ValueError(
        "expected a sampler without groups and weights to give it neighbours"
      )
    table = np.asarray(neighbours)
    if table.ndim != 2 or len(table) <= self.labels.max() or not table.shape[1]:
      raise ValueError(
        f"expected neighbours of the shape [L, M], L above the largest label "
        f"{self.labels.max()}, M above 0; got {table.shape}"
      )
    # One more place, which -1 finds.
    positions = np.full(max(len(table), table.max() + 1) + 1, -1, np.int32)
    positions[self.labels] = np.arange(len(self.labels), dtype=np.int32)
    return dataclasses.replace(self, neighbours=positions[table[self.labels]])

  def shard(self, index: int, count: int) -> Shard:
    """The part of each batch that one of several processes loads.

    Args:
      index: number of the process, from 0.
      count: number of processes; their parts, one after the other, are the
        batch.

    Raises:
      UserError: the processes can't share a batch evenly.
    """
    if not 0 <= index < count:
      raise ValueError(f"expected 0 <= index < {count}, got {index}")
    if self.identities * self.images % count:
      raise UserError(
        "batch.identities x batch.images: expected a multiple of the "
        f"{count} processes, got {self.identities * self.images}"
      )
    return Shard(self, index, count)

  def __len__(self) -> int:
    return self.num_batches

  def __getitem__(self, index: int) -> np.ndarray:
    """Example ids of one batch, int64 `[P * K]`, identity by identity."""
    if not 0 <= index < self.num_batches:
      raise IndexError(f"expected 0 <= index < {self.num_batches}, got {index}")
    index = int(index)
    chosen = self._choose(index)
    rng = np.random.default_rng([self.seed, _IMAGES, index])
    counts = self.counts[chosen].astype(np.int64)
    offsets = draw_images(rng, counts, self.images)
    ids = self.order[self.starts[chosen, None] + offsets].reshape(-1)
    return ids.astype(np.int64)

  def _choose(self, index: int) -> np.ndarray:
    """Positions of the identities of a batch, `[P]`."""
    epoch, position = divmod(index, self.batches_per_epoch)
    if self.cumulative is not None:
      return self._choose_weighted(index)
    if self.bounds is not None:
      return self._choose_within(epoch, position)
    turns = permutation((self.seed, _IDENTITIES, epoch), len(self.counts))
    start, count = position * self.seeds, self.seeds
    chosen = turns[start : start + count]
    if self.neighbours is None:
      return chosen
    # At most P of these are in the batch already.
    following = np.arange(start + count, start + count + 2 * self.identities)
    found = first_of_each(
      [
        chosen,
        self.neighbours[chosen].T.reshape(-1),
        turns[following % len(turns)],
      ]
    )
    return found[found >= 0][: self.identities]

  def _choose_within(self, epoch: int, position: int) -> np.ndarray:
    """Identities of one group: an epoch is the groups' batches, shuffled."""
    bounds = np.asarray(self.bounds)
    ends = np.cumsum(np.diff(bounds) // self.identities)
    slot = permutation((self.seed, _SLOTS, epoch), ends[-1])[position]
    group = int(np.searchsorted(ends, slot, side="right"))
    size = int(bounds[group + 1] - bounds[group])
    turns = permutation((self.seed, _MEMBERS, epoch, group), size)
    start = (slot - ends[group]) % (size // self.identities) * self.identities
    return bounds[group] + turns[start : start + self.identities]

  def _choose_weighted(self, index: int) -> np.ndarray:
    """Identities by weight, of a group that is drawn by weight as well."""
    cumulative = np.asarray(self.cumulative)
    rng = np.random.default_rng([self.seed, _WEIGHTED, index])
    start, stop = 0, len(self.counts)
    if self.bounds is not None:
      drawn = rng.uniform(0, cumulative[-1])
      ends = cumulative[self.bounds[1:]]
      group = min(np.searchsorted(ends, drawn, side="right"), len(ends) - 1)
      start, stop = int(self.bounds[group]), int(self.bounds[group + 1])
    return draw_weighted(
      rng, cumulative, start=start, stop=stop, count=self.identities
    )


@dataclasses.dataclass(frozen=True, eq=False)
class Shard:
  """One process's part of each batch of a sampler."""

  sampler: Any
  index: int
  count: int

  def __len__(self) -> int:
    return len(self.sampler)

  def __getitem__(self, index: int) -> np.ndarray:
    """Example ids, int64 `[P * K / count]`."""
    return np.split(self.sampler[index], self.count)[self.index]


def pk_sampler(
  labels: ArrayLike,
  *,
  identities: int,
  images: int,
  seed: int,
  num_batches: int = sys.maxsize,
  groups: ArrayLike | None = None,
  within: str = "",
  weights: str = "uniform",
  neighbours: ArrayLike | None = None,
) -> PKSampler:
  """Makes the sequence of P x K batches of a data set.

  Every identity is at most once in a batch and at most once in an epoch of
  `usable // P` batches. An identity with K images or more gives K different
  ones; one with fewer gives each of them floor or ceil of K / count times.

  Args:
    labels: integer identities of all examples, `[N]`.
    identities: P, at least 2.
    images: K, at least 2.
    seed: not negative.
    num_batches: length of the sequence; endless unless given.
    groups: integer group of each example (alphabet, country), `[N]`.
    within: "group": all of a batch is from one group, and an epoch gives group
      g `size // P` batches. A group with fewer than P identities can't fill
      one, and is left out: `skipped_groups`.
    weights: "uniform"; "images" or "sqrt": identities are drawn in proportion
      to (the root of) the number of their images, different ones in a batch,
      but with repetitions in an epoch.
    neighbours: see `PKSampler.with_neighbours`.

  Returns:
    The sampler; indexing it gives example ids, int64 `[P * K]`.

  Raises:
    UserError: P or K doesn't fit the data set, or its groups.

  >>> sampler = pk_sampler([5, 5, 8, 8, 9], identities=2, images=2, seed=0)
  >>> sorted(sampler[0].tolist()), sampler.lone
  ([0, 1, 2, 3], 1)
  """
  check_sampling(within=within, weights=weights)
  index = index_labels(labels)
  check_counts(identities, images, seed, index.counts)
  grouped = Grouped(index, None, 0, 0)
  if within:
    grouped = group_index(index, groups, identities=identities)
  index = grouped.usable
  weigh = WEIGHTS[weights]
  sampler = PKSampler(
    identities=identities,
    images=images,
    seed=seed,
    order=index.order,
    labels=index.labels,
    starts=index.starts,
    counts=index.counts,
    lone=index.lone,
    num_batches=num_batches,
    bounds=grouped.bounds,
    skipped_groups=grouped.skipped_groups,
    skipped_identities=grouped.skipped_identities,
    cumulative=weigh and np.append(0, np.cumsum(weigh(index.counts))),
  )
  return sampler.with_neighbours(neighbours)
