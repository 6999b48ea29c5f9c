"""The triplet loss of triplets that are given as three arrays."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from tripletjax.distances import check_embeddings, resolve_distance
from tripletjax.losses.penalty import penalty
from tripletjax.masks import check_vector
from tripletjax.reductions import ReductionFn, reduce_totals, total
from tripletjax.types import DistanceFn


def triplet_loss(
  anchors: ArrayLike,
  positives: ArrayLike,
  negatives: ArrayLike,
  *,
  margin: ArrayLike = 0.2,
  distance: str | DistanceFn = "squared_euclidean",
  soft: bool = False,
  swap: bool = False,
  where: ArrayLike | None = None,
  reduction: str | ReductionFn = "mean",
) -> jax.Array:
  """Triplet loss of explicit triplets.

  `max(d(A, P) - d(A, N) + margin, 0)` for each triplet (Schroff et al., 2015).
  Without a margin, embeddings that are all zero are a solution; with one they
  cost exactly `margin`.

  Args:
    anchors: embeddings of the anchors, `[T, D]`.
    positives: embeddings of their positives, `[T, D]`.
    negatives: embeddings of their negatives, `[T, D]`.
    margin: by how much a negative is to be farther than the positive, in the
      unit of the distance; a scalar, may be a tracer.
    distance: a name from `DISTANCES`, or a function.
    soft: `softplus` in place of `max(., 0)`.
    swap: takes the smaller of d(A, N) and d(P, N) (Balntas et al., 2016).
    where: False for triplets that are padding, `[T]`.
    reduction: a name from `REDUCTIONS`, a function of `Totals`, or "none".

  Returns:
    The loss, a scalar; with the reduction "none" the values, `[T]`, 0 where
    there is padding.

  Raises:
    TypeError: embeddings are not floating, or `where` is not boolean.
    ValueError: shapes differ, or a name is unknown.

  >>> triplet_loss(
  ...   jnp.zeros((1, 2)), jnp.ones((1, 2)), jnp.ones((1, 2)), margin=0.5
  ... ).item()
  0.5
  """
  anchors = check_embeddings(anchors, "anchors")
  positives = check_embeddings(positives, "positives")
  negatives = check_embeddings(negatives, "negatives")
  for name, array in (("positives", positives), ("negatives", negatives)):
    if array.shape != anchors.shape:
      raise ValueError(
        f"expected {name} of shape {anchors.shape} like anchors, "
        f"got {array.shape}"
      )
  if where is not None:
    where = check_vector(where, "where", integer=False, length=anchors.shape[0])
  distance_fn = resolve_distance(distance)
  rowwise = jax.vmap(lambda x, y: distance_fn(x[None], y[None])[0, 0])
  distance_ap = rowwise(anchors, positives)
  distance_an = rowwise(anchors, negatives)
  if swap:
    distance_pn = rowwise(positives, negatives)
    distance_an = jnp.minimum(distance_an, distance_pn)
  margin = jnp.asarray(margin, distance_ap.dtype)
  values = penalty(distance_ap - distance_an + margin, soft=soft)
  if reduction == "none":
    return values if where is None else jnp.where(where, values, 0)
  return reduce_totals(total(values, where), reduction)
