"""Positives in rounds, and the statistics of a ring."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import jax
import jax.numpy as jnp
from jax import lax

from tripletjax.losses.ring_trips import (
  Positives,
  Ring,
  Visit,
  collect_positives,
  slots,
)
from tripletjax.losses.rows import Block
from tripletjax.losses.statistics import (
  GAP_EDGES,
  RowStatistics,
  row_statistics,
)
from tripletjax.masks import PairMasks
from tripletjax.miners.slots import Candidates

Value = TypeVar("Value")


def in_rounds(
  ring: Ring,
  one_round: Callable[[jax.Array], tuple[jax.Array, Value]],
  add: Callable[[Value, Value], Value],
) -> Value:
  """Rounds over the positives, until the anchor with most has no more.

  Args:
    ring: anchors and references.
    one_round: maps the number of its first positive to how many positives each
      anchor has in all, and a value.
    add: of two rounds' values.
  """
  step = slots(len(ring.block.labels), ring.axis_name)
  number, value = one_round(jnp.int32(0))
  # The same on all devices: a round is a trip that all of them take.
  most = lax.pmax(jnp.max(number), ring.axis_name)

  def another(carry: tuple[jax.Array, Value]) -> tuple[jax.Array, Value]:
    start, value = carry
    return start + step, add(value, one_round(start)[1])

  start = (jnp.int32(step), value)
  return lax.while_loop(lambda carry: carry[0] < most, another, start)[1]


def beside(
  visit: Visit, positives: Positives, start: jax.Array
) -> tuple[jax.Array, PairMasks, Candidates]:
  """Positives and a block of negatives as one matrix, `[t, S + b]`.

  Args:
    visit: the block.
    positives: of the tile's anchors, `[t, S]`.
    start: number of the first of them.

  Returns:
    Distances, masks, and where the positives are.
  """
  distances, masks = visit.pairs()
  present = ~jnp.isnan(lax.stop_gradient(positives.distance))
  # Double where: nothing that is not there has a gradient.
  distance_ap = jnp.where(present, positives.distance, 0)
  rows, count = present.shape
  columns = jnp.arange(count + distances.shape[1], dtype=jnp.int32)
  return (
    jnp.concatenate([distance_ap, distances], axis=1),
    PairMasks(
      jnp.concatenate([present, jnp.zeros_like(masks.positive)], axis=1),
      jnp.concatenate([jnp.zeros_like(present), masks.negative], axis=1),
    ),
    Candidates(
      columns,
      jnp.zeros(rows, jnp.int32),
      jnp.clip(positives.number - start, 0, count),
    ),
  )


def ring_statistics(ring: Ring, margin: jax.Array) -> RowStatistics:
  """Statistics of each anchor, `[b]` each.

  They take trips of their own: where nobody asks for them, none is made.
  """

  def one_round(start: jax.Array) -> tuple[jax.Array, RowStatistics]:
    positives = collect_positives(ring, start)

    def look_fn(visit: Visit, rows: tuple) -> tuple:
      positives, found = rows
      distances, masks, candidates = beside(visit, positives, start)
      block = Block(
        visit.anchors.embeddings,
        visit.block.embeddings,
        (None, None),
        visit.anchors.labels,
        distances,
        masks,
        candidates,
        None,
      )
      here = row_statistics(block, margin)
      added = _over_negatives(found, here)
      return positives, added

    start_rows = (positives, _nothing(ring, margin))
    _, found = ring.look(look_fn, start_rows)
    return positives.number, ring.flat(found)

  return in_rounds(ring, one_round, _over_positives)


def _nothing(ring: Ring, margin: jax.Array) -> RowStatistics:
  zeros = jnp.zeros(ring.rows, margin.dtype)
  bins = len(GAP_EDGES) + 1
  infinite = jnp.full_like(zeros, jnp.inf)
  return RowStatistics(
    positives=zeros,
    negatives=zeros,
    distance_ap=zeros,
    distance_an=zeros,
    nearest=infinite,
    hard=zeros,
    semi_hard=zeros,
    gaps=jnp.zeros((*zeros.shape, bins), margin.dtype),
  )


def _over_negatives(one: RowStatistics, two: RowStatistics) -> RowStatistics:
  """The same positives beside the negatives of another block."""
  return _added(one, two)._replace(
    positives=two.positives, distance_ap=two.distance_ap
  )


def _over_positives(one: RowStatistics, two: RowStatistics) -> RowStatistics:
  """Other positives beside the same negatives."""
  return _added(one, two)._replace(
    negatives=one.negatives, distance_an=one.distance_an
  )


def _added(one: RowStatistics, two: RowStatistics) -> RowStatistics:
  return jax.tree.map(jnp.add, one, two)._replace(
    nearest=jnp.minimum(one.nearest, two.nearest),
  )
