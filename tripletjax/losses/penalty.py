"""What one triplet costs, by how far its negative is short of the margin."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def penalty(
  shortfall: Float[Array, "..."], *, soft: bool
) -> Float[Array, "..."]:
  """The loss of a triplet with `shortfall = d_ap - d_an + margin`.

  `max(shortfall, 0)` (Schroff et al., 2015), with gradient 0 at 0; or soft,
  `softplus(shortfall)`. The soft margin of Hermans et al., 2017 has no margin:
  give 0.
  """
  if soft:
    return jax.nn.softplus(shortfall)
  # `<= 0` and not `> 0`, so that a NaN comes through.
  return jnp.where(shortfall <= 0, 0, shortfall)


def slope(shortfall: Float[Array, "..."], *, soft: bool) -> Float[Array, "..."]:
  """The derivative of `penalty`."""
  if soft:
    return jax.nn.sigmoid(shortfall)
  return (shortfall > 0).astype(shortfall.dtype)
