"""The exact loss of every triplet in a band of gaps, without listing them.

For one anchor, a positive at distance `t` and a negative at `d` have the gap
`d - t` and the loss `max(margin - gap, 0)`. The gradient with respect to `d` is
minus the number of active positives, with respect to `t` plus the number of
active negatives: two count matrices (sums of slopes, where the loss is soft).
Both come out of one pass over the positives: `O(A R K)` work and `O(A R)`
memory, where the cube takes `O(A R R)`.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from tripletjax.losses.penalty import penalty, slope
from tripletjax.miners.slots import Slot, over_positives
from tripletjax.reductions import Totals


@functools.partial(jax.custom_vjp, nondiff_argnums=(6,))
def band_totals(
  distances: Float[Array, "a r"],
  positive_mask: Bool[Array, "a r"],
  negative_mask: Bool[Array, "a r"],
  low: Float[Array, ""],
  high: Float[Array, ""],
  margin: Float[Array, ""],
  soft: bool,
) -> Totals:
  """Totals over the triplets with `low < d_an - d_ap <= high`.

  Differentiable in `distances` and in `margin`; the counts have no gradient.
  """
  return _sweep(
    distances, positive_mask, negative_mask, low, high, margin, soft
  ).totals


class _Sums(NamedTuple):
  """Totals, and the gradient of their loss.

  Attributes:
    totals: of the triplets so far.
    by_distance: `[A, R]`.
    by_margin: a scalar.
  """

  totals: Totals
  by_distance: Float[Array, "a r"]
  by_margin: Float[Array, ""]


def _sweep(
  distances: jax.Array,
  positive_mask: jax.Array,
  negative_mask: jax.Array,
  low: jax.Array,
  high: jax.Array,
  margin: jax.Array,
  soft: bool,
) -> _Sums:
  dtype = distances.dtype

  def body(slot: Slot, sums: _Sums) -> _Sums:
    gap = distances - slot.distance_ap
    present = slot.where.any(axis=1, keepdims=True)
    selected = negative_mask & present & (gap > low) & (gap <= high)
    values = jnp.where(selected, penalty(margin - gap, soft=soft), 0)
    slopes = jnp.where(selected, slope(margin - gap, soft=soft), 0)
    by_positive = jnp.sum(slopes, axis=1, keepdims=True)
    by_distance = sums.by_distance - slopes
    return _Sums(
      Totals(
        sums.totals.loss + jnp.sum(values),
        sums.totals.selected + jnp.sum(selected, dtype=dtype),
        sums.totals.active + jnp.sum(values > 0, dtype=dtype),
      ),
      jnp.where(slot.where, by_distance + by_positive, by_distance),
      sums.by_margin + jnp.sum(by_positive),
    )

  zero = jnp.zeros((), dtype)
  initial = _Sums(Totals(zero, zero, zero), jnp.zeros_like(distances), zero)
  return over_positives(body, initial, distances, positive_mask)


def _forward(
  distances: jax.Array,
  positive_mask: jax.Array,
  negative_mask: jax.Array,
  low: jax.Array,
  high: jax.Array,
  margin: jax.Array,
  soft: bool,
) -> tuple[Totals, tuple[Any, ...]]:
  sums = _sweep(
    distances, positive_mask, negative_mask, low, high, margin, soft
  )
  return sums.totals, (sums.by_distance, sums.by_margin)


def _backward(
  soft: bool, residuals: tuple[Any, ...], cotangent: Totals
) -> tuple[Any, ...]:
  del soft
  by_distance, by_margin = residuals
  zero = jnp.zeros_like(cotangent.loss)
  no_gradient = np.zeros(by_distance.shape, jax.dtypes.float0)
  return (
    by_distance * cotangent.loss,
    no_gradient,
    no_gradient,
    zero,
    zero,
    by_margin * cotangent.loss,
  )


band_totals.defvjp(_forward, _backward)
