"""What evaluating a selection takes and gives, for a block of anchor rows."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

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


def no_costs(distances: jax.Array) -> Costs:
  """Nothing, to add to."""
  zeros = jnp.zeros_like(distances[:, 0])
  return Costs(RowTotals(zeros, zeros, zeros), jnp.zeros_like(distances), zeros)
