"""ResNet-18."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Key

from tripletjax.distances import l2_normalize
from tripletjax.models.convolution import convolution
from tripletjax.models.layers import example_dropout, normalized

# Channels of the four stages of the paper.
WIDTHS = (64, 128, 256, 512)
# Images whose shorter side is below this many pixels keep it in the stem.
SMALL = 128


class ResNet18(nn.Module):
  """ResNet-18 (He et al., 2016, "Deep Residual Learning"), and a Dense.

  Four stages of two blocks, the latter three at half of the resolution of the
  one before, and the mean over the pixels. The stem is that of the paper (7 x 7
  with stride 2, then a maximum over 3 x 3 with stride 2) for images of 128
  pixels or more, and 3 x 3 with stride 1 for smaller ones, as the paper has it
  for CIFAR-10.

  Attributes:
    features: channels of the four stages; those of the paper when empty.
    dimension: length of the embedding.
    normalize: whether embeddings are put on the unit sphere, as in FaceNet.
    axis_name: the axis of devices over which BatchNorm takes its statistics.
    norm: a name from `NORMS`.
    dropout: probability that a feature before the Dense is dropped.
    dtype: what is computed in; parameters and embeddings are float32.
    remat: whether the blocks' activations are computed again for the gradient,
      and not kept (Chen et al., 2016). XLA undoes it for CPUs.
  """

  features: Sequence[int]
  dimension: int
  normalize: bool = True
  axis_name: str | None = None
  norm: str = "batch"
  dropout: float = 0.0
  dtype: DTypeLike = jnp.float32
  remat: bool = False

  @nn.compact
  def __call__(
    self,
    images: Float[Array, "b h w c"],
    *,
    train: bool,
    keys: Key[Array, " b"] | None = None,
  ) -> Float[Array, "b d"]:
    """Embeds images with values in [0, 1].

    Args:
      images: `[B, H, W, C]`.
      train: whether BatchNorm uses, and updates from, this batch's statistics.
      keys: a PRNG key for each image, by which features are dropped.

    Returns:
      Embeddings, float32 `[B, dimension]`.
    """
    widths = tuple(self.features) or WIDTHS
    shared: dict[str, Any] = {
      "train": train,
      "norm": self.norm,
      "axis_name": self.axis_name,
      "dtype": self.dtype,
    }
    small = min(images.shape[1:3]) < SMALL
    x = ConvNorm(
      widths[0], size=3 if small else 7, stride=1 if small else 2, **shared
    )(images)
    x = jax.nn.relu(x)
    if not small:
      x = nn.max_pool(x, (3, 3), strides=(2, 2), padding=((1, 1), (1, 1)))
    block = nn.remat(Block) if self.remat else Block
    for stage, width in enumerate(widths):
      for number in range(2):
        stride = 2 if stage and not number else 1
        name = f"stage_{stage + 1}_block_{number + 1}"
        x = block(width, stride=stride, name=name, **shared)(x)
    x = jnp.mean(x, axis=(1, 2), dtype=jnp.float32).astype(self.dtype)
    x = example_dropout(x, self.dropout, keys)
    x = nn.Dense(self.dimension, dtype=self.dtype)(x).astype(jnp.float32)
    return l2_normalize(x) if self.normalize else x


class ConvNorm(nn.Module):
  """A convolution without bias, and a norm.

  Attributes:
    width: number of channels that come out.
    size: side of the kernel.
    stride: of the kernel.
    train: see `ResNet18`, as all that follow.
    norm: likewise.
    axis_name: likewise.
    dtype: likewise.
  """

  width: int
  size: int
  stride: int
  train: bool
  norm: str
  axis_name: str | None
  dtype: DTypeLike

  @nn.compact
  def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b i j k"]:
    """`[B, H, W, C]` to `[B, H / stride, W / stride, width]`."""
    x = nn.Conv(
      self.width,
      (self.size, self.size),
      strides=self.stride,
      # Of an odd kernel, the same on both sides: SAME would pad a stride of 2
      # on one side only.
      padding=self.size // 2,
      use_bias=False,
      kernel_init=nn.initializers.variance_scaling(2.0, "fan_out", "normal"),
      dtype=self.dtype,
      conv_general_dilated=convolution,
    )(x)
    return normalized(x, self.norm, train=self.train, axis_name=self.axis_name)


class Block(nn.Module):
  """Two convolutions of 3 x 3 beside a shortcut.

  Attributes:
    width: number of channels that come out.
    stride: of the first convolution, and of the shortcut.
    train: see `ResNet18`, as all that follow.
    norm: likewise.
    axis_name: likewise.
    dtype: likewise.
  """

  width: int
  stride: int
  train: bool
  norm: str
  axis_name: str | None
  dtype: DTypeLike

  @nn.compact
  def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b i j k"]:
    """`[B, H, W, C]` to `[B, H / stride, W / stride, width]`."""
    shared: dict[str, Any] = {
      "train": self.train,
      "norm": self.norm,
      "axis_name": self.axis_name,
      "dtype": self.dtype,
    }
    y = ConvNorm(self.width, size=3, stride=self.stride, **shared)(x)
    y = ConvNorm(self.width, size=3, stride=1, **shared)(jax.nn.relu(y))
    if self.stride > 1 or x.shape[-1] != self.width:
      x = ConvNorm(
        self.width, size=1, stride=self.stride, name="shortcut", **shared
      )(x)
    return jax.nn.relu(x + y)
