"""Losses of the pairs that a miner's triplets are made of."""

from __future__ import annotations

from typing import Any, Unpack

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from tripletjax.losses.batch import BatchArguments
from tripletjax.losses.mined import select
from tripletjax.losses.pairs import ON_THE_SPHERE, boundary
from tripletjax.losses.penalty import penalty
from tripletjax.losses.rows import Block
from tripletjax.losses.selections import pair_counts
from tripletjax.losses.terms import loss_of_terms, scalars
from tripletjax.miners import MINERS
from tripletjax.reductions import ReductionFn, RowTotals
from tripletjax.registry import resolve
from tripletjax.types import DistanceFn, MinerFn


def mined_margin_loss(
  embeddings: ArrayLike,
  labels: ArrayLike,
  *,
  miner: str | MinerFn = "semi_hard",
  margin: ArrayLike = 0.2,
  beta: ArrayLike = 1.2,
  distance: str | DistanceFn = ON_THE_SPHERE,
  reduction: str | ReductionFn = "mean_active",
  **batch: Unpack[BatchArguments],
) -> tuple[jax.Array, dict[str, jax.Array]]:
  """Margin-based loss of the pairs that mined triplets are made of.

  Wu et al., 2017, "Sampling Matters", as the paper has it: each selected
  triplet costs `max(margin + d_ap - beta, 0)` for its positive pair and
  `max(margin - d_an + beta, 0)` for its negative one. The paper's miner is
  `distance_weighted`; `margin_loss` takes all pairs.

  The terms are these pairs, each as often as it is in a triplet, and by default
  their sum is divided by how many cost something, as in the paper.

  Args:
    embeddings: embeddings of the anchors, `[A, D]`.
    labels: their identities, integer `[A]`.
    miner: a name from `MINERS`, or a function.
    margin: half of the gap between positives and negatives, in the unit of the
      distance, and what the miner takes as its margin; a scalar.
    beta: the boundary, as for `margin_loss`.
    distance: as for `margin_loss`. `distance_weighted` draws by the Euclidean
      one on the unit sphere.
    reduction: a name from `REDUCTIONS`, a function of `Totals`, or "none".
    **batch: references, ids, padding, devices: see `BatchArguments`.

  Returns:
    As `contrastive_loss`.

  Raises:
    TypeError: a dtype doesn't fit, or a keyword is unknown.
    ValueError: a shape doesn't fit, a name is unknown, or a key is missing.

  >>> points = jnp.array([[0.0], [1.0], [1.5]])
  >>> loss, _ = mined_margin_loss(
  ...   points, jnp.array([0, 0, 1]), margin=0.5, beta=1.0, distance="euclidean"
  ... )  # of the pair from 0 the negative is at 1.5; none is beyond that from 1
  >>> loss.item()  # .5 + 1 - 1; .5 - 1.5 + 1 is nothing: a mean of one
  0.5
  """
  scalars(margin=margin)
  if jnp.ndim(beta) > 1:
    raise ValueError(
      "expected beta to be a scalar or of shape [identities], "
      f"got shape {jnp.shape(beta)}"
    )
  miner_fn = resolve(miner, MINERS, "miner")

  def terms(block: Block, parameters: Any) -> RowTotals:
    margin, beta = parameters
    counts = pair_counts(
      block.distances,
      block.masks,
      select(miner_fn, block, margin),
      candidates=block.candidates,
    )
    beyond = block.distances - boundary(beta, block.labels)
    shortfall = margin + jnp.where(block.masks.positive, beyond, -beyond)
    costs = counts * jnp.where(counts > 0, penalty(shortfall, soft=False), 0)
    return RowTotals(
      jnp.sum(costs, axis=1),
      jnp.sum(counts, axis=1),
      jnp.sum(jnp.where(costs > 0, counts, 0), axis=1),
    )

  return loss_of_terms(
    terms,
    embeddings,
    labels,
    margin=margin,
    parameters=beta,
    distance=distance,
    reduction=reduction,
    only_pairs=True,
    **batch,
  )
