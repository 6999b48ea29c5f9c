"""Miners that take every triplet of a band of gaps."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float

from tripletjax.types import GapBand


def all_triplets(
  distances: Float[Array, "a r"],
  positive_mask: Bool[Array, "a r"],
  negative_mask: Bool[Array, "a r"],
  *,
  margin: ArrayLike,
  key: jax.Array | None = None,
) -> GapBand:
  """Every valid triplet, whatever its gap.

  With the reduction `mean_active` this is "batch all" (Hermans et al., 2017):
  triplets that are already apart by the margin neither add to the sum nor to
  the count.
  """
  del distances, positive_mask, negative_mask, margin, key
  return GapBand(-jnp.inf, jnp.inf)


def all_hard(
  distances: Float[Array, "a r"],
  positive_mask: Bool[Array, "a r"],
  negative_mask: Bool[Array, "a r"],
  *,
  margin: ArrayLike,
  key: jax.Array | None = None,
) -> GapBand:
  """Every triplet whose negative is not beyond its positive: gap `<= 0`."""
  del distances, positive_mask, negative_mask, margin, key
  return GapBand(-jnp.inf, 0.0)


def all_semi_hard(
  distances: Float[Array, "a r"],
  positive_mask: Bool[Array, "a r"],
  negative_mask: Bool[Array, "a r"],
  *,
  margin: ArrayLike,
  key: jax.Array | None = None,
) -> GapBand:
  """Every triplet in order, but within the margin: `0 < gap <= margin`."""
  del distances, positive_mask, negative_mask, key
  return GapBand(0.0, margin)


def all_easy(
  distances: Float[Array, "a r"],
  positive_mask: Bool[Array, "a r"],
  negative_mask: Bool[Array, "a r"],
  *,
  margin: ArrayLike,
  key: jax.Array | None = None,
) -> GapBand:
  """Every triplet that the margin divides: gap `> margin`; their loss is 0."""
  del distances, positive_mask, negative_mask, key
  return GapBand(margin, jnp.inf)
