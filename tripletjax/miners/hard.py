"""Miners that take the hardest examples of an anchor."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float

from tripletjax.types import Triplets


def batch_hard(
  distances: Float[Array, "a r"],
  positive_mask: Bool[Array, "a r"],
  negative_mask: Bool[Array, "a r"],
  *,
  margin: ArrayLike,
  key: jax.Array | None = None,
) -> Triplets:
  """The farthest positive and the nearest negative of each anchor.

  "In Defense of the Triplet Loss" (Hermans et al., 2017). Of equal distances
  the first reference is taken. An anchor without a positive or without a
  negative gives no triplet.
  """
  del margin, key
  return Triplets(
    anchor=jnp.arange(distances.shape[0]),
    positive=jnp.argmax(jnp.where(positive_mask, distances, -jnp.inf), axis=1),
    negative=jnp.argmin(jnp.where(negative_mask, distances, jnp.inf), axis=1),
    where=positive_mask.any(axis=1) & negative_mask.any(axis=1),
  )
