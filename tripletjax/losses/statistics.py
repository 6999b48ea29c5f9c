"""What is reported beside a loss: of the triplets, and of the space.

Each statistic is an output of its own: one that isn't used costs nothing once
compiled.
"""

from __future__ import annotations

import operator
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from tripletjax.distances import at_least_float32
from tripletjax.folds import count_where, row_count, row_sum
from tripletjax.gaps import last_within
from tripletjax.losses.rows import Block, Rows
from tripletjax.losses.sides import Side
from tripletjax.miners.slots import over_positives
from tripletjax.reductions import Totals, safe_divide
from tripletjax.types import Slots

# Where the bins of the histogram of gaps meet, in margins.
GAP_EDGES = np.linspace(-2, 2, 17, dtype=np.float32)


class RowStatistics(NamedTuple):
  """Statistics of each anchor over its valid pairs and triplets.

  Attributes:
    positives: number of positive pairs, `[A]`.
    negatives: number of negative pairs, `[A]`.
    distance_ap: their distances, summed, `[A]`.
    distance_an: their distances, summed, `[A]`.
    nearest: the smallest distance of a valid pair, `[A]`.
    hard: number of triplets with gap `<= 0`, `[A]`.
    semi_hard: number of triplets with gap in `(0, margin]`, `[A]`.
    gaps: number of triplets in each bin of gaps, `[A, bins]`.
  """

  positives: Float[Array, " a"]
  negatives: Float[Array, " a"]
  distance_ap: Float[Array, " a"]
  distance_an: Float[Array, " a"]
  nearest: Float[Array, " a"]
  hard: Float[Array, " a"]
  semi_hard: Float[Array, " a"]
  gaps: Float[Array, "a bins"]


def row_statistics(block: Block, margin: Float[Array, ""]) -> RowStatistics:
  """Statistics of a block of anchors."""
  distances, masks = lax.stop_gradient(block.distances), block.masks
  dtype = distances.dtype
  valid = masks.positive | masks.negative
  positives = row_count(masks.positive).astype(dtype)
  negatives = row_count(masks.negative).astype(dtype)
  edges = jnp.stack([jnp.zeros((), dtype), lax.stop_gradient(margin)])
  hard, within = _counts_up_to(block, distances, edges).T
  below = _counts_up_to(block, distances, gap_edges(margin))
  every = (positives * negatives)[:, None]
  ends = jnp.concatenate([below, every], axis=1)
  return RowStatistics(
    positives,
    negatives,
    row_sum(jnp.where(masks.positive, distances, 0)),
    row_sum(jnp.where(masks.negative, distances, 0)),
    jnp.min(jnp.where(valid, distances, jnp.inf), axis=1),
    hard,
    within - hard,
    jnp.diff(ends, axis=1, prepend=jnp.zeros_like(every)),
  )


def gap_edges(margin: Float[Array, ""]) -> Float[Array, " edges"]:
  """Where the bins meet, in the unit of the distance.

  From -2 to 2 margins; a margin of 0 counts as 1.
  """
  margin = lax.stop_gradient(margin)
  scale = jnp.where(margin > 0, margin, 1)
  return jnp.asarray(GAP_EDGES, margin.dtype) * scale


def _counts_up_to(
  block: Block, distances: jax.Array, edges: Float[Array, " e"]
) -> Float[Array, "a e"]:
  """Number of triplets of each row whose gap is at most each edge."""
  negatives = jnp.where(block.masks.negative, distances, jnp.nan)

  def body(slots: Slots, counts: jax.Array) -> jax.Array:
    def one(edge: jax.Array) -> jax.Array:
      beside = count_where(
        negatives, last_within(slots.distance_ap, edge), operator.le
      )
      return jnp.sum(beside, axis=1, dtype=jnp.int32)

    return counts + lax.map(one, edges).T.astype(distances.dtype)

  return over_positives(
    body,
    jnp.zeros((distances.shape[0], edges.shape[0]), distances.dtype),
    distances,
    block.masks.positive,
    block.candidates,
  )


