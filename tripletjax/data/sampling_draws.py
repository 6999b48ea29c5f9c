"""Draws of identities and of their images, each by a generator of its own."""

from __future__ import annotations

import functools

import numpy as np

# After so many rounds of drawing, the rest is drawn in one pass over all.
_ROUNDS = 16


# Neighbouring batches share an epoch; threads may stand in two of them.
@functools.lru_cache(maxsize=4)
def permutation(entropy: tuple[int, ...], count: int) -> np.ndarray:
  """A random order of `count` numbers, int32, by the seed `entropy`."""
  rng = np.random.default_rng(entropy)
  order = rng.permutation(np.arange(count, dtype=np.int32))
  order.flags.writeable = False
  return order


def draw_weighted(
  rng: np.random.Generator,
  cumulative: np.ndarray,
  *,
  start: int,
  stop: int,
  count: int,
) -> np.ndarray:
  """Draws different numbers from `start` to `stop`, by weight.

  The next one is drawn in proportion to the weights of those that are left.
  Numbers that came already are skipped, which gives the same, and takes no
  longer for a million of them.

  Args:
    rng: the source of randomness.
    cumulative: sums of the weights of all numbers below each, `[U + 1]`.
    start: the first number.
    stop: the number after the last one.
    count: how many, at most `stop - start`.

  Returns:
    int64 `[count]`.
  """
  chosen = np.empty(0, np.int64)
  low, high = cumulative[start], cumulative[stop]
  for _ in range(_ROUNDS):
    drawn = rng.uniform(low, high, count)
    found = np.searchsorted(cumulative, drawn, side="right") - 1
    chosen = first_of_each([chosen, np.clip(found, start, stop - 1)])[:count]
    if len(chosen) == count:
      return chosen
  # A few heavy ones hide the others. A race of exponential clocks, the same
  # distribution: Efraimidis and Spirakis, 2006.
  weights = np.diff(cumulative[start : stop + 1])
  weights[chosen - start] = 0
  arrivals = rng.exponential(size=len(weights))
  arrivals = np.divide(
    arrivals, weights, out=np.full_like(arrivals, np.inf), where=weights > 0
  )
  others = start + np.argsort(arrivals)[: count - len(chosen)]
  return np.concatenate([chosen, others])


def first_of_each(parts: list[np.ndarray]) -> np.ndarray:
  """The numbers of all parts in order, each where it first occurs.

  >>> first_of_each([np.array([3, 1]), np.array([1, 2, 3, 0])]).tolist()
  [3, 1, 2, 0]
  """
  joined = np.concatenate(parts)
  return joined[np.sort(np.unique(joined, return_index=True)[1])]


def draw_images(
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
