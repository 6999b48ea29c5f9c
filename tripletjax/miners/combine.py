"""Miners made of miners: a cap for each anchor, and a curriculum."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float, Int

from tripletjax.folds import row_count
from tripletjax.miners.calling import call_miner
from tripletjax.miners.draws import row_keys, uniform
from tripletjax.miners.slots import (
  Candidates,
  candidates_by_mask,
  over_positives,
)
from tripletjax.searches import nth_true
from tripletjax.types import (
  EachPositive,
  Embeddings,
  GapBand,
  MinerFn,
  Selection,
  Slots,
  Stages,
  Triplets,
)


def capped(miner: MinerFn, per_anchor: int) -> MinerFn:
  """At most `per_anchor` of a miner's triplets for each anchor.

  Of `N` triplets of an anchor each is kept with the same probability,
  `per_anchor / N` (a systematic sample: every N/per_anchor-th, from a random
  start). With a cap, `all` costs what a few triplets cost.

  Args:
    miner: a function.
    per_anchor: the cap, at least 1.

  Returns:
    A miner that needs a key.

  Raises:
    ValueError: the cap is below 1.
  """
  if per_anchor < 1:
    raise ValueError(f"expected per_anchor of 1 or more, got {per_anchor}")

  def capped_miner(
    distances: Float[Array, "a r"],
    positive_mask: Bool[Array, "a r"],
    negative_mask: Bool[Array, "a r"],
    *,
    margin: ArrayLike,
    key: jax.Array | None = None,
    embeddings: Embeddings | None = None,
    candidates: Candidates | None = None,
  ) -> Selection:
    keys = row_keys(key, "a cap")
    # Slots draw by their number, from 0: the cap has a number of its own.
    start = uniform(keys, jnp.full((len(keys), 1), -1))[:, 0]
    selection = call_miner(
      miner,
      distances,
      positive_mask,
      negative_mask,
      margin=margin,
      key=key,
      embeddings=embeddings,
      candidates=candidates,
    )
    return _cap(
      selection, distances, positive_mask, negative_mask, start, per_anchor
    )

  return capped_miner


def _cap(
  selection: Selection,
  distances: jax.Array,
  positive_mask: jax.Array,
  negative_mask: jax.Array,
  start: jax.Array,
  per_anchor: int,
) -> Selection:
  block = (distances, positive_mask, negative_mask, start, per_anchor)
  if isinstance(selection, Stages):
    return Stages(
      selection.stage,
      [
        functools.partial(_capped_stage, select, *block)
        for select in selection.selections
      ],
    )
  if isinstance(selection, GapBand):
    return _capped_band(selection, *block)
  if isinstance(selection, EachPositive):
    selection = _collected(selection, distances, positive_mask)
  if selection.where.ndim == 1:
    return selection
  anchor, positive, negative, where = jnp.broadcast_arrays(*selection)
  number, taken = _sample(row_count(where), start, per_anchor)
  at = nth_true(where, number)
  anchor, positive, negative = (
    jnp.take_along_axis(part, at, axis=1)
    for part in (anchor, positive, negative)
  )
  return Triplets(anchor, positive, negative, taken)


def _capped_stage(select: Callable[[], Selection], *block: Any) -> Selection:
  return _cap(select(), *block)


def _sample(
  total: Int[Array, " a"], start: Float[Array, " a"], count: int
) -> tuple[Int[Array, "a n"], Bool[Array, "a n"]]:
  """`count` different numbers below each total, and which of them are."""
  index = jnp.arange(count, dtype=jnp.int32)[None, :]
  total = total[:, None]
  step = total.astype(start.dtype) / count
  spread = (index.astype(start.dtype) + start[:, None]) * step
  number = jnp.minimum(spread.astype(jnp.int32), total - 1)
  number = jnp.where(total > count, number, index)
  return number, index < total


def _collected(
  selection: EachPositive, distances: jax.Array, positive_mask: jax.Array
) -> Triplets:
  """The triplets of all pairs, `[A, R]`, those of a row at its start."""
  rows, columns = distances.shape
  index = jnp.arange(rows, dtype=jnp.int32)[:, None]

  def body(slots: Slots, triplets: Triplets) -> Triplets:
    negative, where = selection.choose(slots)
    where &= ~jnp.isnan(slots.distance_ap)
    at = (index, jnp.where(where, slots.number, columns))
    return Triplets(
      triplets.anchor,
      triplets.positive.at[at].set(slots.column, mode="drop"),
      triplets.negative.at[at].set(negative.astype(jnp.int32), mode="drop"),
      triplets.where.at[at].set(where, mode="drop"),
    )

  zeros = jnp.zeros((rows, columns), jnp.int32)
  return over_positives(
    body,
    Triplets(index, zeros, zeros, jnp.zeros((rows, columns), bool)),
    distances,
    positive_mask,
    candidates_by_mask(positive_mask),
  )


def _capped_band(
  band: GapBand,
  distances: jax.Array,
  positive_mask: jax.Array,
  negative_mask: jax.Array,
  start: jax.Array,
  per_anchor: int,
) -> Triplets:
  rows, columns = distances.shape
  index = jnp.arange(rows, dtype=jnp.int32)
  candidates = candidates_by_mask(positive_mask)

  def inside(slots: Slots) -> jax.Array:
    gap = distances - slots.distance_ap
    where = negative_mask & (gap > jnp.asarray(band.low, gap.dtype))
    where &= gap <= jnp.asarray(band.high, gap.dtype)
    return where if band.keep is None else where & band.keep(slots)

  def count(slots: Slots, counts: jax.Array) -> jax.Array:
    present = ~jnp.isnan(slots.distance_ap[:, 0])
    at = (index, jnp.where(present, slots.number[:, 0], columns))
    return counts.at[at].set(row_count(inside(slots)), mode="drop")

  counts = over_positives(
    count,
    jnp.zeros((rows, columns), jnp.int32),
    distances,
    positive_mask,
    candidates,
    chunk=1,
  )
  ends = jnp.cumsum(counts, axis=1, dtype=jnp.int32)
  number, taken = _sample(ends[:, -1], start, per_anchor)
  pair = jax.vmap(lambda end, n: jnp.searchsorted(end, n, side="right"))(
    ends, number
  )
  pair = jnp.minimum(pair, columns - 1).astype(jnp.int32)
  rest = number - jnp.take_along_axis(ends - counts, pair, axis=1)
  positive = jnp.take_along_axis(candidates.order, pair, axis=1)

  def negative(one: tuple) -> jax.Array:
    column, pair, rest = (part[:, None] for part in one)
    distance_ap = jnp.take_along_axis(distances, column, axis=1)
    return nth_true(inside(Slots(distance_ap, column, pair)), rest)[:, 0]

  found = jax.lax.map(negative, (positive.T, pair.T, rest.T)).T
  return Triplets(index[:, None], positive, found, taken)


def curriculum(
  miners: Sequence[MinerFn], boundaries: Sequence[int]
) -> Callable[[ArrayLike], MinerFn]:
  """From one miner to the next, by step.

  Args:
    miners: functions.
    boundaries: the steps at which the second, the third, ... begin.

  Returns:
    A function of the step, which may be a tracer: `curriculum(...)(step)` is a
    miner. One program serves all steps; only the miner of the step is run.

  Raises:
    ValueError: there isn't one boundary between each two miners, or they don't
      rise.

  >>> from tripletjax import MINERS, mined_triplet_loss
  >>> schedule = curriculum(
  ...   [MINERS["semi_hard"], MINERS["batch_hard"]], boundaries=[1000]
  ... )
  >>> points, labels = jnp.array([[0.0], [2.0], [1.0]]), jnp.array([0, 0, 1])
  >>> for step in (999, 1000):  # semi_hard finds no negative beyond
  ...   print(mined_triplet_loss(points, labels, miner=schedule(step))[0])
  0.0
  3.2
  """
  if len(boundaries) != len(miners) - 1 or list(boundaries) != sorted(
    set(boundaries)
  ):
    raise ValueError(
      f"expected {len(miners) - 1} rising boundaries between {len(miners)} "
      f"miners, got {list(boundaries)}"
    )

  def at_step(step: ArrayLike) -> MinerFn:
    edges = jnp.asarray(boundaries, jnp.int32)
    index = jnp.sum(jnp.asarray(step) >= edges, dtype=jnp.int32)

    def miner(
      distances: Float[Array, "a r"],
      positive_mask: Bool[Array, "a r"],
      negative_mask: Bool[Array, "a r"],
      *,
      margin: ArrayLike,
      key: jax.Array | None = None,
      embeddings: Embeddings | None = None,
      candidates: Candidates | None = None,
    ) -> Stages:
      return Stages(
        index,
        [
          functools.partial(
            call_miner,
            each,
            distances,
            positive_mask,
            negative_mask,
            margin=margin,
            key=key,
            embeddings=embeddings,
            candidates=candidates,
          )
          for each in miners
        ],
      )

    return miner

  return at_step
