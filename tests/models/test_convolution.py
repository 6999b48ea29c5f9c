"""The convolution with gradients of its own: JAX's numbers, a fast program."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from tripletjax.models import ConvNet
from tripletjax.models import convolution as module
from tripletjax.models.convolution import convolution
from tripletjax.training.chunks import batch_value_and_grad

CASES = [
  # side, window, strides, padding: as the networks have them, and odd ones.
  ((8, 8), (3, 3), (2, 2), "SAME"),
  ((9, 9), (3, 3), (2, 2), [(1, 1), (1, 1)]),
  ((16, 16), (7, 7), (2, 2), [(3, 3), (3, 3)]),
  ((5, 5), (1, 1), (2, 2), [(0, 0), (0, 0)]),
  ((6, 7), (3, 2), (1, 3), [(0, 2), (1, 0)]),
  ((7, 6), (3, 3), (2, 1), "VALID"),
  ((4, 3), (1, 1), (1, 1), [(0, 0), (0, 0)]),
]


@pytest.mark.parametrize(("side", "window", "strides", "padding"), CASES)
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_value_and_gradients_are_those_of_jax(
  side, window, strides, padding, dtype
):
  rng = np.random.default_rng(0)
  # Small integers, whose sums are exact in bfloat16's products too.
  x = jnp.asarray(rng.integers(-2, 3, (3, *side, 4)), dtype)
  kernel = jnp.asarray(rng.integers(-2, 3, (*window, 4, 5)), dtype)

  def theirs(x, kernel):
    return lax.conv_general_dilated(
      x, kernel, strides, padding, dimension_numbers=("NHWC", "HWIO", "NHWC")
    )

  def pulled(function):
    value, pull = jax.vjp(function, x, kernel)
    return value, *pull(jnp.ones_like(value))

  found = jax.jit(
    lambda: pulled(lambda x, w: convolution(x, w, strides, padding))
  )()
  expected = pulled(theirs)
  for ours, other in zip(found, expected, strict=True):
    assert ours.dtype == dtype
    np.testing.assert_array_equal(
      np.asarray(ours, np.float32), np.asarray(other, np.float32)
    )


@pytest.mark.parametrize("count", [8, 11, 3])
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_blocks_of_images_add_up(count, dtype, monkeypatch):
  # An image of 6 x 6 x 4 is larger than its output of 3 x 3 x 5: blocks of 4,
  # the last of 3; 3 images are none.
  monkeypatch.setattr(
    module, "BLOCK", 4 * 6 * 6 * 4 * jnp.dtype(dtype).itemsize
  )
  rng = np.random.default_rng(count)
  x = jnp.asarray(rng.integers(-2, 3, (count, 6, 6, 4)), dtype)
  kernel = jnp.asarray(rng.integers(-2, 3, (3, 3, 4, 5)), dtype)
  by_output = jnp.asarray(rng.integers(-2, 3, (count, 3, 3, 5)), dtype)

  def pulled(function):
    return jax.vjp(lambda w: function(x, w), kernel)[1](by_output)[0]

  program = jax.jit(
    lambda: pulled(lambda x, w: convolution(x, w, (2, 2), "SAME"))
  ).lower()
  assert ("while" in program.as_text()) == (count > 4)
  expected = pulled(
    lambda x, w: lax.conv_general_dilated(
      x, w, (2, 2), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
  )
  found = program.compile()()
  assert found.dtype == dtype
  np.testing.assert_array_equal(
    np.asarray(found, np.float32), np.asarray(expected, np.float32)
  )


def test_a_gradient_in_a_loop_has_no_convolution_that_is_slow_there():
  # In other orders of the dimensions XLA for CPUs has plain loops, twenty times
  # slower; at the top of a program it would bring them into this one.
  # (For outputs of 2 x 2, which cost nothing, it chooses another by itself.)
  model = ConvNet(features=(4, 8), dimension=2, norm="group")
  images = jnp.zeros((8, 16, 16, 1))
  params = model.init(jax.random.key(0), images, train=False)["params"]
  run = batch_value_and_grad(
    lambda params, part: (
      model.apply({"params": params}, part["x"], train=True),
      {},
    ),
    lambda e, params: (jnp.sum(e @ e.T), None),
    chunk=4,
  )
  text = jax.jit(run).lower(params, {"x": images}).compile().as_text()
  lines = [line for line in text.splitlines() if " convolution(" in line]
  # Forward, twice, and three gradients; that by the images isn't needed.
  assert len(lines) >= 5
  for line in lines:
    assert "dim_labels=b01f_01io->b01f" in line, line
