"""The depthwise convolution: JAX's numbers, without a convolution in groups."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from tripletjax.models.depthwise import depthwise_convolution

CASES = [
  # side, window, strides, padding: as the networks have them, and odd ones.
  ((8, 8), (3, 3), (1, 1), "SAME"),
  ((9, 6), (3, 3), (2, 2), "SAME"),
  ((8, 7), (5, 5), (2, 2), "SAME"),
  ((2, 3), (5, 5), (1, 1), "SAME"),
  ((1, 1), (5, 5), (2, 2), "SAME"),
  ((6, 7), (3, 2), (1, 3), [(0, 2), (1, 0)]),
  ((7, 6), (3, 3), (2, 1), "VALID"),
  # The last rows and columns are seen by nothing.
  ((8, 9), (2, 2), (3, 4), "VALID"),
]


def arrays(side, window, dtype):
  rng = np.random.default_rng(0)
  # Small integers, whose sums are exact in bfloat16 too.
  x = jnp.asarray(rng.integers(-2, 3, (3, *side, 4)), dtype)
  return x, jnp.asarray(rng.integers(-2, 3, (*window, 1, 4)), dtype)


@pytest.mark.parametrize(
  ("side", "window", "strides", "padding", "dtype"),
  [
    *((*case, jnp.float32) for case in CASES),
    *((*case, jnp.bfloat16) for case in CASES[1:6:4]),
  ],
)
def test_value_and_gradients_are_those_of_jax(
  side, window, strides, padding, dtype
):
  x, kernel = arrays(side, window, dtype)

  def theirs(x, kernel):
    return lax.conv_general_dilated(
      x,
      kernel,
      strides,
      padding,
      dimension_numbers=("NHWC", "HWIO", "NHWC"),
      feature_group_count=4,
    )

  def pulled(function):
    value, pull = jax.vjp(function, x, kernel)
    return value, *pull(jnp.ones_like(value))

  found = jax.jit(
    lambda: pulled(lambda x, w: depthwise_convolution(x, w, strides, padding))
  )()
  for ours, other in zip(found, pulled(theirs), strict=True):
    assert ours.dtype == dtype
    np.testing.assert_array_equal(
      np.asarray(ours, np.float32), np.asarray(other, np.float32)
    )


def test_the_compiled_program_has_no_convolution_at_all():
  x, kernel = arrays((8, 8), (3, 3), jnp.float32)

  def loss(x, kernel):
    return jnp.sum(depthwise_convolution(x, kernel, (2, 2), "SAME") ** 2)

  lowered = jax.jit(jax.grad(loss, argnums=(0, 1))).lower(x, kernel)
  assert " convolution(" not in lowered.compile().as_text()


def test_it_can_be_mapped_over_networks():
  x, kernel = arrays((6, 6), (3, 3), jnp.float32)
  kernels = jnp.stack([kernel, 2 * kernel])

  def loss(kernel):
    return jnp.sum(depthwise_convolution(x, kernel, (1, 1), "SAME") ** 2)

  found = jax.jit(jax.vmap(jax.grad(loss)))(kernels)
  alone = jax.jit(jax.grad(loss))
  expected = [alone(kernel) for kernel in kernels]
  np.testing.assert_allclose(found, expected, rtol=1e-6)
