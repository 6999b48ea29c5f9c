"""Losses of positives against all others, by a softmax over similarities.

A similarity is a negative distance: what is constant cancels.
"""

from __future__ import annotations

from typing import Any, Unpack

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from tripletjax.folds import row_count
from tripletjax.losses.batch import BatchArguments
from tripletjax.losses.rows import Block
from tripletjax.losses.terms import (
  anchor_totals,
  has_any,
  log_sum_exp,
  loss_of_terms,
  pair_totals,
  scalars,
)
from tripletjax.reductions import ReductionFn, RowTotals, safe_divide
from tripletjax.types import DistanceFn


def n_pair_loss(
  embeddings: ArrayLike,
  labels: ArrayLike,
  *,
  distance: str | DistanceFn = "dot",
  reduction: str | ReductionFn = "mean",
  **batch: Unpack[BatchArguments],
) -> tuple[jax.Array, dict[str, jax.Array]]:
  """N-pair loss of each positive pair against the anchor's negatives.

  Sohn, 2016: `log(1 + Σ_n exp(s_an - s_ap))`, s the dot product. The paper
  composes batches of one pair for each identity, and takes as negatives the
  other pairs' second images; here they are all images of other identities. Its
  regularisation of the embeddings' length is left to the caller.

  The terms are the positive pairs of anchors with a negative.

  Args:
    embeddings: embeddings of the anchors, `[A, D]`.
    labels: their identities, integer `[A]`.
    distance: as for `contrastive_loss`; the similarity is its negative.
    reduction: a name from `REDUCTIONS`, a function of `Totals`, or "none".
    **batch: references, ids, padding, devices: see `BatchArguments`.

  Returns:
    The loss, a scalar (`[A]` with "none"), and the statistics of
    `mined_triplet_loss` for a margin of 0; the selected are pairs,
    `loss_at_margin` is False.

  Raises:
    TypeError: a dtype doesn't fit, or a keyword is unknown.
    ValueError: a shape doesn't fit, or a name is unknown.

  >>> points, labels = jnp.array([[1.0], [1.0], [1.0]]), jnp.array([0, 0, 1])
  >>> loss, _ = n_pair_loss(points, labels)
  >>> bool(jnp.allclose(loss, jnp.log(2)))  # all are equally similar
  True
  """
  return _softmax_loss(
    embeddings,
    labels,
    temperature=1.0,
    distance=distance,
    reduction=reduction,
    **batch,
  )


def nt_xent_loss(
  embeddings: ArrayLike,
  labels: ArrayLike,
  *,
  temperature: ArrayLike = 0.1,
  distance: str | DistanceFn = "cosine",
  reduction: str | ReductionFn = "mean",
  **batch: Unpack[BatchArguments],
) -> tuple[jax.Array, dict[str, jax.Array]]:
  """Normalised temperature-scaled cross entropy of each positive pair.

  Chen et al., 2020 (SimCLR), whose identities have two images each, for any
  number: `-log(exp(s_ap / t) / (exp(s_ap / t) + Σ_n exp(s_an / t)))`, s the
  cosine. A pair competes with the anchor's negatives, not with its other
  positives; in `sup_con_loss` it does with both.

  The terms are the positive pairs of anchors with a negative.

  Args:
    embeddings: embeddings of the anchors, `[A, D]`.
    labels: their identities, integer `[A]`.
    temperature: t, above 0; a scalar, may be a tracer.
    distance: as for `contrastive_loss`; the similarity is its negative.
    reduction: a name from `REDUCTIONS`, a function of `Totals`, or "none".
    **batch: references, ids, padding, devices: see `BatchArguments`.

  Returns:
    As `n_pair_loss`.

  Raises:
    TypeError: a dtype doesn't fit, or a keyword is unknown.
    ValueError: a shape doesn't fit, or a name is unknown.

  >>> points, labels = jnp.array([[2.0], [1.0], [3.0]]), jnp.array([0, 0, 1])
  >>> loss, _ = nt_xent_loss(points, labels)
  >>> bool(jnp.allclose(loss, jnp.log(2)))  # all have the same direction
  True
  """
  scalars(temperature=temperature)
  return _softmax_loss(
    embeddings,
    labels,
    temperature=temperature,
    distance=distance,
    reduction=reduction,
    **batch,
  )


def _softmax_loss(
  embeddings: ArrayLike,
  labels: ArrayLike,
  *,
  temperature: ArrayLike,
  distance: str | DistanceFn,
  reduction: str | ReductionFn,
  **batch: Unpack[BatchArguments],
) -> tuple[jax.Array, dict[str, jax.Array]]:
  def terms(block: Block, parameters: Any) -> RowTotals:
    similarities = -block.distances / parameters[1]
    positive, negative = block.masks
    where = positive & has_any(negative)[:, None]
    against = log_sum_exp(similarities, negative)[:, None] - similarities
    # Double where: the gap of a pair that is no term may be of any size.
    return pair_totals(jax.nn.softplus(jnp.where(where, against, 0)), where)

  return loss_of_terms(
    terms,
    embeddings,
    labels,
    parameters=temperature,
    distance=distance,
    reduction=reduction,
    **batch,
  )


def sup_con_loss(
  embeddings: ArrayLike,
  labels: ArrayLike,
  *,
  temperature: ArrayLike = 0.1,
  distance: str | DistanceFn = "cosine",
  reduction: str | ReductionFn = "mean",
  **batch: Unpack[BatchArguments],
) -> tuple[jax.Array, dict[str, jax.Array]]:
  """Supervised contrastive loss of each anchor.

  Khosla et al., 2020, the form `L_out`: the mean over the anchor's positives of
  `-log(exp(s_ap / t) / Σ_x exp(s_ax / t))`, x all its positives and negatives,
  s the cosine. The authors' code multiplies this by a further constant,
  `t / .07`.

  The terms are the anchors with a positive. A negative is not needed: with P
  positives of equal similarity alone an anchor costs `log P`.

  Args:
    embeddings: embeddings of the anchors, `[A, D]`.
    labels: their identities, integer `[A]`.
    temperature: t, above 0; a scalar, may be a tracer.
    distance: as for `contrastive_loss`; the similarity is its negative.
    reduction: a name from `REDUCTIONS`, a function of `Totals`, or "none".
    **batch: references, ids, padding, devices: see `BatchArguments`.

  Returns:
    As `n_pair_loss`; the selected are anchors.

  Raises:
    TypeError: a dtype doesn't fit, or a keyword is unknown.
    ValueError: a shape doesn't fit, or a name is unknown.

  >>> points, labels = jnp.array([[2.0], [1.0], [3.0]]), jnp.array([0, 0, 1])
  >>> loss, _ = sup_con_loss(points, labels)
  >>> bool(jnp.allclose(loss, jnp.log(2)))  # all have the same direction
  True
  """
  scalars(temperature=temperature)

  def terms(block: Block, parameters: Any) -> RowTotals:
    similarities = -block.distances / parameters[1]
    positive, negative = block.masks
    mean = safe_divide(
      jnp.sum(jnp.where(positive, similarities, 0), axis=1),
      row_count(positive).astype(similarities.dtype),
    )
    others = log_sum_exp(similarities, positive | negative)
    return anchor_totals(others - mean, has_any(positive))

  return loss_of_terms(
    terms,
    embeddings,
    labels,
    parameters=temperature,
    distance=distance,
    reduction=reduction,
    **batch,
  )
