"""A convolution and a norm: what convolutional networks are made of."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from tripletjax.models.convolution import convolution
from tripletjax.models.depthwise import depthwise_convolution
from tripletjax.models.layers import normalized


class ConvNorm(nn.Module):
  """A convolution without bias, and a norm.

  Attributes:
    width: number of channels that come out.
    size: side of the kernel, or its height and width.
    stride: of the kernel.
    train: whether a BatchNorm uses, and updates from, this batch's statistics.
    norm: a name from `NORMS`.
    axis_name: the axis of devices over which BatchNorm takes its statistics.
    dtype: what is computed in.
    padding: "SAME" or "VALID"; when empty, half of an odd kernel on each side,
      where SAME would pad a stride of 2 on one side only.
    epsilon: of BatchNorm.
    depthwise: whether each channel is convolved by itself; `width` is then the
      number that goes in.
  """

  width: int
  size: int | tuple[int, int]
  stride: int
  train: bool
  norm: str
  axis_name: str | None
  dtype: DTypeLike
  padding: str = ""
  epsilon: float = 1e-5
  depthwise: bool = False

  @nn.compact
  def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b i j k"]:
    """`[B, H, W, C]` to `[B, H / stride, W / stride, width]`."""
    size = self.size if isinstance(self.size, tuple) else (self.size,) * 2
    # Of a depthwise kernel flax counts the outputs of all channels as its own.
    init = nn.initializers.variance_scaling(
      2.0, "fan_in" if self.depthwise else "fan_out", "normal"
    )
    x = nn.Conv(
      self.width,
      size,
      strides=self.stride,
      padding=self.padding or [(side // 2, side // 2) for side in size],
      use_bias=False,
      kernel_init=init,
      dtype=self.dtype,
      feature_group_count=self.width if self.depthwise else 1,
      conv_general_dilated=(
        depthwise_convolution if self.depthwise else convolution
      ),
    )(x)
    return normalized(
      x,
      self.norm,
      train=self.train,
      axis_name=self.axis_name,
      epsilon=self.epsilon,
    )


def half_max(x: jax.Array) -> jax.Array:
  """The maximum of every 2 x 2 pixels; an odd last row or column is left out.

  A side of one pixel stays. Of equal pixels the first has the gradient. flax's
  max_pool takes as long as the convolutions of a small network on a CPU, and a
  gradient found by equality to the maximum is NaN where a compiler computes
  the pixels twice, with another rounding.

  Args:
    x: `[B, H, W, C]`.

  Returns:
    `[B, H // 2, W // 2, C]`.
  """
  _, height, width, _ = x.shape
  if height > 1:
    height -= height % 2
    x = _larger(x[:, 0:height:2], x[:, 1:height:2])
  if width > 1:
    width -= width % 2
    x = _larger(x[:, :, 0:width:2], x[:, :, 1:width:2])
  return x


def _larger(first: jax.Array, second: jax.Array) -> jax.Array:
  # A NaN in either stays.
  chosen = (first >= second) | jnp.isnan(first)
  return jnp.where(chosen, first, second)
