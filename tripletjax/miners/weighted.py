"""Negatives drawn by their distance."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float

from tripletjax.miners.draws import row_keys, uniform
from tripletjax.searches import weighted_choice
from tripletjax.types import EachPositive, Embeddings, Slots


def distance_weighted(
  distances: Float[Array, "a r"],
  positive_mask: Bool[Array, "a r"],
  negative_mask: Bool[Array, "a r"],
  *,
  margin: ArrayLike,
  key: jax.Array | None = None,
  embeddings: Embeddings | None = None,
  dimension: int | None = None,
  cutoff: float = 0.5,
  upper: float = 1.4,
) -> EachPositive:
  """For each positive pair a negative drawn with weight `1 / q(distance)`.

  "Sampling Matters in Deep Embedding Learning" (Wu et al., 2017): `q` is the
  density of distances between uniform points of the unit sphere in D
  dimensions, `q(d) ~ d^(D-2) (1 - d²/4)^((D-3)/2)`, so that near and far
  negatives are drawn as often. It speaks of Euclidean distances of normalised
  embeddings: take `distance="euclidean"` with them.

  Args:
    distances: `[A, R]`.
    positive_mask: `[A, R]`.
    negative_mask: `[A, R]`.
    margin: not used.
    key: a PRNG key for each row, `[A]`.
    embeddings: given by the loss; only their dimension is used.
    dimension: D; that of the embeddings when None.
    cutoff: nearer negatives count as if they were at this distance.
    upper: negatives farther than this are not drawn; a pair whose negatives all
      are is dropped.

  Raises:
    ValueError: there is no key, or neither dimension nor embeddings.
  """
  del positive_mask, margin
  keys = row_keys(key, "distance_weighted")
  if dimension is None:
    if embeddings is None:
      raise ValueError(
        "expected dimension: distance_weighted needs that of the embeddings"
      )
    dimension = embeddings.references.shape[1]
  eps = jnp.finfo(distances.dtype).eps
  clamped = jnp.maximum(distances, cutoff)
  # A distance of 2 is the other side of the sphere, with density 0.
  rest = jnp.maximum(1 - clamped * clamped / 4, eps)
  log_weight = (2 - dimension) * jnp.log(clamped) - (
    (dimension - 3) / 2
  ) * jnp.log(rest)
  allowed = negative_mask & (distances < upper)
  log_weight = jnp.where(allowed, log_weight, -jnp.inf)
  largest = jnp.max(log_weight, axis=1)
  # Of a row without any: -inf less 0 is a weight of 0.
  largest = jnp.where(largest > -jnp.inf, largest, 0)
  weights = jnp.exp(log_weight - largest[:, None])
  choice = weighted_choice(weights)

  def choose(slots: Slots) -> tuple[jax.Array, jax.Array]:
    share = uniform(keys, slots.number).astype(distances.dtype)
    return choice(share)

  return EachPositive(choose)
