"""A convolution whose gradient is fast in a loop on a CPU too.

XLA for CPUs has fast convolutions for one order of the dimensions, and brings
others into it at the top of a program only, not inside of loops: there the
gradient by the kernel, as `jax.vjp` writes it, takes 20 times as long (a
ConvNet, 4 chunks of 256 images of 32 x 32, two cores: 12.7 s, in this form 0.6
s). So gradients are written in that order here. Other platforms get JAX's own.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from tripletjax.distances import at_least_float32

ORDER = ("NHWC", "HWIO", "NHWC")
# Bytes of the images of a block, before or after the convolution.
BLOCK = 2**19

Pads = tuple[tuple[int, int], ...]


def convolution(
  x: jax.Array,
  kernel: jax.Array,
  strides: Sequence[int],
  padding: str | Sequence[tuple[int, int]],
  *,
  precision: lax.PrecisionLike = None,
  **others: Any,
) -> jax.Array:
  """`lax.conv_general_dilated` of images, undilated; for flax's `Conv`.

  Args:
    x: `[B, H, W, C]`.
    kernel: `[h, w, C, D]`.
    strides: of both dimensions.
    padding: pixels before and after in both dimensions, or "SAME" or "VALID".
    precision: of the products.
    **others: as flax passes them; none may change the result.

  Returns:
    `[B, H', W', D]`.
  """
  del others
  strides = tuple(strides)
  if isinstance(padding, str):
    padding = lax.padtype_to_pads(
      x.shape[1:3], kernel.shape[:2], strides, padding
    )
  pads = tuple((before, after) for before, after in padding)
  return _convolution(x, kernel, strides, pads, precision)


def _plain(
  x: jax.Array,
  kernel: jax.Array,
  strides: tuple[int, ...],
  pads: Pads,
  precision: lax.PrecisionLike,
) -> jax.Array:
  return lax.conv_general_dilated(
    x, kernel, strides, pads, dimension_numbers=ORDER, precision=precision
  )


_convolution = jax.custom_vjp(_plain, nondiff_argnums=(2, 3, 4))


def _forward(
  x: jax.Array, kernel: jax.Array, *how: Any
) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
  return _plain(x, kernel, *how), (x, kernel)


def _backward(
  strides: tuple[int, ...],
  pads: Pads,
  precision: lax.PrecisionLike,
  saved: tuple[jax.Array, jax.Array],
  by_output: jax.Array,
) -> tuple[jax.Array, jax.Array]:
  how = (strides, pads, precision)

  def jax_own(
    x: jax.Array, kernel: jax.Array, by_output: jax.Array
  ) -> tuple[jax.Array, jax.Array]:
    _, pull = jax.vjp(lambda x, kernel: _plain(x, kernel, *how), x, kernel)
    return pull(by_output)

  return lax.platform_dependent(
    *saved,
    by_output,
    cpu=functools.partial(_in_order, how=how),
    default=jax_own,
  )


def _in_order(
  x: jax.Array, kernel: jax.Array, by_output: jax.Array, *, how: Any
) -> tuple[jax.Array, jax.Array]:
  """The gradients by `x` and by the kernel, as convolutions in `ORDER`.

  Those of a kernel of one pixel are products of matrices, which take half as
  long.
  """
  strides, pads, precision = how
  if kernel.shape[:2] == strides == (1, 1) and pads == ((0, 0), (0, 0)):
    to_x = jnp.einsum(
      "bhwd,cd->bhwc", by_output, kernel[0, 0], precision=precision
    )
    to_kernel = jnp.einsum("bhwc,bhwd->cd", x, by_output, precision=precision)
    return to_x, to_kernel[None, None]
  sizes = zip(
    x.shape[1:3],
    kernel.shape[:2],
    by_output.shape[1:3],
    strides,
    pads,
    strict=True,
  )
  by_x_pads, by_kernel_pads = [], []
  for size, window, out, stride, (before, _) in sizes:
    spread = (out - 1) * stride + 1
    first = window - 1 - before
    by_x_pads.append((first, size + window - 1 - spread - first))
    by_kernel_pads.append((before, spread + window - 1 - size - before))
  # Each output pixel gives to the input pixels that it came from.
  by_x = lax.conv_general_dilated(
    by_output,
    kernel[::-1, ::-1].transpose(0, 1, 3, 2),
    (1, 1),
    by_x_pads,
    lhs_dilation=strides,
    dimension_numbers=ORDER,
    precision=precision,
  )

  def by_kernel(x: jax.Array, by_output: jax.Array) -> jax.Array:
    # Channels in the place of images, and images in that of channels.
    found = lax.conv_general_dilated(
      x.transpose(3, 1, 2, 0),
      by_output.transpose(1, 2, 0, 3),
      (1, 1),
      by_kernel_pads,
      rhs_dilation=strides,
      dimension_numbers=ORDER,
      precision=precision,
    )
    return found.transpose(1, 2, 0, 3)

  return by_x, _over_images(by_kernel, x, by_output)


def _over_images(
  part_fn: Callable[[jax.Array, jax.Array], jax.Array],
  x: jax.Array,
  by_output: jax.Array,
) -> jax.Array:
  """The sum of `part_fn` over blocks of images that stay in a core's cache.

  Turning a whole batch around takes longer than the convolution itself (256
  images of 16 x 16 x 32, two busy cores: 26 ms of their time, in blocks 10).
  """
  largest = max(x[0].size * x.itemsize, by_output[0].size * by_output.itemsize)
  size = max(1, BLOCK // largest)
  blocks = len(x) // size
  if blocks < 2:
    return part_fn(x, by_output)

  def add(number: jax.Array, total: jax.Array) -> jax.Array:
    # Slices, and not a reshaped batch, which XLA would compute a second time.
    part = part_fn(
      *(
        lax.dynamic_slice_in_dim(images, number * size, size)
        for images in (x, by_output)
      )
    )
    return total + part.astype(total.dtype)

  found = part_fn(x[blocks * size :], by_output[blocks * size :])
  # In float32 at least, as within a block.
  total = lax.fori_loop(0, blocks, add, at_least_float32(found))
  return total.astype(found.dtype)


_convolution.defvjp(_forward, _backward)
