"""What evaluating a selection takes and gives, for a block of anchor rows."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from tripletjax.folds import row_count
from tripletjax.masks import PairMasks
from tripletjax.miners.slots import Candidates
from tripletjax.reductions import RowTotals


class BlockValues(NamedTuple):
  """Values of a block of anchor rows, without a gradient."""

  distances: Float[Array, "a r"]
  masks: PairMasks
  candidates: Candidates
  margin: Float[Array, ""]
  soft: bool


class Costs(NamedTuple):
  """Totals of each row, and the gradient of their loss.

  Attributes:
    totals: `[A]` each.
    by_distance: `[A, R]`.
    by_margin: `[A]`.
  """

  totals: RowTotals
  by_distance: Float[Array, "a r"]
  by_margin: Float[Array, " a"]


def count(where: jax.Array, dtype: jnp.dtype) -> jax.Array:
  """How many are True in each row."""
  return jnp.sum(where, axis=1, dtype=dtype)


def no_costs(rows: BlockValues) -> Costs:
  """Nothing, to add to: but NaN for a valid distance that is NaN.

  Comparisons with NaN are False, so that such a pair is in no triplet; nothing
  that is added to NaN hides it.
  """
  distances = rows.distances
  lost = lost_pairs(distances, rows.masks)
  by_distance = jnp.where(lost, jnp.nan, jnp.zeros_like(distances))
  zeros = jnp.zeros_like(distances[:, 0])
  loss = jnp.where(row_count(lost) > 0, jnp.nan, zeros)
  totals = RowTotals(loss, zeros, zeros)
  return Costs(totals, by_distance, zeros)


def lost_pairs(
  distances: Float[Array, "a r"], masks: PairMasks
) -> Bool[Array, "a r"]:
  """Valid pairs whose distance is NaN."""
  return jnp.isnan(distances) & (masks.positive | masks.negative)


def has_lost(
  distances: Float[Array, "a r"], masks: PairMasks
) -> Bool[Array, " a"]:
  """Whether a valid distance is NaN, of each row."""
  return row_count(lost_pairs(distances, masks)) > 0
