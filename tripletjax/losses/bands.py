"""The exact loss of every triplet in a band of gaps, without listing them.

For one anchor, a positive at distance `t` and a negative at `d` have the gap
`d - t` and the loss `max(margin - gap, 0)`. The gradient with respect to `d` is
minus the number of active positives, with respect to `t` plus the number of
active negatives: two count matrices. Both come out of one pass over the
positives: `O(A R K)` work and `O(A R)` memory, where the cube takes `O(A R R)`.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from tripletjax.miners.slots import Slot, over_positives
from tripletjax.reductions import Totals


@jax.custom_vjp
def band_totals(
  distances: Float[Array, "a r"],
  positive_mask: Bool[Array, "a r"],
  negative_mask: Bool[Array, "a r"],
  low: Float[Array, ""],
  high: Float[Array, ""],
  margin: Float[Array, ""],
) -> Totals:
  """Totals over the triplets with `low < d_an - d_ap <= high`.

  Differentiable in `distances` and in `margin` (the derivative is the number
  of active triplets); the counts have no gradient.
  """
  totals, _ = _sweep(distances, positive_mask, negative_mask, low, high, margin)
  return totals


def _sweep(
  distances: jax.Array,
  positive_mask: jax.Array,
  negative_mask: jax.Array,
  low: jax.Array,
  high: jax.Array,
  margin: jax.Array,
) -> tuple[Totals, jax.Array]:
  """Totals, and the gradient of the summed loss, `[A, R]`."""
  dtype = distances.dtype

  def body(
    slot: Slot, carry: tuple[Totals, jax.Array]
  ) -> tuple[Totals, jax.Array]:
    totals, gradient = carry
    gap = distances - slot.distance_ap
    present = slot.where.any(axis=1, keepdims=True)
    selected = negative_mask & present & (gap > low) & (gap <= high)
    active = selected & (gap < margin)
    actives = jnp.sum(active, axis=1, keepdims=True, dtype=dtype)
    totals = Totals(
      totals.loss + jnp.sum(jnp.where(active, margin - gap, 0)),
      totals.selected + jnp.sum(selected, dtype=dtype),
      totals.active + jnp.sum(actives),
    )
    gradient -= active.astype(dtype)
    return totals, jnp.where(slot.where, gradient + actives, gradient)

  zero = jnp.zeros((), dtype)
  initial = (Totals(zero, zero, zero), jnp.zeros_like(distances))
  return over_positives(body, initial, distances, positive_mask)


def _forward(*inputs: jax.Array) -> tuple[Totals, tuple[Any, ...]]:
  totals, gradient = _sweep(*inputs)
  return totals, (gradient, totals.active, inputs[1].shape)


def _backward(residuals: tuple[Any, ...], cotangent: Totals) -> tuple[Any, ...]:
  gradient, active, shape = residuals
  zero = jnp.zeros_like(cotangent.loss)
  no_gradient = np.zeros(shape, jax.dtypes.float0)
  return (
    gradient * cotangent.loss,
    no_gradient,
    no_gradient,
    zero,
    zero,
    active * cotangent.loss,
  )


band_totals.defvjp(_forward, _backward)
