"""The triplet loss of triplets that are given as three arrays."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from tripletjax.distances import check_embeddings, resolve_distance
from tripletjax.masks import check_vector
from tripletjax.reductions import ReductionFn, reduce_totals, total
from tripletjax.types import DistanceFn


def hinge(
  distance_ap: Float[Array, "..."],
  distance_an: Float[Array, "..."],
  margin: ArrayLike,
) -> Float[Array, "..."]:
  """`max(d_ap - d_an + margin, 0)`, with gradient 0 at the hinge itself."""
  margin = jnp.asarray(margin, distance_ap.dtype)
  value = distance_ap - distance_an + margin
  # `value <= 0` and not `value > 0`, so that a NaN comes through.
  return jnp.where(value <= 0, 0, value)


def triplet_loss(
  anchors: ArrayLike,
  positives: ArrayLike,
  negatives: ArrayLike,
  *,
  margin: ArrayLike = 0.2,
  distance: str | DistanceFn = "squared_euclidean",
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
  values = hinge(
    rowwise(anchors, positives), rowwise(anchors, negatives), margin
  )
  if reduction == "none":
    return values if where is None else jnp.where(where, values, 0)
  return reduce_totals(total(values, where), reduction)
