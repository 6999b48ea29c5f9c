"""A miner that takes the negative beyond the positive, pair by pair."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float

from tripletjax.folds import first_smallest, first_smallest_above
from tripletjax.types import EachPositive, Slots


def semi_hard(
  distances: Float[Array, "a r"],
  positive_mask: Bool[Array, "a r"],
  negative_mask: Bool[Array, "a r"],
  *,
  margin: ArrayLike,
  key: jax.Array | None = None,
  missing: str = "drop",
) -> EachPositive:
  """For each positive pair the nearest negative strictly beyond the positive.

  Of equal distances the first reference is taken. There is no upper bound:
  beyond the margin the triplet is selected, and its loss is 0.

  Args:
    distances: `[A, R]`.
    positive_mask: `[A, R]`.
    negative_mask: `[A, R]`.
    margin: not used.
    key: not used.
    missing: for a pair whose negatives are all nearer than its positive:
      "drop" it, or take the "farthest" (as TensorFlow Addons) or the "hardest"
      (nearest) negative.

  Raises:
    ValueError: `missing` is none of these.
  """
  del positive_mask, margin, key
  if missing not in ("drop", "farthest", "hardest"):
    raise ValueError(
      f"expected missing to be drop, farthest or hardest, got {missing!r}"
    )
  negatives = jnp.where(negative_mask, distances, jnp.nan)

  def nearest(slots: Slots) -> tuple[jax.Array, jax.Array]:
    return first_smallest_above(negatives, slots.distance_ap)

  if missing == "drop":
    return EachPositive(nearest)
  sign = -1 if missing == "farthest" else 1
  other, any_negative = first_smallest(sign * negatives)

  def nearest_or_other(slots: Slots) -> tuple[jax.Array, jax.Array]:
    column, found = nearest(slots)
    return (
      jnp.where(found, column, other[:, None]),
      found | any_negative[:, None],
    )

  return EachPositive(nearest_or_other)
