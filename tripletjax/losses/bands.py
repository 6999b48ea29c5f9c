"""Every triplet of a band of gaps, without listing them.

For one anchor, a positive at distance `t` and a negative at `d` cost
`max(margin - (d - t), 0)`: the gradient by `d` is minus the number of active
positives, by `t` the number of active negatives, and the value follows from
these counts. So a band takes `O(A R K)` compares and `O(A R)` memory where the
cube takes `O(A R R)`.

Measured on the slowest of three machines with two cores
(`experiments.benchmark`), times the pairwise distances with their gradient: 1.7
at 256, 1.5 at 1,024, 1.9 at 1,800 (45 x 40), 1.4 at 4,096, 1.6 at 8,192.
"""

from __future__ import annotations

import functools
import math
import operator
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from tripletjax.folds import (
  count_thresholds,
  count_where,
  row_count,
  row_sum,
)
from tripletjax.gaps import gap_test, just_below
from tripletjax.losses.costs import BlockValues, Costs, no_costs
from tripletjax.losses.penalty import penalty, slope
from tripletjax.masks import PairMasks
from tripletjax.miners.slots import over_positives
from tripletjax.reductions import RowTotals
from tripletjax.types import GapBand, Slots


class _Counts(NamedTuple):
  """What the pass over the positives adds up for a band.

  Attributes:
    pairs: `[A, R]`, at each negative the number of its active positives, at
      each positive minus the number of its active negatives.
    level: `[A]`, the active triplets' `margin + d_ap`.
    selected: `[A]`.
  """

  pairs: jax.Array
  level: jax.Array
  selected: jax.Array


def counted_band(band: GapBand, rows: BlockValues) -> Costs:
  """By the hinge and without a further condition: counts are all there is."""
  distances, margin = rows.distances, rows.margin
  dtype = distances.dtype
  negatives = jnp.where(rows.masks.negative, distances, jnp.nan)
  index = jnp.arange(distances.shape[0])[:, None]

  # Active is what is in the band and below the margin.
  limit = jnp.minimum(just_below(margin, dtype), jnp.asarray(band.high, dtype))
  low = None if _is_infinite(band.low) else band.low
  active = gap_test(negatives, low, limit)
  selected = gap_test(negatives, low, band.high)

  def body(slots: Slots, counts: _Counts) -> _Counts:
    near = slots.distance_ap
    ends = active.ends(near)
    beside = count_where(active.values, ends, active.holds)
    # A count of its own: not made where nobody asks for it.
    chosen = count_where(selected.values, selected.ends(near), selected.holds)
    level = jnp.where(beside > 0, beside.astype(dtype) * (near + margin), 0)
    pairs = counts.pairs + count_thresholds(active.values, ends, active.holds)
    return _Counts(
      pairs.at[index, slots.column].add(-beside, mode="promise_in_bounds"),
      counts.level + jnp.sum(level, axis=1),
      counts.selected + jnp.sum(chosen.astype(dtype), axis=1),
    )

  zeros = jnp.zeros_like(distances[:, 0])
  counts = over_positives(
    body,
    _Counts(jnp.zeros(distances.shape, jnp.int32), zeros, zeros),
    distances,
    rows.masks.positive,
    rows.candidates,
  )
  number = row_sum(
    counts.pairs, of=lambda pairs: jnp.maximum(pairs, 0).astype(dtype)
  )
  reached = row_sum(
    counts.pairs,
    distances,
    of=lambda pairs, distance: jnp.where(
      pairs > 0, pairs.astype(dtype) * distance, 0
    ),
  )
  chosen = counts.selected
  if _is_infinite(band.low) and _is_infinite(band.high):
    chosen = valid_triplets(rows.masks, dtype)
  # Rounding may leave a sum of nothing but tiny losses below 0.
  loss = jnp.maximum(counts.level - reached, 0)
  return Costs(
    RowTotals(loss, chosen, number), -counts.pairs.astype(dtype), number
  )


def swept_band(band: GapBand, rows: BlockValues) -> Costs:
  """One positive a step, with any condition and any penalty."""
  distances, margin = rows.distances, rows.margin
  dtype = distances.dtype
  index = jnp.arange(distances.shape[0])[:, None]

  def body(slots: Slots, costs: Costs) -> Costs:
    gap = distances - slots.distance_ap
    where = rows.masks.negative & _in_band(gap, band, dtype)
    where &= ~jnp.isnan(slots.distance_ap)
    if band.keep is not None:
      where &= band.keep(slots)
    values = jnp.where(where, penalty(margin - gap, soft=rows.soft), 0)
    slopes = jnp.where(where, slope(margin - gap, soft=rows.soft), 0)
    # Not `row_sum`, each of whose slices would compute all of this anew.
    by_positive = jnp.sum(slopes, axis=1)
    # The slope of the hinge is 1 where it costs something.
    active = row_count(values > 0).astype(dtype) if rows.soft else by_positive
    return Costs(
      RowTotals(
        costs.totals.loss + jnp.sum(values, axis=1),
        costs.totals.selected + row_count(where).astype(dtype),
        costs.totals.active + active,
      ),
      (costs.by_distance - slopes)
      .at[index, slots.column]
      .add(by_positive[:, None], mode="promise_in_bounds"),
      costs.by_margin + by_positive,
    )

  return over_positives(
    body,
    no_costs(distances),
    distances,
    rows.masks.positive,
    rows.candidates,
    chunk=1,
  )


def valid_triplets(masks: PairMasks, dtype: jnp.dtype) -> Float[Array, " a"]:
  """How many triplets each anchor has."""
  positives, negatives = row_count(masks.positive), row_count(masks.negative)
  return positives.astype(dtype) * negatives.astype(dtype)


def _in_band(gap: jax.Array, band: GapBand, dtype: jnp.dtype) -> jax.Array:
  # An end that is infinite costs nothing.
  conditions = []
  if not _is_infinite(band.low):
    conditions.append(gap > jnp.asarray(band.low, dtype))
  if not _is_infinite(band.high):
    conditions.append(gap <= jnp.asarray(band.high, dtype))
  return functools.reduce(operator.and_, conditions or [~jnp.isnan(gap)])


def _is_infinite(end: ArrayLike) -> bool:
  return isinstance(end, float) and math.isinf(end)
