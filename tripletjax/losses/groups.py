"""Losses of an anchor's positives, as a group, against its negatives."""

from __future__ import annotations

from typing import Any, Unpack

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from tripletjax.losses.batch import BatchArguments
from tripletjax.losses.penalty import penalty
from tripletjax.losses.rows import Block
from tripletjax.losses.terms import (
  anchor_totals,
  has_any,
  log_sum_exp,
  loss_of_terms,
  scalars,
)
from tripletjax.masks import PairMasks
from tripletjax.reductions import ReductionFn, RowTotals
from tripletjax.types import DistanceFn


def lifted_structure_loss(
  embeddings: ArrayLike,
  labels: ArrayLike,
  *,
  margin: ArrayLike = 1.0,
  distance: str | DistanceFn = "euclidean",
  reduction: str | ReductionFn = "mean",
  **batch: Unpack[BatchArguments],
) -> tuple[jax.Array, dict[str, jax.Array]]:
  """Generalised lifted structure loss of each anchor.

  Hermans et al., 2017:
  `max(log Σ_p exp(d_ap) + log Σ_n exp(margin - d_an), 0)`. It is not the loss
  of Oh Song et al., 2016, whose term of a positive pair holds the negatives of
  both its ends and is squared: that couples the rows of two anchors.

  The terms are the anchors with a positive and a negative.

  Args:
    embeddings: embeddings of the anchors, `[A, D]`.
    labels: their identities, integer `[A]`.
    margin: in the unit of the distance; a scalar, may be a tracer.
    distance: as for `contrastive_loss`.
    reduction: a name from `REDUCTIONS`, a function of `Totals`, or "none".
    **batch: references, ids, padding, devices: see `BatchArguments`.

  Returns:
    The loss, a scalar (`[A]` with "none"), and the statistics of
    `mined_triplet_loss`; the selected are anchors, `loss_at_margin` is False.

  Raises:
    TypeError: a dtype doesn't fit, or a keyword is unknown.
    ValueError: a shape doesn't fit, or a name is unknown.

  >>> points, labels = jnp.array([[0.0], [1.0], [1.5]]), jnp.array([0, 0, 1])
  >>> loss, _ = lifted_structure_loss(points, labels)
  >>> loss.item()  # the mean of 1 + 1 - 1.5 and 1 + 1 - .5
  1.0
  """
  scalars(margin=margin)

  def terms(block: Block, parameters: Any) -> RowTotals:
    margin = parameters[0]
    both = has_any(block.masks.positive) & has_any(block.masks.negative)
    shortfall = (
      log_sum_exp(block.distances, block.masks.positive)
      + log_sum_exp(-block.distances, block.masks.negative)
      + margin
    )
    return anchor_totals(penalty(shortfall, soft=False), both)

  return loss_of_terms(
    terms,
    embeddings,
    labels,
    margin=margin,
    distance=distance,
    reduction=reduction,
    **batch,
  )


def multi_similarity_loss(
  embeddings: ArrayLike,
  labels: ArrayLike,
  *,
  alpha: ArrayLike = 2.0,
  beta: ArrayLike = 50.0,
  base: ArrayLike = 0.5,
  epsilon: ArrayLike | None = None,
  distance: str | DistanceFn = "cosine",
  reduction: str | ReductionFn = "per_anchor",
  **batch: Unpack[BatchArguments],
) -> tuple[jax.Array, dict[str, jax.Array]]:
  """Multi-similarity loss of each anchor.

  Wang et al., 2019:
  `log(1 + Σ_p exp(-alpha (s_ap - base))) / alpha
  + log(1 + Σ_n exp(beta (s_an - base))) / beta`, s the cosine; `base` as in the
  authors' code.

  With `epsilon` (the paper: .1) only informative pairs count: a negative with
  `s_an > min_p s_ap - epsilon`, a positive with `s_ap < max_n s_an + epsilon`.
  Which they are is a constant to the gradient.

  The terms are the anchors with a pair that counts, and by default their sum is
  divided by the number of all anchors, as in the paper.

  Args:
    embeddings: embeddings of the anchors, `[A, D]`.
    labels: their identities, integer `[A]`.
    alpha: how much the least similar positives dominate, above 0; a scalar.
    beta: how much the most similar negatives dominate, above 0; a scalar.
    base: the similarity between positives and negatives; a scalar.
    epsilon: the slack of an informative pair, a scalar; all pairs when None.
    distance: as for `contrastive_loss`; the similarity is `1 - distance`.
    reduction: a name from `REDUCTIONS`, a function of `Totals`, or "none".
    **batch: references, ids, padding, devices: see `BatchArguments`.

  Returns:
    The loss, a scalar (`[A]` with "none"), and the statistics of
    `mined_triplet_loss` for a margin of 0; the selected are anchors,
    `loss_at_margin` is False.

  Raises:
    TypeError: a dtype doesn't fit, or a keyword is unknown.
    ValueError: a shape doesn't fit, or a name is unknown.

  >>> points, labels = jnp.array([[2.0], [1.0], [3.0]]), jnp.array([0, 0, 0])
  >>> loss, _ = multi_similarity_loss(points, labels, alpha=1.0, base=1.0)
  >>> bool(jnp.allclose(loss, jnp.log(3)))  # 1 and two positives at the base
  True
  """
  scalars(alpha=alpha, beta=beta, base=base, epsilon=epsilon)

  def terms(block: Block, parameters: Any) -> RowTotals:
    alpha, beta, base, epsilon = parameters[1]
    similarities = 1 - block.distances
    positive, negative = block.masks
    if epsilon is not None:
      positive, negative = _informative(similarities, block.masks, epsilon)
    beyond = similarities - base
    values = _softplus_sum(-alpha * beyond, positive) / alpha
    values += _softplus_sum(beta * beyond, negative) / beta
    return anchor_totals(values, has_any(positive | negative))

  return loss_of_terms(
    terms,
    embeddings,
    labels,
    parameters=(alpha, beta, base, epsilon),
    distance=distance,
    reduction=reduction,
    **batch,
  )


