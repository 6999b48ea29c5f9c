"""Every triplet of a band of gaps, without listing them.

For one anchor, a positive at distance `t` and a negative at `d` cost
`max(margin - (d - t), 0)`: the gradient by `d` is minus the number of active
positives, by `t` the number of active negatives, and the value follows from
these counts. So a band takes `O(A R K)` compares and `O(A R)` memory where the
cube takes `O(A R R)`.

Measured on two cores (`experiments.benchmark`), times the pairwise distances
with their gradient: 1.6 at 256, 1.4 at 1,024, 1.7 at 1,800 (45 x 40), 1.3 at
4,096 and 8,192.
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
  kept,
  row_count,
  row_sum,
)
from tripletjax.losses.costs import BlockValues, Costs, no_costs
from tripletjax.losses.penalty import penalty, slope
from tripletjax.masks import PairMasks
from tripletjax.miners.slots import over_positives
from tripletjax.reductions import RowTotals
from tripletjax.types import GapBand, Slots

# Columns up to which two counts are made in one pass; the loop over more of
# them is too long for XLA to vectorise (at 8,192 5.3 times the floor instead of
# 1.6).
PACKED = 4096


class _Counts(NamedTuple):
  """What the pass over the positives adds up for a band.

  Attributes:
    active_positives: of each negative, `[A, R]`.
    by_positive: `[A, R]`, at each positive the number of its active negatives.
    level: `[A]`, the active triplets' `margin + d_ap`.
    selected: `[A]`.
  """

  active_positives: jax.Array
  by_positive: jax.Array
  level: jax.Array
  selected: jax.Array


def counted_band(band: GapBand, rows: BlockValues) -> Costs:
  """By the hinge and without a further condition: counts are all there is."""
  distances, margin = rows.distances, rows.margin
  dtype = distances.dtype
  negatives = jnp.where(rows.masks.negative, distances, jnp.nan)
  index = jnp.arange(distances.shape[0])[:, None]
  everything = _is_infinite(band.low) and _is_infinite(band.high)

  def selected(distance_an: jax.Array, distance_ap: jax.Array) -> jax.Array:
    return _in_band(distance_an - distance_ap, band, dtype)

  # Active is what is in the band and below the margin: one comparison.
  limit = kept(jnp.minimum(_just_below(margin), jnp.asarray(band.high, dtype)))

  def active(distance_an: jax.Array, distance_ap: jax.Array) -> jax.Array:
    gap = distance_an - distance_ap
    if _is_infinite(band.low):
      return gap <= limit
    return (gap > jnp.asarray(band.low, dtype)) & (gap <= limit)

  def both(distance_an: jax.Array, distance_ap: jax.Array) -> jax.Array:
    counted = selected(distance_an, distance_ap).astype(jnp.int32)
    return (counted << 16) + active(distance_an, distance_ap).astype(jnp.int32)

  def count(distance_ap: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Active and selected negatives of each positive."""
    if everything:
      beside = count_where(negatives, distance_ap, active)
      return beside, jnp.zeros_like(beside)
    if distances.shape[1] <= PACKED:
      # Two counts in one number: half of the passes.
      counts = count_where(negatives, distance_ap, both)
      return counts & 0xFFFF, counts >> 16
    return (
      count_where(negatives, distance_ap, active),
      count_where(negatives, distance_ap, selected),
    )

  def body(slots: Slots, counts: _Counts) -> _Counts:
    beside, chosen = (n.astype(dtype) for n in count(slots.distance_ap))
    level = jnp.where(beside > 0, beside * (slots.distance_ap + margin), 0)
    return _Counts(
      counts.active_positives
      + count_thresholds(negatives, slots.distance_ap, active),
      counts.by_positive.at[index, slots.column].add(
        beside, mode="promise_in_bounds"
      ),
      counts.level + jnp.sum(level, axis=1),
      counts.selected + jnp.sum(chosen, axis=1),
    )

  zeros = jnp.zeros_like(distances[:, 0])
  counts = over_positives(
    body,
    _Counts(
      jnp.zeros(distances.shape, jnp.int32),
      jnp.zeros_like(distances),
      zeros,
      zeros,
    ),
    distances,
    rows.masks.positive,
    rows.candidates,
  )
  active_positives = counts.active_positives.astype(dtype)
  reached = jnp.where(active_positives > 0, active_positives * distances, 0)
  number = row_sum(active_positives)
  chosen = counts.selected
  if everything:
    chosen = valid_triplets(rows.masks, dtype)
  # Rounding may leave a sum of nothing but tiny losses below 0.
  loss = jnp.maximum(counts.level - row_sum(reached), 0)
  return Costs(
    RowTotals(loss, chosen, number),
    counts.by_positive - active_positives,
    number,
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
    by_positive = row_sum(slopes)
    return Costs(
      RowTotals(
        costs.totals.loss + row_sum(values),
        costs.totals.selected + row_count(where).astype(dtype),
        costs.totals.active + row_count(values > 0).astype(dtype),
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


def _just_below(margin: Float[Array, ""]) -> Float[Array, ""]:
  """The largest number below, so that `gap <= it` says `gap < margin`."""
  below = jnp.nextafter(margin, jnp.full_like(margin, -jnp.inf))
  # Numbers that are not normal may be flushed to 0.
  tiny = jnp.finfo(margin.dtype).tiny
  return jnp.where(jnp.abs(below) < tiny, -tiny, below)


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
