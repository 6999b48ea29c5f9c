"""A value whose gradient was computed beside it."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp


@jax.custom_vjp
def with_gradients(values: jax.Array, inputs: Any, gradients: Any) -> jax.Array:
  """`values`, with `gradients` as what they are differentiated to.

  Args:
    values: a scalar, or one value for each row, `[A]`.
    inputs: a pytree of arrays; of rows, `[A, ...]`, where there are `[A]`
      values.
    gradients: the same, gradients of the value (of the row's value) by them.

  Returns:
    The values. What else they depend on is differentiated as usual.
  """
  del inputs, gradients
  return values


def _forward(values: jax.Array, inputs: Any, gradients: Any) -> tuple:
  del inputs
  return values, gradients


def _backward(gradients: Any, cotangent: jax.Array) -> tuple:
  def scaled(gradient: jax.Array) -> jax.Array:
    scale = cotangent
    if cotangent.ndim:
      scale = cotangent.reshape(-1, *(1,) * (gradient.ndim - 1))
    return scale.astype(gradient.dtype) * gradient

  zeros = jax.tree.map(jnp.zeros_like, gradients)
  return cotangent, jax.tree.map(scaled, gradients), zeros


with_gradients.defvjp(_forward, _backward)