def statistics(
  rows: Rows,
  extras: RowStatistics,
  totals: Totals,
  margin: Float[Array, ""],
  at_margin: Float[Array, ""],
  anchors: Side,
  axis_name: str | None,
) -> dict[str, jax.Array]:
  """The dictionary that a loss returns, over the devices of `axis_name`.

  Args:
    rows: the loss, evaluated.
    extras: statistics of its rows.
    totals: of the whole batch.
    margin: a scalar.
    at_margin: what a triplet costs whose gap is 0.
    anchors: the rows; of a precomputed matrix without embeddings.
    axis_name: the axis of devices, or None.
  """

  def add(values: jax.Array) -> jax.Array:
    summed = jnp.sum(values, axis=0)
    return summed if axis_name is None else lax.psum(summed, axis_name)

  nearest = jnp.min(extras.nearest, initial=jnp.inf)
  if axis_name is not None:
    nearest = lax.pmin(nearest, axis_name)
  valid = add(extras.positives * extras.negatives)
  hard, semi_hard = add(extras.hard), add(extras.semi_hard)
  positives, negatives = add(extras.positives), add(extras.negatives)
  ap, an = add(extras.distance_ap), add(extras.distance_an)
  dtype = valid.dtype
  idle = add((anchors.where & (rows.selected == 0)).astype(dtype))
  mean = safe_divide(totals.loss, totals.selected)
  mean_distance = safe_divide(ap + an, positives + negatives)
  found = {
    "valid_triplets": valid,
    "selected_triplets": totals.selected,
    "active_triplets": totals.active,
    "active_share": safe_divide(totals.active, totals.selected),
    "easy_share": safe_divide(valid - hard - semi_hard, valid),
    "semi_hard_share": safe_divide(semi_hard, valid),
    "hard_share": safe_divide(hard, valid),
    "idle_anchors": safe_divide(idle, totals.anchors),
    "positive_distance": safe_divide(ap, positives),
    "negative_distance": safe_divide(an, negatives),
    "mean_distance": mean_distance,
    "gap_histogram": add(extras.gaps),
    "gap_edges": gap_edges(margin),
    "loss_at_margin": (totals.selected > 0)
    & (jnp.abs(mean - at_margin) <= 0.01 * at_margin),
    # On the way there, most distances are small long before all are equal.
    "collapsed": (valid > 0) & (mean_distance - nearest <= 0.05 * margin),
  }
  if anchors.embeddings.shape[1]:
    found |= _of_the_space(anchors, totals.anchors, axis_name)
  return lax.stop_gradient(found)


def _of_the_space(
  anchors: Side, count: jax.Array, axis_name: str | None
) -> dict[str, jax.Array]:
  x = lax.stop_gradient(anchors.embeddings)
  x = at_least_float32(x)
  norms = jnp.sum(jnp.sqrt(jnp.sum(x * x, axis=1)))
  rows = x.shape[0]
  if axis_name is not None:
    norms, rows = lax.psum((norms, rows), axis_name)
  # Both products have the same eigenvalues but zeros: the smaller one is taken.
  if few := rows < x.shape[1]:
    if axis_name is not None:
      x = lax.all_gather(x, axis_name, tiled=True)
    x = x.T
  moments = jnp.matmul(x.T, x, precision=lax.Precision.HIGHEST)
  if axis_name is not None and not few:
    moments = lax.psum(moments, axis_name)
  return {
    "embedding_norm": safe_divide(norms, count),
    "effective_rank": effective_rank(moments),
  }


def effective_rank(moments: Float[Array, "n n"]) -> Float[Array, ""]:
  """Effective rank of embeddings `x` from their moments `xᵀ x`, or `x xᵀ`.

  The exponential of the entropy of the singular values, scaled to sum 1 (Roy
  and Vetterli, 2007): 1 where all embeddings lie on a line through the origin,
  D where they spread evenly.
  """
  values = jnp.linalg.eigvalsh(moments)
  # Eigenvalues below the rounding error of the largest are 0.
  floor = moments.shape[0] * jnp.finfo(values.dtype).eps * values[-1]
  there = values > floor
  singular = jnp.where(there, jnp.sqrt(jnp.where(there, values, 1)), 0)
  share = safe_divide(singular, jnp.sum(singular))
  entropy = -jnp.sum(share * jnp.log(jnp.where(share > 0, share, 1)))
  return jnp.exp(entropy)
