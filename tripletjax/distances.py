"""Pairwise distances, rectangular: `[A, D]` against `[R, D]` gives `[A, R]`.

All are computed in float32 at least, with the matrix product at `HIGHEST`
precision: on an accelerator the default rounds its inputs to bfloat16, which
is coarser than the gaps that a miner compares.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from tripletjax.manhattan import absolute_differences
from tripletjax.registry import resolve
from tripletjax.types import DistanceFn, DistanceParts


def at_least_float32(x: Float[Array, "..."]) -> Float[Array, "..."]:
  """The array in float32, or in float64 if it is.

  bfloat16 has 8 bits of mantissa: `|x|² - 2 x·y` would lose small distances.
  """
  return x if x.dtype.itemsize >= 4 else x.astype(jnp.float32)


def squared_euclidean_distance(
  x: Float[Array, "a d"],
  y: Float[Array, "r d"],
  *,
  precision: lax.PrecisionLike = lax.Precision.HIGHEST,
) -> Float[Array, "a r"]:
  """Squared Euclidean distance, `|x|² + |y|² - 2 x·y`.

  The distance of FaceNet (Schroff et al., 2015). The expanded form needs one
  matrix product and no `[A, R, D]` array; where rounding makes it negative the
  value is 0 and the gradient that of the formula, so that points closer than
  the rounding error are still pushed apart.
  """
  return _squared(_with_squares(x), _with_squares(y), precision)


def _with_squares(x: jax.Array) -> tuple[jax.Array, jax.Array]:
  x = at_least_float32(x)
  return x, jnp.sum(x * x, axis=1)


def _squared(
  x: tuple, y: tuple, precision: lax.PrecisionLike = lax.Precision.HIGHEST
) -> jax.Array:
  # The factor belongs to the smaller array, which changes no digit: XLA would
  # write and read a whole matrix of twos.
  product = _dot(-2 * x[0], y[0], precision)
  squared = x[1][:, None] + y[1][None, :] + product
  return squared - lax.stop_gradient(jnp.minimum(squared, 0))


def euclidean_distance(
  x: Float[Array, "a d"],
  y: Float[Array, "r d"],
  *,
  precision: lax.PrecisionLike = lax.Precision.HIGHEST,
) -> Float[Array, "a r"]:
  """Euclidean distance; its gradient at distance zero is zero."""
  return _root(_with_squares(x), _with_squares(y), precision)


def _root(
  x: tuple, y: tuple, precision: lax.PrecisionLike = lax.Precision.HIGHEST
) -> jax.Array:
  return _safe_sqrt(_squared(x, y, precision))


def cosine_distance(
  x: Float[Array, "a d"],
  y: Float[Array, "r d"],
  *,
  precision: lax.PrecisionLike = lax.Precision.HIGHEST,
) -> Float[Array, "a r"]:
  """Cosine distance, `1 - cos(x, y)`, in [0, 2]; a zero vector is at 1."""
  return _one_minus(directions(x), directions(y), precision)


def directions(x: Float[Array, "n d"]) -> Float[Array, "n d"]:
  """Each row's direction, in float32 at least."""
  return l2_normalize(at_least_float32(x))


def _one_minus(
  x: jax.Array,
  y: jax.Array,
  precision: lax.PrecisionLike = lax.Precision.HIGHEST,
) -> jax.Array:
  return 1 - _dot(x, y, precision)


def l2_normalize(x: Float[Array, "n d"]) -> Float[Array, "n d"]:
  """Each row divided by its length; a zero row stays zero, gradient zero."""
  norm = _safe_sqrt(jnp.sum(x * x, axis=1, keepdims=True))
  return x / jnp.where(norm > 0, norm, 1)


def dot_distance(
  x: Float[Array, "a d"],
  y: Float[Array, "r d"],
  *,
  precision: lax.PrecisionLike = lax.Precision.HIGHEST,
) -> Float[Array, "a r"]:
  """The negative dot product, `-x·y`: smaller is more alike, not a metric."""
  return _negative(at_least_float32(x), at_least_float32(y), precision)


def _negative(
  x: jax.Array,
  y: jax.Array,
  precision: lax.PrecisionLike = lax.Precision.HIGHEST,
) -> jax.Array:
  return -_dot(x, y, precision)


def angular_distance(
  x: Float[Array, "a d"],
  y: Float[Array, "r d"],
  *,
  precision: lax.PrecisionLike = lax.Precision.HIGHEST,
) -> Float[Array, "a r"]:
  """The angle between the rows, radians in [0, π]; a zero vector is at π/2.

  A cosine within its rounding error of ±1 is taken as ±1, that is angles below
  7e-4 as 0 in float32; the gradient is 0 there, where that of arccos is
  infinite.
  """
  return _angle(directions(x), directions(y), precision)


def _angle(
  x: jax.Array,
  y: jax.Array,
  precision: lax.PrecisionLike = lax.Precision.HIGHEST,
) -> jax.Array:
  cosine = 1 - _one_minus(x, y, precision)
  outside = jnp.abs(cosine) >= 1 - 2 * jnp.finfo(cosine.dtype).eps
  # Double where: see `_safe_sqrt`.
  angle = jnp.arccos(jnp.where(outside, 0, cosine))
  return jnp.where(outside, jnp.where(cosine > 0, 0, jnp.pi), angle)


