"""The triplet loss of the triplets that a miner selects."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Int

from tripletjax.distances import check_embeddings, resolve_distance
from tripletjax.losses.bands import band_totals
from tripletjax.losses.penalty import penalty
from tripletjax.masks import PairMasks, check_vector, pair_masks
from tripletjax.miners import MINERS
from tripletjax.reductions import (
  ReductionFn,
  Totals,
  reduce_totals,
  safe_divide,
  total,
)
from tripletjax.registry import resolve
from tripletjax.types import DistanceFn, GapBand, MinerFn, Selection


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
) -> tuple[jax.Array, dict[str, jax.Array]]:
  """Triplet loss of the triplets that a miner selects.

  Args:
    embeddings: embeddings of the anchors, `[A, D]`.
    labels: their identities, integer `[A]`.
    miner: a name from `MINERS`, or a function.
    margin: by how much a negative is to be farther than the positive, in the
      unit of the distance; a scalar, may be a tracer.
    distance: a name from `DISTANCES`, or a function.
    soft: `softplus` in place of `max(., 0)`; every triplet is then active.
    reduction: a name from `REDUCTIONS`, or a function of `Totals`.
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

  Returns:
    The loss, a scalar, and statistics, scalars without a gradient:
    `valid_triplets`, `selected_triplets`, `active_triplets` (loss above 0),
    `active_share` of the selected, mean `positive_distance` and
    `negative_distance` over valid pairs, and `collapsed`: all distances of
    valid pairs lie within 1 % of the margin of each other, so that the loss is
    stuck at the margin.

  Raises:
    TypeError: embeddings are not floating, or labels or ids not integer.
    ValueError: a length doesn't fit, a name is unknown, or a key is missing.

  >>> loss, stats = mined_triplet_loss(
  ...   jnp.array([[0.0], [1.0], [1.5]]), jnp.array([0, 0, 1]), margin=2.0
  ... )  # d(0, 1) = 1, the negative of 0 is at 2.25; that of 1 at .25 is nearer
  >>> loss.item(), int(stats["valid_triplets"]), int(stats["active_triplets"])
  (0.75, 2, 1)
  """
  sides = _sides(
    embeddings,
    labels,
    references,
    reference_labels,
    ids=ids,
    reference_ids=reference_ids,
    where=where,
    reference_where=reference_where,
    axis_name=axis_name,
  )
  distances = resolve_distance(distance)(sides.anchors, sides.references)
  constants = lax.stop_gradient(distances)
  margin = jnp.asarray(margin, distances.dtype)
  selection = resolve(miner, MINERS, "miner")(
    constants,
    sides.masks.positive,
    sides.masks.negative,
    margin=margin,
    # One key a row, by the example's id: whoever holds the row draws the same.
    key=None
    if key is None
    else jax.vmap(jax.random.fold_in, (None, 0))(key, sides.ids),
  )
  totals = selection_totals(
    distances, sides.masks, selection, margin=margin, soft=soft
  )
  if axis_name is not None:
    totals = lax.psum(totals, axis_name)
  statistics = _statistics(
    totals, _pair_sums(constants, sides.masks, axis_name), margin
  )
  return reduce_totals(totals, reduction), lax.stop_gradient(statistics)


def selection_totals(
  distances: Float[Array, "a r"],
  masks: PairMasks,
  selection: Selection,
  *,
  margin: ArrayLike,
  soft: bool = False,
) -> Totals:
  """Totals over a selection, exact in value, gradient and counts.

  Args:
    distances: `[A, R]`; the gradient flows through them.
    masks: which pairs are positive and negative, `[A, R]` each.
    selection: what a miner returned for these distances and masks.
    margin: a scalar, in the unit of the distances; may be a tracer.
    soft: `softplus` in place of `max(., 0)`.

  Returns:
    Totals; their loss is NaN if a valid distance is NaN, selected or not.
  """
  dtype = distances.dtype
  margin = jnp.asarray(margin, dtype)
  if isinstance(selection, GapBand):
    low, high = (jnp.asarray(end, dtype) for end in selection)
    totals = band_totals(distances, *masks, low, high, margin, soft)
  else:
    gap = (
      distances[selection.anchor, selection.negative]
      - distances[selection.anchor, selection.positive]
    )
    values = penalty(margin - gap, soft=soft)
    totals = total(values, selection.where)
  # Comparisons with NaN are False, so that a miner drops such triplets: without
  # this a network that has diverged would report a loss of 0.
  not_a_number = jnp.isnan(distances) & (masks.positive | masks.negative)
  poison = jnp.sum(jnp.where(not_a_number, distances, 0))
  return totals._replace(loss=totals.loss + poison)


class _Sides(NamedTuple):
  """Anchors (rows) and references (columns), completed and checked."""

  anchors: Float[Array, "a d"]
  references: Float[Array, "r d"]
  ids: Int[Array, " a"]
  masks: PairMasks


def _sides(
  embeddings: ArrayLike,
  labels: ArrayLike,
  references: ArrayLike | None,
  reference_labels: ArrayLike | None,
  *,
  ids: ArrayLike | None,
  reference_ids: ArrayLike | None,
  where: ArrayLike | None,
  reference_where: ArrayLike | None,
  axis_name: str | None,
) -> _Sides:
  anchors = check_embeddings(embeddings, "embeddings")
  labels = check_vector(labels, "labels", integer=True, length=len(anchors))
  if where is not None:
    where = check_vector(where, "where", integer=False, length=len(anchors))
  if (references is None) != (reference_labels is None):
    raise ValueError(
      "expected references and reference_labels, got only one of them"
    )
  row_ids = _ids_or_positions(ids, len(anchors), axis_name)
  if references is None:
    own = (anchors, labels, row_ids, where)
    if axis_name is not None:
      own = lax.all_gather(own, axis_name, tiled=True)
    columns, reference_labels, reference_ids, reference_where = own
    ids = row_ids
  else:
    columns = check_embeddings(references, "references")
  masks = pair_masks(
    labels,
    reference_labels,
    ids=ids,
    reference_ids=reference_ids,
    where=where,
    reference_where=reference_where,
  )
  if columns.shape != (masks.positive.shape[1], anchors.shape[1]):
    raise ValueError(
      "expected references of shape "
      f"{(masks.positive.shape[1], anchors.shape[1])}, got {columns.shape}"
    )
  return _Sides(
    _zero_padding(anchors, where),
    _zero_padding(columns, reference_where),
    row_ids,
    masks,
  )


def _ids_or_positions(
  ids: ArrayLike | None, count: int, axis_name: str | None
) -> jax.Array:
  """The ids, or positions in the batch over all devices."""
  if ids is not None:
    return check_vector(ids, "ids", integer=True, length=count)
  first = 0 if axis_name is None else lax.axis_index(axis_name) * count
  return first + jnp.arange(count)


def _zero_padding(embeddings: jax.Array, where: ArrayLike | None) -> jax.Array:
  # Padding may hold anything: the backward matrix product would multiply a NaN
  # there with the zero gradient of its distances.
  if where is None:
    return embeddings
  return jnp.where(jnp.asarray(where)[:, None], embeddings, 0)


class _PairSums(NamedTuple):
  """What the statistics need of the valid pairs, of all devices."""

  triplets: Float[Array, ""]
  positives: Float[Array, ""]
  negatives: Float[Array, ""]
  distance_ap: Float[Array, ""]
  distance_an: Float[Array, ""]
  nearest: Float[Array, ""]
  farthest: Float[Array, ""]


def _pair_sums(
  distances: Float[Array, "a r"], masks: PairMasks, axis_name: str | None
) -> _PairSums:
  positives = jnp.sum(masks.positive, axis=1, dtype=distances.dtype)
  negatives = jnp.sum(masks.negative, axis=1, dtype=distances.dtype)
  valid = masks.positive | masks.negative
  sums = (
    jnp.sum(positives * negatives),
    jnp.sum(positives),
    jnp.sum(negatives),
    jnp.sum(jnp.where(masks.positive, distances, 0)),
    jnp.sum(jnp.where(masks.negative, distances, 0)),
  )
  nearest = jnp.min(distances, where=valid, initial=jnp.inf)
  farthest = jnp.max(distances, where=valid, initial=-jnp.inf)
  if axis_name is not None:
    sums = lax.psum(sums, axis_name)
    nearest = lax.pmin(nearest, axis_name)
    farthest = lax.pmax(farthest, axis_name)
  return _PairSums(*sums, nearest, farthest)


def _statistics(
  totals: Totals, pairs: _PairSums, margin: jax.Array
) -> dict[str, jax.Array]:
  return {
    "valid_triplets": pairs.triplets,
    "selected_triplets": totals.selected,
    "active_triplets": totals.active,
    "active_share": safe_divide(totals.active, totals.selected),
    "positive_distance": safe_divide(pairs.distance_ap, pairs.positives),
    "negative_distance": safe_divide(pairs.distance_an, pairs.negatives),
    "collapsed": (pairs.triplets > 0)
    & (pairs.farthest - pairs.nearest <= 0.01 * margin),
  }
