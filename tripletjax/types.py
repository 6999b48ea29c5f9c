"""The words that every layer shares: selections, totals and callables."""

from __future__ import annotations

from typing import NamedTuple, Protocol, runtime_checkable

import jax
from jax.typing import ArrayLike


class Triplets(NamedTuple):
  """Triplets listed by index, in arrays of a fixed shape.

  The index arrays broadcast against `where`: batch-hard is `[A]`, one negative
  for each positive pair is `[A, R]` with anchors `[A, 1]` and positives
  `[1, R]`. It is never `[A, R, R]`.

  Attributes:
    anchor: row of `distances` of each triplet, integer.
    positive: column of the triplet's positive, integer.
    negative: column of the triplet's negative, integer.
    where: True where the entry is a triplet; the rest is padding.
  """

  anchor: jax.Array
  positive: jax.Array
  negative: jax.Array
  where: jax.Array


class GapBand(NamedTuple):
  """Every triplet whose gap `d_an - d_ap` lies in `(low, high]`.

  A loss evaluates a band exactly - value, gradient and counts - without ever
  listing its triplets.

  Attributes:
    low: the open lower end, in the unit of the distance; a scalar.
    high: the closed upper end, likewise.
  """

  low: ArrayLike
  high: ArrayLike


Selection = Triplets | GapBand


@runtime_checkable
class DistanceFn(Protocol):
  """Distances between all rows of `x` and all rows of `y`."""

  def __call__(self, x: jax.Array, y: jax.Array) -> jax.Array:
    """Maps `[A, D]` and `[R, D]` to `[A, R]`."""
    ...


@runtime_checkable
class MinerFn(Protocol):
  """Chooses triplets from one block of anchor rows."""

  def __call__(
    self,
    distances: jax.Array,
    positive_mask: jax.Array,
    negative_mask: jax.Array,
    *,
    margin: ArrayLike,
    key: jax.Array | None = None,
  ) -> Selection:
    """Maps `[A, R]` distances and masks to a selection.

    A miner looks at one anchor row at a time, so that the same function serves
    a batch, a tile of it, and one device's share of it. `margin` may be a
    tracer. `key` holds one PRNG key for each anchor row, `[A]`, derived from
    the anchor's id: the draw doesn't depend on how the rows were divided.
    """
    ...
