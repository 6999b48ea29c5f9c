"""Distances of a batch to itself: a gradient by one side gives both.

As d(x, y) is d(y, x), what a row gets as the second is what it would get as the
first from the transposed matrix.
"""

from __future__ import annotations

import jax
from jax import lax
from jaxtyping import Array, Float

from tripletjax.parts import is_symmetric
from tripletjax.types import DistanceFn


def own_distances(
  distance_fn: DistanceFn, x: Float[Array, "n d"]
) -> Float[Array, "n n"]:
  """Distances of rows to each other, as `distance_fn(x, x)`.

  Of a symmetric distance the gradient takes one product instead of two.
  """
  if not is_symmetric(distance_fn):
    return distance_fn(x, x)
  return _of_both_sides(distance_fn(x, lax.stop_gradient(x)))


@jax.custom_jvp
def _of_both_sides(distances: jax.Array) -> jax.Array:
  return distances


@_of_both_sides.defjvp
def _by_both_sides(primals: tuple, tangents: tuple) -> tuple:
  (distances,), (by_first,) = primals, tangents
  return distances, by_first + by_first.T