def manhattan_distance(
  x: Float[Array, "a d"],
  y: Float[Array, "r d"],
  *,
  precision: lax.PrecisionLike = lax.Precision.HIGHEST,
) -> Float[Array, "a r"]:
  """Manhattan distance, `Σ |x_i - y_i|`; its gradient at equality is 0.

  One dimension at a time, forwards and backwards: there is no `[A, R, D]`
  array, and no product that `precision` would be for.
  """
  del precision
  return absolute_differences(at_least_float32(x), at_least_float32(y))


DISTANCES: Mapping[str, DistanceFn] = {
  "squared_euclidean": squared_euclidean_distance,
  "euclidean": euclidean_distance,
  "cosine": cosine_distance,
  "dot": dot_distance,
  "angular": angular_distance,
  "manhattan": manhattan_distance,
}


# What each is made of; Manhattan has nothing of a row by itself.
PARTS: Mapping[DistanceFn, DistanceParts] = {
  squared_euclidean_distance: DistanceParts(_with_squares, _squared),
  euclidean_distance: DistanceParts(_with_squares, _root),
  cosine_distance: DistanceParts(directions, _one_minus),
  dot_distance: DistanceParts(at_least_float32, _negative),
  angular_distance: DistanceParts(directions, _angle),
}


def pairwise_distance(
  x: ArrayLike,
  y: ArrayLike | None = None,
  *,
  distance: str | DistanceFn = "squared_euclidean",
  precision: lax.PrecisionLike = None,
) -> Float[Array, "a r"]:
  """Distances between all rows of `x` and all rows of `y`.

  Args:
    x: embeddings, `[A, D]`, floating.
    y: other embeddings, `[R, D]`; `x` itself when None.
    distance: a name from `DISTANCES`, or a function of `x` and `y`.
    precision: of the matrix product of a named distance; `HIGHEST` when None.

  Returns:
    Distances, `[A, R]`, float32 (float64 for float64 embeddings).

  Raises:
    TypeError: the embeddings are not floating.
    ValueError: a shape doesn't fit, or the distance is unknown.

  >>> pairwise_distance(jnp.array([[0.0, 0.0], [3.0, 4.0]])).tolist()
  [[0.0, 25.0], [25.0, 0.0]]
  """
  x = check_embeddings(x, "x")
  y = x if y is None else check_embeddings(y, "y")
  if x.shape[1] != y.shape[1]:
    raise ValueError(
      f"expected y with {x.shape[1]} dimensions like x, got {y.shape[1]}"
    )
  return resolve_distance(distance, precision=precision)(x, y)


def resolve_distance(
  distance: str | DistanceFn, *, precision: lax.PrecisionLike = None
) -> DistanceFn:
  """The distance that a name stands for; a function is itself.

  Args:
    distance: a name from `DISTANCES`, or a function.
    precision: of the matrix product of a named distance; `HIGHEST` when None.

  Raises:
    ValueError: the name is unknown, or a precision is given for a function.
  """
  function: Callable[..., jax.Array] = resolve(distance, DISTANCES, "distance")
  if precision is None:
    return function
  if callable(distance):
    raise ValueError(
      f"expected precision with a named distance only, got {distance!r}"
    )
  return functools.partial(function, precision=precision)


def normalized(distance: str | DistanceFn) -> DistanceFn:
  """A distance between the L2-normalised rows, on the unit sphere.

  >>> points = jnp.array([[3.0, 0.0], [0.0, 0.5]])
  >>> pairwise_distance(points, distance=normalized("squared_euclidean"))
  Array([[0., 2.],
         [2., 0.]], dtype=float32)
  """
  return functools.partial(on_the_sphere, function=resolve_distance(distance))


def on_the_sphere(
  x: jax.Array, y: jax.Array, *, function: DistanceFn
) -> jax.Array:
  """A distance between the L2-normalised rows."""
  return function(directions(x), directions(y))


def check_embeddings(embeddings: ArrayLike, name: str) -> jax.Array:
  """Embeddings as an array, or a `TypeError` / `ValueError` that names them."""
  array = jnp.asarray(embeddings)
  if not jnp.issubdtype(array.dtype, jnp.floating):
    raise TypeError(f"expected {name} to be floating, got {array.dtype}")
  if array.ndim != 2:
    raise ValueError(
      f"expected {name} of shape [count, dimension], got shape {array.shape}"
    )
  return array


def _dot(x: jax.Array, y: jax.Array, precision: lax.PrecisionLike) -> jax.Array:
  return jnp.matmul(x, y.T, precision=precision)


@jax.custom_jvp
def _safe_sqrt(squared: jax.Array) -> jax.Array:
  """The root, 0 of what rounding made negative; its gradient at 0 is 0."""
  return jnp.sqrt(jnp.maximum(squared, 0))


@_safe_sqrt.defjvp
def _by_root(primals: tuple, tangents: tuple) -> tuple:
  # By the root alone: no gradient has to keep the squares beside it.
  root = _safe_sqrt(*primals)
  # Double where: sqrt'(0) is infinite, and inf * 0 would be NaN in the gradient
  # of the branch that was not taken.
  zero = root == 0
  slope = jnp.where(zero, 0, 0.5 / jnp.where(zero, 1, root))
  return root, slope * tangents[0]
