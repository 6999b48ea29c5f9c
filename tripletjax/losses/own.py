"""Distances of a batch to itself: a gradient by one side gives both.

As d(x, y) is d(y, x), what a row gets as the second is what it would get as the
first from the transposed matrix.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
from jax import lax
from jaxtyping import Array, Float

from tripletjax.distances import DISTANCES
from tripletjax.types import DistanceFn


def own_distances(
  distance_fn: DistanceFn, x: Float[Array, "n d"]
) -> Float[Array, "n n"]:
  """Distances of rows to each other, as `distance_fn(x, x)`.

  Of a distance of `DISTANCES` the gradient takes one product instead of two.
  """
  # All of them are symmetric; `tests/test_distances.py` holds it.
  if _named(distance_fn) not in DISTANCES.values():
    return distance_fn(x, x)
  return _of_both_sides(distance_fn(x, lax.stop_gradient(x)))


def _named(distance_fn: DistanceFn) -> Callable[..., jax.Array]:
  # A precision was chosen by `functools.partial`.
  return getattr(distance_fn, "func", distance_fn)


@jax.custom_jvp
def _of_both_sides(distances: jax.Array) -> jax.Array:
  return distances


@_of_both_sides.defjvp
def _by_both_sides(primals: tuple, tangents: tuple) -> tuple:
  (distances,), (by_first,) = primals, tangents
  return distances, by_first + by_first.T
