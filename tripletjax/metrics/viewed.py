"""Distances between images of which each has several views."""

from __future__ import annotations

import functools
import math

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from tripletjax.distances import resolve_distance
from tripletjax.types import DistanceFn


@functools.lru_cache(maxsize=64)
def nearest_views(
  distance: str | DistanceFn = "squared_euclidean",
  *,
  views: int,
  temperature: float,
) -> DistanceFn:
  """A distance that lets views of one image look for the other image.

  Where one drawing lies otherwise than another, some moved copy of it lies as
  the other does. Of x with views x_1 to x_V and their mean x_0 it is

      (S(d(x_v, y_0)) + S(d(x_0, y_v))) / 2,  S(d) = -T log mean_v exp(-d_v / T)

  S is at most T log V above the least of its V numbers, and near their mean for
  a large T. It takes 2 V times what `distance` takes.

  Args:
    distance: a name from `DISTANCES`, or a function of `x` and `y`, which has
      to be symmetric if this one is to be.
    views: V of each image.
    temperature: T, in units of the distance, above 0.

  Returns:
    A function of `x [A, (1 + V) D]` and `y [R, (1 + V) D]`, of each image the
    mean and then its views side by side, to `[A, R]`: of the kind that all
    `METRICS` take. The same object for the same arguments.

  Raises:
    ValueError: an argument is out of its range, the distance is unknown, or
      later, a row doesn't divide into 1 + V parts.

  >>> between = nearest_views(views=2, temperature=1e-3)
  >>> still, moved = jnp.array([[0.0, 0.0, 0.0]]), jnp.array([[2.0, 1.0, 3.0]])
  >>> round(float(between(still, moved)[0, 0]), 2)  # (4 + 1) / 2
  2.5
  """
  function = resolve_distance(distance)
  if views < 1:
    raise ValueError(f"expected views of at least 1, got {views}")
  if not 0 < temperature < math.inf:
    raise ValueError(f"expected a temperature above 0, got {temperature}")

  def between(
    x: Float[Array, "a d"], y: Float[Array, "r d"]
  ) -> Float[Array, "a r"]:
    x, y = _parts(x, views), _parts(y, views)

    def add(
      sums: tuple[jax.Array, jax.Array], pair: tuple[jax.Array, jax.Array]
    ) -> tuple[tuple[jax.Array, jax.Array], None]:
      one, other = pair
      asking = jnp.logaddexp(sums[0], -function(one, y[0]) / temperature)
      asked = jnp.logaddexp(sums[1], -function(x[0], other) / temperature)
      return (asking, asked), None

    nothing = jnp.full_like(function(x[0], y[0]), -jnp.inf)
    sums, _ = lax.scan(add, (nothing, nothing), (x[1:], y[1:]))
    return -temperature * ((sums[0] + sums[1]) / 2 - math.log(views))

  return between


def _parts(x: jax.Array, views: int) -> jax.Array:
  """`[A, (1 + V) D]` as `[1 + V, A, D]`."""
  rows, columns = x.shape
  if columns % (1 + views):
    raise ValueError(
      f"expected rows of {1 + views} parts of equal length, a mean and "
      f"{views} views, got {columns} numbers"
    )
  return x.reshape(rows, 1 + views, -1).transpose(1, 0, 2)
