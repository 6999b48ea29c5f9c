"""Sums of absolute differences without an array `[A, R, D]`."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float


@jax.custom_vjp
def absolute_differences(
  x: Float[Array, "a d"], y: Float[Array, "r d"]
) -> Float[Array, "a r"]:
  """`Σ |x_i - y_i|`, one dimension at a time, forwards and backwards."""

  def add(total: jax.Array, columns: tuple) -> tuple[jax.Array, None]:
    return total + jnp.abs(_differences(columns)), None

  zeros = jnp.zeros((x.shape[0], y.shape[0]), x.dtype)
  return lax.scan(add, zeros, (x.T, y.T))[0]


def _forward(x: jax.Array, y: jax.Array) -> tuple:
  return absolute_differences(x, y), (x, y)


def _backward(residuals: tuple, cotangent: jax.Array) -> tuple:
  x, y = residuals

  def one_dimension(columns: tuple) -> tuple[jax.Array, jax.Array]:
    slopes = cotangent * jnp.sign(_differences(columns))
    return slopes.sum(axis=1), -slopes.sum(axis=0)

  by_x, by_y = lax.map(one_dimension, (x.T, y.T))
  return by_x.T, by_y.T


absolute_differences.defvjp(_forward, _backward)


def _differences(columns: tuple[jax.Array, jax.Array]) -> jax.Array:
  return columns[0][:, None] - columns[1][None, :]