def _informative(
  similarities: Float[Array, "a r"], masks: PairMasks, epsilon: jax.Array
) -> PairMasks:
  similarities = lax.stop_gradient(similarities)
  least = jnp.min(
    jnp.where(masks.positive, similarities, jnp.inf), axis=1, keepdims=True
  )
  most = jnp.max(
    jnp.where(masks.negative, similarities, -jnp.inf), axis=1, keepdims=True
  )
  return PairMasks(
    masks.positive & (similarities < most + epsilon),
    masks.negative & (similarities > least - epsilon),
  )


def _softplus_sum(
  values: Float[Array, "a r"], where: jax.Array
) -> Float[Array, " a"]:
  """`log(1 + Σ exp(values))` of each row; 0 for a row without any."""
  total = jax.nn.softplus(log_sum_exp(values, where))
  return jnp.where(has_any(where), total, 0)


def circle_loss(
  embeddings: ArrayLike,
  labels: ArrayLike,
  *,
  margin: ArrayLike = 0.25,
  gamma: ArrayLike = 256.0,
  distance: str | DistanceFn = "cosine",
  reduction: str | ReductionFn = "mean",
  **batch: Unpack[BatchArguments],
) -> tuple[jax.Array, dict[str, jax.Array]]:
  """Circle loss of each anchor.

  Sun et al., 2020, with s the cosine and m the margin:
  `softplus(log Σ_n exp(gamma α_n (s_an - m))
  + log Σ_p exp(-gamma α_p (s_ap - (1 - m))))`, with weights
  `α_n = max(s_an + m, 0)` and `α_p = max(1 + m - s_ap, 0)` that are constants
  to the gradient: it is not that of the value.

  The defaults are the paper's for face recognition; for person
  re-identification it takes gamma 128, for fine-grained retrieval m = .4 and
  gamma 80. The terms are the anchors with a positive and a negative.

  Args:
    embeddings: embeddings of the anchors, `[A, D]`.
    labels: their identities, integer `[A]`.
    margin: m, how far from 0 a negative and from 1 a positive may be; a scalar,
      may be a tracer. The statistics take it as their unit.
    gamma: the scale of the similarities, above 0; a scalar, may be a tracer.
    distance: as for `contrastive_loss`; the similarity is `1 - distance`.
    reduction: a name from `REDUCTIONS`, a function of `Totals`, or "none".
    **batch: references, ids, padding, devices: see `BatchArguments`.

  Returns:
    As `lifted_structure_loss`.

  Raises:
    TypeError: a dtype doesn't fit, or a keyword is unknown.
    ValueError: a shape doesn't fit, or a name is unknown.

  >>> points, labels = jnp.array([[2.0], [1.0], [3.0]]), jnp.array([0, 0, 1])
  >>> loss, _ = circle_loss(points, labels, margin=0.0, gamma=1.0)
  >>> bool(jnp.allclose(loss, jnp.log(1 + jnp.e)))  # 1 (1 - 0) - 0 (1 - 1) = 1
  True
  """
  scalars(margin=margin, gamma=gamma)

  def terms(block: Block, parameters: Any) -> RowTotals:
    margin, gamma = parameters
    positive, negative = block.masks
    similarities = 1 - block.distances
    now = lax.stop_gradient(similarities)
    m = lax.stop_gradient(margin)
    weights = jnp.where(positive, 1 + m - now, now + m)
    weights = gamma * jnp.maximum(weights, 0)
    total = log_sum_exp(weights * (similarities - margin), negative)
    total += log_sum_exp(weights * (1 - margin - similarities), positive)
    both = has_any(positive) & has_any(negative)
    return anchor_totals(jax.nn.softplus(jnp.where(both, total, 0)), both)

  return loss_of_terms(
    terms,
    embeddings,
    labels,
    margin=margin,
    parameters=gamma,
    distance=distance,
    reduction=reduction,
    **batch,
  )
