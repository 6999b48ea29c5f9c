"""The words that every layer shares: selections, totals and callables."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

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


class Slots(NamedTuple):
  """A few positives of each anchor, beside each other: `s` pairs a row.

  Attributes:
    distance_ap: distances to the positives, `[A, s]`; NaN where a row has no
      more positives, so that no comparison with it holds.
    column: columns of the positives, integer `[A, s]`.
    number: 0 for the anchor's first positive, 1 for its second, integer
      `[A, s]`; to draw by.
  """

  distance_ap: jax.Array
  column: jax.Array
  number: jax.Array


class GapBand(NamedTuple):
  """Every triplet whose gap `d_an - d_ap` lies in `(low, high]`.

  A loss evaluates a band exactly - value, gradient and counts - without ever
  listing its triplets.

  Attributes:
    low: the open lower end, in the unit of the distance; a scalar.
    high: the closed upper end, likewise.
    keep: a further condition, or None: maps `Slots` of one positive a row
      (`s = 1`) to a mask of the negatives that are kept beside it, `[A, R]`.
  """

  low: ArrayLike
  high: ArrayLike
  keep: Callable[[Slots], jax.Array] | None = None


class EachPositive(NamedTuple):
  """One negative for each positive pair, chosen when the pair is looked at.

  The pairs of a batch have no fixed shape below `[A, R]`; this way they are
  visited a few slots at a time, and no `[A, R]` list of triplets exists.

  Attributes:
    choose: maps `Slots` to the columns of the negatives, integer `[A, s]`, and
      whether there is one, boolean `[A, s]`.
  """

  choose: Callable[[Slots], tuple[jax.Array, jax.Array]]


class Stages(NamedTuple):
  """One of several selections, by an index that may be a tracer.

  Attributes:
    stage: which one, an integer scalar.
    selections: functions without arguments; only the chosen one is computed
      (all of them under `vmap` over the index).
  """

  stage: ArrayLike
  selections: Sequence[Callable[[], Selection]]


class Embeddings(NamedTuple):
  """What distances are between, for a miner that needs more than them.

  Attributes:
    anchors: `[A, D]`.
    references: `[R, D]`.
  """

  anchors: jax.Array
  references: jax.Array


Selection = Triplets | GapBand | EachPositive | Stages


@runtime_checkable
class DistanceFn(Protocol):
  """Distances between all rows of `x` and all rows of `y`."""

  def __call__(self, x: jax.Array, y: jax.Array) -> jax.Array:
    """Maps `[A, D]` and `[R, D]` to `[A, R]`."""
    ...


class DistanceParts(NamedTuple):
  """A distance of rows `x` and `y` as `between(prepare(x), prepare(y))`.

  Attributes:
    prepare: maps `[N, D]` to what is needed of each row by itself, a pytree of
      arrays `[N, ...]`.
    between: maps two of them to distances, `[A, R]`.
  """

  prepare: Callable[[jax.Array], Any]
  between: Callable[..., jax.Array]


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
    the anchor's id: the draw doesn't depend on how the rows were divided. A
    miner that has a keyword `embeddings` is given `Embeddings` for it, or None
    where distances were computed elsewhere; one with a keyword `candidates`
    what tells it, beside the mask, where the positives are.
    """
    ...
