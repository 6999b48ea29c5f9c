"""P x K batches: P identities, K images of each, by the number of the batch.

Batch t is a pure function of (seed, t): a restart at step t, or a second
process, needs no saved state.
"""

from __future__ import annotations

import dataclasses
import functools
import sys

import numpy as np
from numpy.typing import ArrayLike

from tripletjax.errors import UserError

# One stream of random numbers for each purpose.
_IDENTITIES, _IMAGES = 0, 1


@dataclasses.dataclass(frozen=True, eq=False)
class PKSampler:
  """A sequence of batches of example ids; made by `pk_sampler`.

  Attributes:
    identities: P.
    images: K.
    seed: what the batches depend on, beside their number.
    order: example ids sorted by identity, `[N]`.
    starts: where each usable identity starts in `order`, `[U]`.
    counts: number of images of each usable identity, `[U]`, at least 2.
    lone: identities with a single image; never sampled, since such an image has
      no positive.
    num_batches: length of the sequence.
  """

  identities: int
  images: int
  seed: int
  order: np.ndarray
  starts: np.ndarray
  counts: np.ndarray
  lone: int
  num_batches: int

  @property
  def batches_per_epoch(self) -> int:
    """Batches until an identity may come again."""
    return len(self.counts) // self.identities

  def __len__(self) -> int:
    return self.num_batches

  def __getitem__(self, index: int) -> np.ndarray:
    """Example ids of one batch, int64 `[P * K]`, identity by identity."""
    if not 0 <= index < self.num_batches:
      raise IndexError(f"expected 0 <= index < {self.num_batches}, got {index}")
    epoch, position = divmod(int(index), self.batches_per_epoch)
    permutation = _permutation(self.seed, epoch, len(self.counts))
    chosen = permutation[position * self.identities :][: self.identities]
    rng = np.random.default_rng([self.seed, _IMAGES, int(index)])
    offsets = _draw_images(rng, self.counts[chosen], self.images)
    return self.order[self.starts[chosen, None] + offsets].reshape(-1)


def pk_sampler(
  labels: ArrayLike,
  *,
  identities: int,
  images: int,
  seed: int,
  num_batches: int = sys.maxsize,
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

  Returns:
    The sampler; indexing it gives example ids, int64 `[P * K]`.

  Raises:
    UserError: P or K doesn't fit the data set.

  >>> sampler = pk_sampler([5, 5, 8, 8, 9], identities=2, images=2, seed=0)
  >>> sorted(sampler[0].tolist()), sampler.lone
  ([0, 1, 2, 3], 1)
  """
  labels = np.asarray(labels)
  order = np.argsort(labels, kind="stable")
  _, starts, counts = np.unique(
    labels[order], return_index=True, return_counts=True
  )
  usable = counts > 1
  _check(identities, images, seed, counts[usable])
  return PKSampler(
    identities=identities,
    images=images,
    seed=seed,
    order=order.astype(np.int64),
    starts=starts[usable],
    counts=counts[usable],
    lone=int((~usable).sum()),
    num_batches=num_batches,
  )


def _check(identities: int, images: int, seed: int, counts: np.ndarray) -> None:
  if identities < 2:
    raise UserError(
      f"batch.identities: expected at least 2, got {identities}; an anchor "
      "needs a negative"
    )
  if images < 2:
    raise UserError(
      f"batch.images: expected at least 2, got {images}; an anchor needs a "
      "positive"
    )
  if identities > len(counts):
    raise UserError(
      f"batch.identities: expected at most {len(counts)}, the identities with "
      f"two images or more, got {identities}"
    )
  if images > counts.max():
    raise UserError(
      f"batch.images: expected at most {counts.max()}, the images of the "
      f"largest identity, got {images}"
    )
  if identities * images > counts.sum():
    raise UserError(
      f"batch.identities x batch.images: expected at most {counts.sum()}, the "
      f"images of all these identities, got {identities} x {images} = "
      f"{identities * images}"
    )
  if seed < 0:
    raise UserError(f"seed: expected 0 or more, got {seed}")


# Neighbouring batches share an epoch; threads may stand in two of them.
@functools.lru_cache(maxsize=4)
def _permutation(seed: int, epoch: int, count: int) -> np.ndarray:
  rng = np.random.default_rng([seed, _IDENTITIES, epoch])
  permutation = rng.permutation(count)
  permutation.flags.writeable = False
  return permutation


def _draw_images(
  rng: np.random.Generator, counts: np.ndarray, images: int
) -> np.ndarray:
  """Draws `[P, K]` image numbers, each below its row's count."""
  drawn = np.empty((len(counts), images), np.int64)
  # Floyd's sampling without replacement, all rows at once: the work doesn't
  # grow with the size of an identity.
  for column in range(images):
    last = np.maximum(counts - images + column, 0)
    candidate = rng.integers(last + 1)
    taken = (drawn[:, :column] == candidate[:, None]).any(axis=1)
    drawn[:, column] = np.where(taken, last, candidate)
  for row in np.flatnonzero(counts < images):
    each_once = rng.permutation(counts[row])
    drawn[row] = np.resize(each_once, images)
  return drawn
