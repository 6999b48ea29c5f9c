"""What a selection costs: value, gradient and counts of each anchor row.

Everything is computed from the values of the distances in one pass over the
positives; the gradient comes out beside the value and is attached to it
(`with_gradients`), so that nothing is kept for a backward pass.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from tripletjax.folds import row_count
from tripletjax.losses.bands import counted_band, swept_band
from tripletjax.losses.costs import (
  BlockValues,
  Costs,
  count,
  lost_pairs,
  no_costs,
)
from tripletjax.losses.gradients import with_gradients
from tripletjax.losses.penalty import penalty, slope
from tripletjax.masks import PairMasks
from tripletjax.miners.slots import (
  Candidates,
  candidates_by_mask,
  over_positives,
)
from tripletjax.reductions import RowTotals
from tripletjax.types import (
  EachPositive,
  Selection,
  Slots,
  Stages,
  Triplets,
)


def selection_totals(
  distances: Float[Array, "a r"],
  masks: PairMasks,
  selection: Selection,
  *,
  margin: ArrayLike,
  soft: bool = False,
  candidates: Candidates | None = None,
) -> RowTotals:
  """Totals of each anchor over a selection, exact in value and gradient.

  Args:
    distances: `[A, R]`; the gradient flows through them.
    masks: which pairs are positive and negative, `[A, R]` each.
    selection: what a miner returned for these distances and masks.
    margin: a scalar, in the unit of the distances; may be a tracer.
    soft: `softplus` in place of `max(., 0)`.
    candidates: where the positives are, when labels tell; otherwise they are
      looked up in the mask, which is slower.

  Returns:
    Totals of each row; the loss of a row is NaN if one of its valid distances
    is NaN, selected or not.
  """
  margin = jnp.asarray(margin, distances.dtype)
  if candidates is None:
    candidates = candidates_by_mask(masks.positive)
  rows = BlockValues(
    lax.stop_gradient(distances),
    masks,
    candidates,
    lax.stop_gradient(margin),
    soft,
  )
  costs = _costs(selection, rows)
  loss = with_gradients(
    costs.totals.loss,
    (distances, jnp.broadcast_to(margin, distances.shape[:1])),
    (costs.by_distance, costs.by_margin),
  )
  return costs.totals._replace(loss=loss)


def pair_counts(
  distances: Float[Array, "a r"],
  masks: PairMasks,
  selection: Selection,
  *,
  candidates: Candidates,
) -> Float[Array, "a r"]:
  """In how many triplets of a selection each pair is; without a gradient.

  Args:
    distances: `[A, R]`.
    masks: which pairs are positive and negative, `[A, R]` each.
    selection: what a miner returned for these distances and masks.
    candidates: where the positives are.
  """
  values = lax.stop_gradient(distances)
  # Short of an infinite margin every triplet is, with a slope of 1: up by its
  # positive, down by its negative.
  margin = jnp.asarray(jnp.inf, values.dtype)
  rows = BlockValues(values, masks, candidates, margin, soft=False)
  counts = jnp.abs(_costs(selection, rows).by_distance)
  return jnp.where(jnp.isnan(counts), 0, counts)


def poison(
  distances: Float[Array, "a r"], masks: PairMasks
) -> Float[Array, " a"]:
  """NaN in rows where a valid distance is NaN, with that gradient; 0 elsewhere.

  Comparisons with NaN are False, so that a miner drops such triplets: without
  this a network that has diverged would report a loss of 0.
  """
  values = lax.stop_gradient(distances)
  lost = lost_pairs(values, masks)
  return with_gradients(
    jnp.where(row_count(lost) > 0, jnp.nan, 0).astype(values.dtype),
    distances,
    jnp.where(lost, jnp.nan, 0).astype(values.dtype),
  )


def _costs(selection: Selection, rows: BlockValues) -> Costs:
  if isinstance(selection, Stages):
    branches = [
      lambda select=select: _costs(select(), rows)
      for select in selection.selections
    ]
    return lax.switch(selection.stage, branches)
  if isinstance(selection, Triplets):
    return _listed(selection, rows)
  if isinstance(selection, EachPositive):
    return _each_positive(selection, rows)
  if selection.keep is None and not rows.soft:
    return counted_band(selection, rows)
  return swept_band(selection, rows)


def _listed(triplets: Triplets, rows: BlockValues) -> Costs:
  distances = rows.distances
  anchor, positive, negative, where = jnp.broadcast_arrays(*triplets)
  # What is no positive is the anchor itself, at distance 0: the root of a
  # rounding error would be far from it.
  other = rows.masks.positive[anchor, positive]
  distance_ap = jnp.where(other, distances[anchor, positive], 0)
  gap = distances[anchor, negative] - distance_ap
  values = jnp.where(where, penalty(rows.margin - gap, soft=rows.soft), 0)
  slopes = jnp.where(where, slope(rows.margin - gap, soft=rows.soft), 0)
  nothing = no_costs(rows)
  by_distance = (
    nothing.by_distance.at[anchor, positive]
    .add(jnp.where(other, slopes, 0))
    .at[anchor, negative]
    .add(-slopes)
  )

  def per_row(entries: jax.Array) -> jax.Array:
    entries = entries.astype(distances.dtype)
    return jnp.zeros_like(distances[:, 0]).at[anchor].add(entries)

  loss = nothing.totals.loss + per_row(values)
  totals = RowTotals(loss, per_row(where), per_row(values > 0))
  return Costs(totals, by_distance, per_row(slopes))


def _each_positive(selection: EachPositive, rows: BlockValues) -> Costs:
  distances, margin = rows.distances, rows.margin
  index = jnp.arange(distances.shape[0])[:, None]

  def body(slots: Slots, costs: Costs) -> Costs:
    negative, where = selection.choose(slots)
    distance_an = distances.at[index, negative].get(mode="promise_in_bounds")
    shortfall = margin - (distance_an - slots.distance_ap)
    where &= ~jnp.isnan(slots.distance_ap)
    values = jnp.where(where, penalty(shortfall, soft=rows.soft), 0)
    slopes = jnp.where(where, slope(shortfall, soft=rows.soft), 0)
    by_distance = (
      costs.by_distance.at[index, slots.column]
      .add(slopes, mode="promise_in_bounds")
      .at[index, negative]
      .add(-slopes, mode="promise_in_bounds")
    )
    return Costs(
      RowTotals(
        costs.totals.loss + jnp.sum(values, axis=1),
        costs.totals.selected + count(where, distances.dtype),
        costs.totals.active + count(values > 0, distances.dtype),
      ),
      by_distance,
      costs.by_margin + jnp.sum(slopes, axis=1),
    )

  return over_positives(
    body, no_costs(rows), distances, rows.masks.positive, rows.candidates
  )
