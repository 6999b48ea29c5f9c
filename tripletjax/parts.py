"""What is known of a distance function, looked at from outside."""

from __future__ import annotations

import functools

from tripletjax.distances import DISTANCES, PARTS, directions, on_the_sphere
from tripletjax.types import DistanceFn, DistanceParts


def in_parts(distance_fn: DistanceFn) -> DistanceParts:
  """A distance as what belongs to each row by itself, and what to the pairs.

  Where rows are compared with many blocks of others, the first is computed
  once. Of a distance that isn't one of `PARTS`, of any precision and on the
  unit sphere, all belongs to the pairs.

  >>> import jax.numpy as jnp
  >>> parts = in_parts(DISTANCES["squared_euclidean"])
  >>> x, y = (parts.prepare(jnp.array([[v]])) for v in (1.0, 3.0))
  >>> parts.between(x, y).item()
  4.0
  """
  if isinstance(distance_fn, functools.partial):
    if distance_fn.func is on_the_sphere:
      inner = in_parts(distance_fn.keywords["function"])
      return inner._replace(prepare=lambda x: inner.prepare(directions(x)))
    inner = in_parts(distance_fn.func)
    if inner.between is not distance_fn.func:
      between = functools.partial(inner.between, **distance_fn.keywords)
      return inner._replace(between=between)
  for function, parts in PARTS.items():
    if function is distance_fn:
      return parts
  return DistanceParts(lambda x: x, distance_fn)


def is_symmetric(distance_fn: DistanceFn) -> bool:
  """Whether a distance is known to be d(y, x) = d(x, y): those of `DISTANCES`.

  Of any precision, and on the unit sphere. `tests/test_distances.py` holds it.
  """
  while isinstance(distance_fn, functools.partial):
    inner = distance_fn.func
    if inner is on_the_sphere:
      inner = distance_fn.keywords["function"]
    distance_fn = inner
  return distance_fn in DISTANCES.values()
