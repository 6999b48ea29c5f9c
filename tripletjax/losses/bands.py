"""Every triplet of a band of gaps, without listing them.

For one anchor, a positive at distance `t` and a negative at `d` cost
`max(margin - (d - t), 0)`: the gradient by `d` is minus the number of active
positives, by `t` the number of active negatives, and the value follows from
these counts. So a band takes `O(A R K)` compares and `O(A R)` memory where the
cube takes `O(A R R)`.

Measured on two cores (`experiments.benchmark`), times the pairwise distances
with their gradient: 1.1 at 256 and at 1,024, 1.5 at 1,800 (45 x 40), 1.0 at
4,096 and at 8,192; up to 2 on machines with faster matrix products.
"""

from __future__ import annotations

import functools
import math
import operator

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

  def body(slots: Slots, costs: Costs) -> Costs:
    near = slots.distance_ap
    ends = active.ends(near)
    beside = count_where(active.values, ends, active.holds).astype(dtype)
    # A count of its own: not made where nobody asks for it.
    chosen = count_where(selected.values, selected.ends(near), selected.holds)
    # What the negatives take off is added up at the end, all at once.
    level = jnp.where(beside > 0, beside * (near + margin), 0)
    behind = count_thresholds(active.values, ends, active.holds).astype(dtype)
    totals, number = costs.totals, jnp.sum(beside, axis=1)
    return Costs(
      RowTotals(
        totals.loss + jnp.sum(level, axis=1),
        totals.selected + jnp.sum(chosen.astype(dtype), axis=1),
        totals.active + number,
      ),
      (costs.by_distance - behind)
      .at[index, slots.column]
      .add(beside, mode="promise_in_bounds"),
      costs.by_margin + number,
    )

  costs = over_positives(
    body, no_costs(rows), distances, rows.masks.positive, rows.candidates
  )
  reached = row_sum(
    costs.by_distance,
    distances,
    of=lambda slopes, distance: jnp.where(slopes < 0, -slopes * distance, 0),
  )
  totals = costs.totals
  if _is_infinite(band.low) and _is_infinite(band.high):
    chosen = valid_triplets(rows.masks, dtype)
    totals = totals._replace(selected=chosen)
  # Rounding may leave a sum of nothing but tiny losses below 0.
  loss = jnp.maximum(totals.loss - reached, 0)
  return costs._replace(totals=totals._replace(loss=loss))


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
    no_costs(rows),
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
