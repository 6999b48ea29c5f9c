"""One triplet an anchor: a way to take its positive x a way to take a negative.

|           | positive                            | negative                  |
| --------- | ----------------------------------- | ------------------------- |
| hard      | the farthest                        | the nearest               |
| easy      | the nearest                         | the farthest              |
| semi_hard | the farthest that is nearer than    | the nearest beyond        |
|           | the negative                        | the positive              |
| random    | any, uniformly                      | any, uniformly            |

Where both are semi-hard: of all triplets in order (`ap < an`) the one with the
smallest gap. Of equal distances the first; an anchor without such a positive or
negative gives no triplet.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float, Int

from tripletjax.folds import first_smallest, first_smallest_above
from tripletjax.miners.draws import pick_number, row_keys, uniform
from tripletjax.miners.slots import (
  Candidates,
  candidates_by_mask,
  over_positives,
)
from tripletjax.searches import nth_where, segments
from tripletjax.types import MinerFn, Slots, Triplets

WAYS = ("easy", "semi_hard", "hard", "random")
# Columns, and whether there is one.
Chosen = tuple[Int[Array, " a"], Bool[Array, " a"]]


def one_triplet(
  positive: str,
  negative: str,
  *,
  beyond_farthest: bool = False,
  missing: str = "drop",
) -> MinerFn:
  """A miner that takes one triplet of each anchor.

  With an easy positive this is Xuan et al., 2020 ("Improved Embeddings with
  Easy Positive Triplet Mining"); hard and hard is `batch_hard`.

  Args:
    positive: how the positive is taken.
    negative: how the negative is taken.
    beyond_farthest: a semi-hard negative is the nearest beyond the anchor's
      farthest positive, whichever positive is taken, as TensorFlow Similarity
      has it.
    missing: where no negative is beyond the positive: "drop" the anchor, or
      take its "farthest" negative.

  Raises:
    ValueError: there is no such way.
  """
  for name, way in (("positive", positive), ("negative", negative)):
    if way not in WAYS:
      raise ValueError(
        f"expected {name} to be one of {', '.join(WAYS)}, got {way!r}"
      )
  if missing not in ("drop", "farthest"):
    raise ValueError(
      f"expected missing to be drop or farthest, got {missing!r}"
    )

  def miner(
    distances: Float[Array, "a r"],
    positive_mask: Bool[Array, "a r"],
    negative_mask: Bool[Array, "a r"],
    *,
    margin: ArrayLike,
    key: jax.Array | None = None,
    candidates: Candidates | None = None,
  ) -> Triplets:
    del margin
    if "random" in (positive, negative):
      key = row_keys(key, miner.__name__)
    positives = jnp.where(positive_mask, distances, jnp.nan)
    negatives = jnp.where(negative_mask, distances, jnp.nan)
    if positive == negative == "semi_hard":
      if candidates is None:
        candidates = candidates_by_mask(positive_mask)
      p, n = _smallest_gap(distances, positive_mask, negatives, candidates)
    elif positive == "semi_hard":
      n = _take(negative, -negatives, key, 1)
      distance_an = _at(distances, n)
      p = _beyond(-positives, -distance_an)
    else:
      p = _take(positive, positives, key, 0)
      if negative == "semi_hard":
        edge = _take("hard", positives, key, 0) if beyond_farthest else p
        n = _beyond(negatives, _at(distances, edge))
        if missing == "farthest":
          other = first_smallest(-negatives)
          n = jnp.where(n[1], n[0], other[0]), n[1] | other[1]
      else:
        n = _take(negative, -negatives, key, 1)
    return Triplets(jnp.arange(distances.shape[0]), p[0], n[0], p[1] & n[1])

  miner.__name__ = f"{positive}_positive_{negative}_negative"
  miner.__doc__ = (
    f"One triplet an anchor: {positive} positive, {negative} negative; see "
    "`tripletjax/miners/grid.py`."
  )
  return miner


def _take(
  way: str, values: jax.Array, key: jax.Array | None, draw: int
) -> Chosen:
  """One of a row; `hard` is the largest value, `easy` the smallest."""
  if way == "hard":
    return first_smallest(-values)
  if way == "easy":
    return first_smallest(values)
  assert key is not None
  share = uniform(key, jnp.full((values.shape[0], 1), draw))
  column, count = nth_where(
    segments(values),
    jnp.zeros_like(share, values.dtype),
    lambda count: pick_number(share, count),
    lambda value, _: ~jnp.isnan(value),
  )
  return column[:, 0], count[:, 0] > 0


def _beyond(values: jax.Array, edge: jax.Array) -> Chosen:
  column, found = first_smallest_above(values, edge[:, None])
  return column[:, 0], found[:, 0]


def _at(distances: jax.Array, chosen: Chosen) -> jax.Array:
  """The chosen distances; NaN where there is none."""
  column, found = chosen
  value = jnp.take_along_axis(distances, column[:, None], axis=1)[:, 0]
  return jnp.where(found, value, jnp.nan)


def _smallest_gap(
  distances: jax.Array,
  positive_mask: jax.Array,
  negatives: jax.Array,
  candidates: Candidates,
) -> tuple[Chosen, Chosen]:
  rows = jnp.arange(distances.shape[0])

  def body(slots: Slots, best: tuple) -> tuple:
    column, found = first_smallest_above(negatives, slots.distance_ap)
    gap = distances[rows[:, None], column] - slots.distance_ap
    slot, any_found = first_smallest(jnp.where(found, gap, jnp.nan))
    candidate = (
      gap[rows, slot],
      slots.column[rows, slot],
      column[rows, slot],
    )
    better = any_found & (candidate[0] < best[0])
    return tuple(
      jnp.where(better, new, old)
      for new, old in zip(candidate, best, strict=True)
    )

  zeros = jnp.zeros(rows.shape, jnp.int32)
  worst = jnp.full(rows.shape, jnp.inf, distances.dtype)
  gap, p, n = over_positives(
    body, (worst, zeros, zeros), distances, positive_mask, candidates
  )
  found = gap < jnp.inf
  return (p, found), (n, found)
