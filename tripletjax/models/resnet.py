"""ResNet-18 and ResNet-50."""

from __future__ import annotations

from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from tripletjax.models.blocks import ConvNorm
from tripletjax.models.network import EmbeddingNetwork, block_of

# Images whose shorter side is below this many pixels keep it in the stem.
SMALL = 128


class _Block(nn.Module):
  """A block of a ResNet, beside a shortcut.

  Attributes:
    width: number of channels that its 3 x 3 convolution has.
    stride: of that convolution, and of the shortcut.
    train: see `ConvNorm`, as all that follow.
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
    """`[B, H, W, C]` to `[B, H / stride, W / stride, its channels]`."""
    shared: dict[str, Any] = {
      "train": self.train,
      "norm": self.norm,
      "axis_name": self.axis_name,
      "dtype": self.dtype,
    }
    y = self.convolved(x, shared)
    if self.stride > 1 or x.shape[-1] != y.shape[-1]:
      x = ConvNorm(
        y.shape[-1], size=1, stride=self.stride, name="shortcut", **shared
      )(x)
    return jax.nn.relu(x + y)

  def convolved(self, x: jax.Array, shared: dict[str, Any]) -> jax.Array:
    """What is beside the shortcut."""
    raise NotImplementedError


class Block(_Block):
  """Two convolutions of 3 x 3."""

  def convolved(self, x: jax.Array, shared: dict[str, Any]) -> jax.Array:
    """`[B, H, W, C]` to `[B, H / stride, W / stride, width]`."""
    x = ConvNorm(self.width, size=3, stride=self.stride, **shared)(x)
    return ConvNorm(self.width, size=3, stride=1, **shared)(jax.nn.relu(x))


class Bottleneck(_Block):
  """A convolution of 3 x 3 between two of 1 x 1, the last four times as wide.

  The stride is that of the 3 x 3 convolution, as in torchvision's weights; the
  paper has it in the first one.
  """

  def convolved(self, x: jax.Array, shared: dict[str, Any]) -> jax.Array:
    """`[B, H, W, C]` to `[B, H / stride, W / stride, 4 * width]`."""
    x = jax.nn.relu(ConvNorm(self.width, size=1, stride=1, **shared)(x))
    x = ConvNorm(self.width, size=3, stride=self.stride, **shared)(x)
    return ConvNorm(4 * self.width, size=1, stride=1, **shared)(jax.nn.relu(x))


class ResNet18(EmbeddingNetwork):
  """ResNet-18 (He et al., 2016, "Deep Residual Learning"), and a head.

  Four stages of two blocks, the latter three at half of the resolution of the
  one before, and the mean over the pixels. The stem is that of the paper (7 x 7
  with stride 2, then a maximum over 3 x 3 with stride 2) for images of 128
  pixels or more, and 3 x 3 with stride 1 for smaller ones, as the paper has it
  for CIFAR-10. `features` are the channels of the four stages.
  """

  WIDTHS: ClassVar[tuple[int, ...]] = (64, 128, 256, 512)
  DEPTHS: ClassVar[tuple[int, ...]] = (2, 2, 2, 2)
  BLOCK: ClassVar[type[nn.Module]] = Block

  def trunk(
    self, x: jax.Array, widths: tuple[int, ...], shared: dict[str, Any]
  ) -> jax.Array:
    """`[B, H, W, C]` to an eighth, or a 32nd, of the resolution."""
    small = min(x.shape[1:3]) < SMALL
    x = ConvNorm(
      widths[0], size=3 if small else 7, stride=1 if small else 2, **shared
    )(x)
    x = jax.nn.relu(x)
    if not small:
      # Padded with 0, the least that ReLU gives, in a step of its own: what
      # turns it into ONNX overlooks a padding of the maximum.
      x = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
      x = nn.max_pool(x, window_shape=(3, 3), strides=(2, 2))
    block = block_of(self.BLOCK, self)
    stages = enumerate(zip(widths, self.DEPTHS, strict=True))
    for stage, (width, depth) in stages:
      for number in range(depth):
        stride = 2 if stage and not number else 1
        name = f"stage_{stage + 1}_block_{number + 1}"
        x = block(width, stride=stride, name=name, **shared)(x)
    return x


class ResNet50(ResNet18):
  """ResNet-50 (He et al., 2016): `ResNet18` of 3, 4, 6 and 3 bottlenecks.

  `features` are the channels of the four stages' 3 x 3 convolutions; what comes
  out of a stage has four times as many.
  """

  DEPTHS: ClassVar[tuple[int, ...]] = (3, 4, 6, 3)
  BLOCK: ClassVar[type[nn.Module]] = Bottleneck
