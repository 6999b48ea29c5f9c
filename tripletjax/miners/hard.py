"""Miners that take the hardest examples of an anchor."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float

from tripletjax.folds import first_smallest
from tripletjax.types import EachPositive, Slots, Triplets


def batch_hard(
  distances: Float[Array, "a r"],
  positive_mask: Bool[Array, "a r"],
  negative_mask: Bool[Array, "a r"],
  *,
  margin: ArrayLike,
  key: jax.Array | None = None,
  lonely: bool = False,
) -> Triplets:
  """The farthest positive and the nearest negative of each anchor.

  "In Defense of the Triplet Loss" (Hermans et al., 2017). Of equal distances
  the first reference is taken. An anchor without a positive or without a
  negative gives no triplet.

  Args:
    distances: `[A, R]`.
    positive_mask: `[A, R]`.
    negative_mask: `[A, R]`.
    margin: not used.
    key: not used.
    lonely: an anchor without a positive is its own, at distance 0, as
      TensorFlow Addons has it; for this it has to be among the references.
  """
  del margin, key
  farthest, has_positive = first_smallest(
    jnp.where(positive_mask, -distances, jnp.nan)
  )
  nearest, has_negative = first_smallest(
    jnp.where(negative_mask, distances, jnp.nan)
  )
  if lonely:
    # Neither a positive nor a negative: padding, or the anchor itself, which
    # is the nearest.
    itself, found = first_smallest(
      jnp.where(positive_mask | negative_mask, jnp.nan, distances)
    )
    farthest = jnp.where(has_positive, farthest, itself)
    has_positive |= found & has_negative
  return Triplets(
    anchor=jnp.arange(distances.shape[0]),
    positive=farthest,
    negative=nearest,
    where=has_positive & has_negative,
  )


def hardest_negative(
  distances: Float[Array, "a r"],
  positive_mask: Bool[Array, "a r"],
  negative_mask: Bool[Array, "a r"],
  *,
  margin: ArrayLike,
  key: jax.Array | None = None,
) -> EachPositive:
  """For each positive pair the anchor's nearest negative, the first of equals.

  The hardest negatives of every pair collapse a model that starts from nothing
  (Schroff et al., 2015): compare `semi_hard`.
  """
  del positive_mask, margin, key
  nearest, found = first_smallest(jnp.where(negative_mask, distances, jnp.nan))

  def choose(slots: Slots) -> tuple[jax.Array, jax.Array]:
    shape = slots.column.shape
    return (
      jnp.broadcast_to(nearest[:, None], shape),
      jnp.broadcast_to(found[:, None], shape),
    )

  return EachPositive(choose)


def n_hardest(
  distances: Float[Array, "a r"],
  positive_mask: Bool[Array, "a r"],
  negative_mask: Bool[Array, "a r"],
  *,
  margin: ArrayLike,
  key: jax.Array | None = None,
  positives: int = 2,
  negatives: int = 4,
) -> Triplets:
  """The n farthest positives of each anchor, each with the n nearest negatives.

  Between `batch_hard` (1 and 1) and `all`. Of equal distances the first.

  Args:
    distances: `[A, R]`.
    positive_mask: `[A, R]`.
    negative_mask: `[A, R]`.
    margin: not used.
    key: not used.
    positives: how many positives an anchor, at most.
    negatives: how many negatives an anchor, at most.
  """
  del margin, key
  rows, columns = distances.shape
  far, p = lax.top_k(
    jnp.where(positive_mask, distances, -jnp.inf), min(positives, columns)
  )
  near, n = lax.top_k(
    jnp.where(negative_mask, -distances, -jnp.inf), min(negatives, columns)
  )
  where = (far > -jnp.inf)[:, :, None] & (near > -jnp.inf)[:, None, :]
  return Triplets(
    anchor=jnp.arange(rows)[:, None],
    positive=jnp.repeat(p, n.shape[1], axis=1),
    negative=jnp.tile(n, (1, p.shape[1])),
    where=where.reshape(rows, -1),
  )
