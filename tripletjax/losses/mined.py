"""The triplet loss of the triplets that a miner selects."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from tripletjax.distances import resolve_distance
from tripletjax.losses.batch import PRECOMPUTED, batch_loss
from tripletjax.losses.costs import has_lost
from tripletjax.losses.penalty import penalty
from tripletjax.losses.rows import Block
from tripletjax.losses.selections import selection_totals
from tripletjax.miners import MINERS
from tripletjax.miners.calling import call_miner
from tripletjax.parts import in_parts
from tripletjax.reductions import ReductionFn, RowTotals
from tripletjax.registry import resolve
from tripletjax.types import (
  DistanceFn,
  Embeddings,
  MinerFn,
  Selection,
  Triplets,
)

# Triplets are few when there are this many pairs for each of them: gathering
# their embeddings then costs less than differentiating all distances.
FEW = 16


def mined_triplet_loss(
  embeddings: ArrayLike,
  labels: ArrayLike,
  *,
  miner: str | MinerFn = "semi_hard",
  margin: ArrayLike = 0.2,
  distance: str | DistanceFn = "squared_euclidean",
  soft: bool = False,
  reduction: str | ReductionFn = "mean_active",
  references: ArrayLike | None = None,
  reference_labels: ArrayLike | None = None,
  ids: ArrayLike | None = None,
  reference_ids: ArrayLike | None = None,
  where: ArrayLike | None = None,
  reference_where: ArrayLike | None = None,
  key: jax.Array | None = None,
  axis_name: str | None = None,
  each_pair_once: bool = False,
  precision: lax.PrecisionLike = None,
) -> tuple[jax.Array, dict[str, jax.Array]]:
  """Triplet loss of the triplets that a miner selects.

  Args:
    embeddings: embeddings of the anchors, `[A, D]`.
    labels: their identities, integer `[A]`.
    miner: a name from `MINERS`, or a function.
    margin: by how much a negative is to be farther than the positive, in the
      unit of the distance; a scalar, may be a tracer.
    distance: a name from `DISTANCES`, a function, or "precomputed": then
      `embeddings` holds distances, `[A, R]`.
    soft: `softplus` in place of `max(., 0)`; every triplet is then active.
    reduction: a name from `REDUCTIONS`, a function of `Totals`, or "none".
    references: embeddings from which positives and negatives are taken,
      `[R, D]`; the anchors themselves when None.
    reference_labels: identities of the references, integer `[R]`.
    ids: example ids of the anchors, integer `[A]`; positions when None.
    reference_ids: example ids of the references, integer `[R]`.
    where: False for anchors that are padding, `[A]`.
    reference_where: False for references that are padding, `[R]`.
    key: a PRNG key, for miners that draw.
    axis_name: an axis of devices. Each device then has its share of the
      anchors, and each returns the loss of the whole batch. Without
      `references` they are gathered over the axis.

    each_pair_once: takes a pair of anchor and positive from the smaller id to
      the larger only.
    precision: of the matrix product of a named distance; `HIGHEST` when None.

  Returns:
    The loss, a scalar (the loss of each anchor, `[A]`, with the reduction
    "none"), and statistics without a gradient; scalars but for the histogram.

    * of triplets: `valid_triplets`, `selected_triplets`, `active_triplets`
      (loss above 0), `active_share` of the selected; of the valid ones
      `easy_share` (gap `an - ap` above the margin), `semi_hard_share` (in
      `(0, margin]`), `hard_share` (`<= 0`), and `gap_histogram` `[18]`, counts
      below, between and above `gap_edges` `[17]`; `idle_anchors`, the share of
      anchors without a selected triplet
    * of valid pairs: mean `positive_distance`, `negative_distance`,
      `mean_distance` of both
    * of the embeddings: mean `embedding_norm`, `effective_rank` (Roy and
      Vetterli, 2007; 1 to D); neither for precomputed distances
    * of a collapse: `loss_at_margin`, the mean loss of the selected is within
      1 % of what a gap of 0 costs; `collapsed`, all distances of valid pairs
      lie within 1 % of the margin of each other

  Raises:
    TypeError: embeddings are not floating, or labels or ids not integer.
    ValueError: a length doesn't fit, a name is unknown, or a key is missing.

  >>> loss, stats = mined_triplet_loss(
  ...   jnp.array([[0.0], [1.0], [1.5]]), jnp.array([0, 0, 1]), margin=2.0
  ... )  # d(0, 1) = 1, the negative of 0 is at 2.25; that of 1 at .25 is nearer
  >>> loss.item(), int(stats["valid_triplets"]), int(stats["active_triplets"])
  (0.75, 2, 1)
  """
  miner_fn = resolve(miner, MINERS, "miner")
  precomputed = isinstance(distance, str) and distance == PRECOMPUTED
  between = None
  if not precomputed:
    named = resolve_distance(distance, precision=precision)
    between = in_parts(named).between

  def terms(block: Block, parameters: Any) -> RowTotals:
    margin = parameters[0]
    selection = select(miner_fn, block, margin)
    if (
      isinstance(selection, Triplets)
      and between is not None
      and _are_few(selection, block)
    ):
      return _explicit_totals(selection, block, between, margin, soft)
    return selection_totals(
      block.distances,
      block.masks,
      selection,
      margin=margin,
      soft=soft,
      candidates=block.candidates,
    )

  return batch_loss(
    terms,
    embeddings,
    labels,
    distance=distance,
    margin=margin,
    at_margin=lambda margin: penalty(margin, soft=soft),
    reduction=reduction,
    references=references,
    reference_labels=reference_labels,
    ids=ids,
    reference_ids=reference_ids,
    where=where,
    reference_where=reference_where,
    key=key,
    axis_name=axis_name,
    each_pair_once=each_pair_once,
    precision=precision,
  )


def select(miner_fn: MinerFn, block: Block, margin: jax.Array) -> Selection:
  """What a miner selects from a block; a constant to the gradient."""
  embeddings = None
  if block.references.shape[1]:
    embeddings = Embeddings(block.anchors, block.references)
  return call_miner(
    miner_fn,
    lax.stop_gradient(block.distances),
    block.masks.positive,
    block.masks.negative,
    margin=lax.stop_gradient(margin),
    key=block.keys,
    embeddings=embeddings,
    candidates=block.candidates,
  )


def _are_few(triplets: Triplets, block: Block) -> bool:
  """Whether to gather them: it pays, and takes no more memory than is there.

  One triplet an anchor is as large as the embeddings; more should be no larger
  than the matrix of pairs.
  """
  count, pairs = triplets.where.size, block.distances.size
  rows, dimension = block.anchors.shape
  return count * FEW <= pairs and (count <= rows or count * dimension <= pairs)


def _explicit_totals(
  triplets: Triplets,
  block: Block,
  between: Callable[..., jax.Array],
  margin: Float[Array, ""],
  soft: bool,
) -> RowTotals:
  """Totals of a few triplets, from their embeddings.

  The gradient goes through the triplets' own distances, and no product of
  matrices is needed backwards: batch-hard costs less than the pairwise
  distances with their gradient.
  """
  anchor, positive, negative, where = jnp.broadcast_arrays(*triplets)
  shape = where.shape
  rows, columns = block.prepared

  def taken(side: Any, index: jax.Array) -> Any:
    index = index.reshape(-1, 1)  # each as a batch of one
    return jax.tree.map(lambda x: x[index], side)

  def rowwise(x: Any, y: Any) -> jax.Array:
    return jax.vmap(between)(x, y)[:, 0, 0]

  anchors = taken(rows, anchor)
  positives, negatives = taken(columns, positive), taken(columns, negative)
  # What is no positive is the anchor itself, at distance 0: the root of a
  # rounding error would be far from it.
  other = block.masks.positive[anchor, positive].reshape(-1)
  distance_ap = jnp.where(other, rowwise(anchors, positives), 0)
  gap = rowwise(anchors, negatives) - distance_ap
  values = penalty(margin - gap.reshape(shape), soft=soft)
  values = jnp.where(where, values, 0)

  def per_row(entries: jax.Array) -> jax.Array:
    entries = entries.astype(gap.dtype)
    zeros = jnp.zeros(block.anchors.shape[:1], gap.dtype)
    return zeros.at[anchor].add(entries)

  lost = has_lost(lax.stop_gradient(block.distances), block.masks)
  # A NaN anchor is in no triplet; its value and gradient are to be NaN.
  values_of, *_ = jax.tree.leaves(rows)
  factor = jnp.where(lost, jnp.nan, 0).astype(values_of.dtype)
  nan = jnp.sum(values_of * factor[:, None], axis=1)
  return RowTotals(
    per_row(values) + nan.astype(gap.dtype),
    per_row(where),
    per_row(values > 0),
  )
