"""What a ring's miners select and what it costs, by trips of the references."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from tripletjax.folds import first_smallest, first_smallest_above, row_count
from tripletjax.losses.costs import has_lost
from tripletjax.losses.ring_rounds import beside, in_rounds
from tripletjax.losses.ring_trips import (
  Positives,
  Ring,
  Visit,
  collect_positives,
  give_back,
)
from tripletjax.losses.selections import selection_totals
from tripletjax.masks import PairMasks
from tripletjax.reductions import RowTotals
from tripletjax.types import MinerFn, Triplets


class Found(NamedTuple):
  """A loss in a ring, evaluated.

  Attributes:
    totals: of each anchor, `[b]` each.
    by_embeddings: gradient of the sum over all devices, `[b, D]`.
    by_margin: of the sum over this device's anchors, a scalar.
    positives: number of positives of each anchor, `[b]`.
    lost: anchors with a distance that is NaN, `[b]`.
  """

  totals: RowTotals
  by_embeddings: jax.Array
  by_margin: jax.Array
  positives: jax.Array
  lost: jax.Array


# A ring, the margin and whether it is soft, to a loss.
FindFn = Callable[[Ring, jax.Array, bool], Found]


class Best(NamedTuple):
  """The smallest distances so far, and where they are; `[n, t, m]` each."""

  distance: jax.Array
  column: jax.Array

  def or_nearer(
    self, distances: jax.Array, column: jax.Array, found: jax.Array, first: Any
  ) -> Best:
    """These, or those of a block at `column` where they are smaller."""
    distance = jnp.take_along_axis(distances, column, axis=1)
    column = first + column
    # Blocks come in another order on each device: of equals the first.
    nearer = jnp.isnan(self.distance) | (distance < self.distance)
    nearer |= (distance == self.distance) & (column < self.column)
    nearer &= found
    return Best(
      jnp.where(nearer, distance, self.distance),
      jnp.where(nearer, column, self.column),
    )


def _none_yet(ring: Ring, slots: int) -> Best:
  shape = (*ring.rows, slots)
  dtype = ring.block.embeddings.dtype
  return Best(jnp.full(shape, jnp.nan, dtype), jnp.full(shape, -1, jnp.int32))


def find_batch_hard(ring: Ring, margin: jax.Array, soft: bool) -> Found:
  """The farthest positive and the nearest negative, in one trip."""

  def look_fn(visit: Visit, rows: tuple) -> tuple:
    far, near, positives, lost = rows
    distances, masks = visit.pairs()
    best = []
    for so_far, values in (
      (far, jnp.where(masks.positive, -distances, jnp.nan)),
      (near, jnp.where(masks.negative, distances, jnp.nan)),
    ):
      column, found = first_smallest(values)
      best.append(
        so_far.or_nearer(values, column[:, None], found[:, None], visit.first)
      )
    return (
      *best,
      positives + row_count(masks.positive),
      lost | has_lost(distances, masks),
    )

  none = _none_yet(ring, 1)
  counts = jnp.zeros(ring.rows, jnp.int32)
  start = (none, none, counts, jnp.zeros(ring.rows, bool))
  far, near, positives, lost = ring.look(look_fn, start)
  far = far._replace(distance=-far.distance)
  return _listed(ring, far, near, margin, soft)._replace(
    positives=ring.flat(positives), lost=ring.flat(lost)
  )


def find_semi_hard(ring: Ring, margin: jax.Array, soft: bool) -> Found:
  """For each positive the nearest negative beyond."""

  def one_round(start: jax.Array) -> tuple[jax.Array, Found]:
    positives = collect_positives(ring, start)

    def look_fn(visit: Visit, rows: tuple) -> tuple:
      near, positives = rows
      distances, masks = visit.pairs()
      column, found = first_smallest_above(
        jnp.where(masks.negative, distances, jnp.nan), positives.distance
      )
      near = near.or_nearer(distances, column, found, visit.first)
      return near, positives

    none = _none_yet(ring, positives.column.shape[2])
    near, _ = ring.look(look_fn, (none, positives))
    far = Best(positives.distance, positives.column)
    return positives.number, _with_positives(
      ring, _listed(ring, far, near, margin, soft), positives
    )

  return in_rounds(ring, one_round, _add)


def find_band(miner_fn: MinerFn) -> FindFn:
  """Every triplet of a band: a sum over blocks of negatives."""

  def evaluate(ring: Ring, margin: jax.Array, soft: bool) -> Found:
    def cost(
      x: jax.Array,
      y: jax.Array,
      distance_ap: jax.Array,
      margin: jax.Array,
      visit: Visit,
      rest: tuple,
    ) -> tuple[jax.Array, RowTotals]:
      positives, start = rest
      visit = visit._replace(
        anchors=visit.anchors._replace(embeddings=x),
        block=visit.block._replace(embeddings=y),
      )
      distances, masks, candidates = beside(
        visit, positives._replace(distance=distance_ap), start
      )
      band = miner_fn(
        distances,
        masks.positive,
        masks.negative,
        margin=lax.stop_gradient(margin),
      )
      totals = selection_totals(
        distances,
        masks,
        band,
        margin=margin,
        soft=soft,
        candidates=candidates,
      )
      return jnp.sum(totals.loss), totals

    def one_round(start: jax.Array) -> tuple[jax.Array, Found]:
      positives = collect_positives(ring, start)

      def pay_fn(visit: Visit, gradient: jax.Array, rows: tuple) -> tuple:
        positives, totals, by = rows
        (_, more), (by_x, by_y, *by_more) = jax.value_and_grad(
          cost, argnums=(0, 1, 2, 3), has_aux=True
        )(
          visit.anchors.embeddings,
          visit.block.embeddings,
          positives.distance,
          margin,
          visit,
          (positives, start),
        )
        totals, by = jax.tree.map(
          jnp.add, (totals, by), (more, (by_x, *by_more))
        )
        return gradient + by_y, (positives, totals, by)

      zeros = jnp.zeros(ring.rows, margin.dtype)
      by_zero = (
        jnp.zeros_like(ring.anchors.embeddings),
        jnp.zeros_like(positives.distance),
        zeros[:, 0],
      )
      start_rows = (positives, RowTotals(zeros, zeros, zeros), by_zero)
      by_block, (_, totals, by) = ring.pay(pay_fn, start_rows)
      by_anchors, by_positives, by_margin = by
      more, by_more = give_back(ring, positives.column, by_positives)
      found = Found(
        ring.flat(totals),
        ring.flat(by_anchors + more) + by_block + by_more,
        jnp.sum(by_margin),
        ring.flat(positives.number),
        ring.flat(positives.lost),
      )
      return positives.number, found

    return in_rounds(ring, one_round, _add)

  return evaluate


def _listed(
  ring: Ring, far: Best, near: Best, margin: jax.Array, soft: bool
) -> Found:
  """What triplets of distances cost that were found in the ring."""
  shape = far.column.shape
  slots = shape[2]

  def cost(
    distance_ap: jax.Array, distance_an: jax.Array, margin: jax.Array
  ) -> tuple[jax.Array, RowTotals]:
    rows = jnp.arange(shape[0] * shape[1])[:, None]
    there = ~jnp.isnan(distance_ap), ~jnp.isnan(distance_an)
    no = jnp.zeros_like(there[0])
    index = jnp.arange(slots)[None, :]
    totals = selection_totals(
      jnp.concatenate([distance_ap, distance_an], axis=1),
      PairMasks(
        jnp.concatenate([there[0], no], axis=1),
        jnp.concatenate([no, there[1]], axis=1),
      ),
      Triplets(rows, index, slots + index, there[0] & there[1]),
      margin=margin,
      soft=soft,
    )
    return jnp.sum(totals.loss), totals

  flat = [best.distance.reshape(-1, slots) for best in (far, near)]
  (_, totals), (by_ap, by_an, by_margin) = jax.value_and_grad(
    cost, argnums=(0, 1, 2), has_aux=True
  )(*flat, margin)
  by_anchors, by_block = give_back(
    ring,
    jnp.concatenate([far.column, near.column], axis=2),
    jnp.concatenate([by_ap.reshape(shape), by_an.reshape(shape)], axis=2),
  )
  count = len(ring.block.labels)
  return Found(
    jax.tree.map(lambda x: x[:count], totals),
    ring.flat(by_anchors) + by_block,
    by_margin,
    jnp.zeros(count, jnp.int32),
    jnp.zeros(count, bool),
  )


def _with_positives(ring: Ring, found: Found, positives: Positives) -> Found:
  return found._replace(
    positives=ring.flat(positives.number), lost=ring.flat(positives.lost)
  )


def _add(found: Found, more: Found) -> Found:
  """Two rounds: terms add up; every round counts all positives."""
  added = jax.tree.map(jnp.add, found, more)
  return added._replace(positives=more.positives, lost=more.lost)
