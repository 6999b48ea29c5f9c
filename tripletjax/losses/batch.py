"""What all losses of a batch share: sides, rows, reduction, statistics."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypedDict

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike

from tripletjax.distances import at_least_float32, resolve_distance
from tripletjax.keys import quick_key
from tripletjax.losses.rows import Block, over_rows
from tripletjax.losses.sides import Sides, make_sides
from tripletjax.losses.statistics import row_statistics, statistics
from tripletjax.reductions import (
  ReductionFn,
  RowTotals,
  Totals,
  reduce_totals,
)
from tripletjax.types import DistanceFn

# `distance` of a matrix that is given in place of the embeddings.
PRECOMPUTED = "precomputed"

TermFn = Callable[[Block, Any], RowTotals]


class BatchArguments(TypedDict, total=False):
  """What every loss of a batch takes beside its own arguments; all optional.

  Attributes:
    references: embeddings from which positives and negatives are taken,
      `[R, D]`; the anchors themselves when None.
    reference_labels: identities of the references, integer `[R]`.
    ids: example ids of the anchors, integer `[A]`; positions when None. An
      example is not its own positive.
    reference_ids: example ids of the references, integer `[R]`; without them no
      reference is taken for an anchor itself.
    where: False for anchors that are padding, `[A]`.
    reference_where: False for references that are padding, `[R]`.
    key: a PRNG key, for losses that draw; the others ignore it.
    axis_name: an axis of devices. Each device then has its share of the
      anchors, and each returns the loss of the whole batch. Without
      `references` they are gathered over the axis.
    precision: of the matrix product of a named distance; `HIGHEST` when None.
  """

  references: ArrayLike | None
  reference_labels: ArrayLike | None
  ids: ArrayLike | None
  reference_ids: ArrayLike | None
  where: ArrayLike | None
  reference_where: ArrayLike | None
  key: jax.Array | None
  axis_name: str | None
  precision: lax.PrecisionLike


def batch_loss(
  term_fn: TermFn,
  embeddings: ArrayLike,
  labels: ArrayLike,
  *,
  distance: str | DistanceFn,
  margin: ArrayLike,
  at_margin: Callable[[jax.Array], jax.Array] = lambda margin: margin,
  parameters: Any = (),
  reduction: str | ReductionFn,
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
  """A loss of a batch from what one block of its anchors costs.

  Args:
    term_fn: maps a `Block` and `(margin, parameters)` to totals of each row.
    embeddings: `[A, D]`, or a matrix `[A, R]` of precomputed distances.
    labels: `[A]`.
    distance: a name from `DISTANCES`, a function, or "precomputed".
    margin: a scalar; the unit of the statistics.
    at_margin: what a triplet costs whose gap is 0, from the margin.
    parameters: a pytree of numbers and floating arrays that the loss is
      differentiable by; `term_fn` gets them in the dtype of the distances.
    reduction: a name from `REDUCTIONS`, a function of `Totals`, or "none".
    references: see `BatchArguments`, as all that follow but one.
    reference_labels: likewise.
    ids: likewise.
    reference_ids: likewise.
    where: likewise.
    reference_where: likewise.
    key: likewise.
    axis_name: likewise.
    each_pair_once: a pair is positive from the smaller id to the larger only.
    precision: likewise.

  Returns:
    The loss, a scalar (`[A]` with "none"), and statistics.
  """
  precomputed = isinstance(distance, str) and distance == PRECOMPUTED
  distance_fn = (
    (lambda rows, _: at_least_float32(rows))
    if precomputed
    else resolve_distance(distance, precision=precision)
  )
  sides = make_sides(
    embeddings,
    labels,
    references,
    reference_labels,
    ids=ids,
    reference_ids=reference_ids,
    where=where,
    reference_where=reference_where,
    axis_name=axis_name,
    precomputed=precomputed,
  )
  dtype = at_least_float32(sides.anchors.embeddings[:0]).dtype
  margin = jnp.asarray(margin, dtype)
  per_row = isinstance(reduction, str) and reduction == "none"

  def row_fn(block: Block, parameters: Any) -> tuple[RowTotals, Any]:
    extras = row_statistics(block, parameters[0])
    return term_fn(block, parameters), lax.stop_gradient(extras)

  rows = over_rows(
    row_fn,
    sides,
    (margin, jax.tree.map(lambda x: jnp.asarray(x, dtype), parameters)),
    distance_fn=distance_fn,
    # One key a row, by the example's id: whoever holds the row draws the same.
    keys=None
    if key is None
    else jax.vmap(jax.random.fold_in, (None, 0))(
      quick_key(key), sides.anchors.ids
    ),
    each_pair_once=each_pair_once,
    per_row=per_row,
  )
  totals = Totals(
    jnp.sum(rows.loss),
    jnp.sum(rows.selected),
    jnp.sum(rows.active),
    jnp.sum(rows.extras.positives),
    jnp.sum(sides.anchors.where, dtype=dtype),
  )
  if axis_name is not None:
    totals = lax.psum(totals, axis_name)
  found = statistics(
    rows,
    rows.extras,
    totals,
    margin,
    at_margin(margin),
    _without_matrix(sides, precomputed),
    axis_name,
  )
  if per_row:
    return rows.loss, found
  return reduce_totals(totals, reduction), found


def _without_matrix(sides: Sides, precomputed: bool) -> Any:
  anchors = sides.anchors
  if not precomputed:
    return anchors
  return anchors._replace(embeddings=anchors.embeddings[:, :0])
