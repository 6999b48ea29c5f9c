"""Losses of single pairs: each costs something by its own distance."""

from __future__ import annotations

from typing import Any, Unpack

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Int

from tripletjax.distances import normalized
from tripletjax.losses.batch import BatchArguments
from tripletjax.losses.penalty import penalty
from tripletjax.losses.rows import Block
from tripletjax.losses.terms import loss_of_terms, pair_totals, scalars
from tripletjax.reductions import ReductionFn, RowTotals
from tripletjax.types import DistanceFn

ON_THE_SPHERE = normalized("euclidean")


def contrastive_loss(
  embeddings: ArrayLike,
  labels: ArrayLike,
  *,
  margin: ArrayLike = 1.0,
  positive_margin: ArrayLike = 0.0,
  distance: str | DistanceFn = "euclidean",
  reduction: str | ReductionFn = "mean_active",
  **batch: Unpack[BatchArguments],
) -> tuple[jax.Array, dict[str, jax.Array]]:
  """Contrastive loss of all pairs.

  Hadsell et al., 2006, in the linear form of metric learning: a positive pair
  costs `max(d - positive_margin, 0)`, a negative one `max(margin - d, 0)`. The
  paper squares and halves both.

  The terms are the pairs, positive and negative ones alike. By default their
  sum is divided by how many cost something: most negatives soon are beyond the
  margin, and a mean over all pairs would fade with the number of identities.
  pytorch-metric-learning adds up two such means, one of the positive and one
  of the negative pairs; a single count cannot say that.

  Args:
    embeddings: embeddings of the anchors, `[A, D]`.
    labels: their identities, integer `[A]`.
    margin: how far negatives are to be, in the unit of the distance; a scalar.
    positive_margin: how far positives may be, likewise; a scalar.
    distance: a name from `DISTANCES`, a function, or "precomputed": then
      `embeddings` holds distances, `[A, R]`.
    reduction: a name from `REDUCTIONS`, a function of `Totals`, or "none".
    **batch: references, ids, padding, devices: see `BatchArguments`.

  Returns:
    The loss, a scalar (`[A]` with "none"), and the statistics of
    `mined_triplet_loss`; the selected are pairs, `loss_at_margin` is False.

  Raises:
    TypeError: a dtype doesn't fit, or a keyword is unknown.
    ValueError: a shape doesn't fit, or a name is unknown.

  >>> points = jnp.array([[0.0], [0.5], [0.75]])
  >>> loss, _ = contrastive_loss(points, jnp.array([0, 0, 1]), reduction="sum")
  >>> loss.item()  # .5 between the first two; 1 - .75 and 1 - .25; each twice
  3.0
  """
  scalars(margin=margin, positive_margin=positive_margin)

  def terms(block: Block, parameters: Any) -> RowTotals:
    margin, positive_margin = parameters
    positive, negative = block.masks
    shortfall = jnp.where(
      positive, block.distances - positive_margin, margin - block.distances
    )
    return pair_totals(penalty(shortfall, soft=False), positive | negative)

  return loss_of_terms(
    terms,
    embeddings,
    labels,
    margin=margin,
    parameters=positive_margin,
    distance=distance,
    reduction=reduction,
    **batch,
  )


def margin_loss(
  embeddings: ArrayLike,
  labels: ArrayLike,
  *,
  margin: ArrayLike = 0.2,
  beta: ArrayLike = 1.2,
  distance: str | DistanceFn = ON_THE_SPHERE,
  reduction: str | ReductionFn = "mean_active",
  **batch: Unpack[BatchArguments],
) -> tuple[jax.Array, dict[str, jax.Array]]:
  """Margin-based loss of all pairs.

  Wu et al., 2017, "Sampling Matters": a positive pair costs
  `max(margin + d - beta, 0)`, a negative one `max(margin - d + beta, 0)`, with
  `beta` the boundary between them, which may be learned: the loss is
  differentiable by it, each identity with its own if it is an array. The
  regularisation `nu beta` is left to the caller. The
  paper draws its negatives by distance (`mined_margin_loss`); here all pairs
  are taken.

  The terms are the pairs, and by default their sum is divided by how many cost
  something, as in the paper.

  Args:
    embeddings: embeddings of the anchors, `[A, D]`.
    labels: their identities, integer `[A]`.
    margin: half of the gap between positives and negatives, in the unit of the
      distance; a scalar.
    beta: the boundary, likewise; a scalar, or `[identities]`, indexed by the
      anchor's label. The loss is NaN if it has none for a label.
    distance: as for `contrastive_loss`; Euclidean on the unit sphere. That is a
      function: `precision` goes with a named distance only.
    reduction: a name from `REDUCTIONS`, a function of `Totals`, or "none".
    **batch: references, ids, padding, devices: see `BatchArguments`.

  Returns:
    As `contrastive_loss`.

  Raises:
    TypeError: a dtype doesn't fit, or a keyword is unknown.
    ValueError: a shape doesn't fit, or a name is unknown.

  >>> points = jnp.array([[0.0], [1.5], [1.0]])
  >>> loss, _ = margin_loss(
  ...   points, jnp.array([0, 0, 1]), margin=0.5, beta=1.0, distance="euclidean"
  ... )
  >>> loss.item()  # .5 + 1.5 - 1; .5 - 1 + 1 and .5 - .5 + 1: a mean of three
  0.8333333134651184
  """
  scalars(margin=margin)
  if jnp.ndim(beta) > 1:
    raise ValueError(
      "expected beta to be a scalar or of shape [identities], "
      f"got shape {jnp.shape(beta)}"
    )

  def terms(block: Block, parameters: Any) -> RowTotals:
    margin, beta = parameters
    positive, negative = block.masks
    beyond = block.distances - boundary(beta, block.labels)
    shortfall = margin + jnp.where(positive, beyond, -beyond)
    return pair_totals(penalty(shortfall, soft=False), positive | negative)

  return loss_of_terms(
    terms,
    embeddings,
    labels,
    margin=margin,
    parameters=beta,
    distance=distance,
    reduction=reduction,
    **batch,
  )


def boundary(
  beta: Float[Array, "..."], labels: Int[Array, " a"]
) -> Float[Array, "..."]:
  """The boundary of each anchor.

  Args:
    beta: a scalar, or one for each label, `[identities]`.
    labels: of the anchors, `[A]`.

  Returns:
    A scalar, or `[A, 1]`, NaN for a label without one.
  """
  if not beta.ndim:
    return beta
  found = beta.at[labels].get(mode="fill", fill_value=jnp.nan)
  # A negative index would count from the end.
  return jnp.where(labels >= 0, found, jnp.nan)[:, None]
