"""Inception-ResNet-v1, the network of the open FaceNets."""

from __future__ import annotations

from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from tripletjax.models.blocks import ConvNorm
from tripletjax.models.network import EmbeddingNetwork, block_of

# The first convolution's channels, of which all others are multiples.
BASE = 32
# Images whose shorter side is below this would have no pixel left at the end:
# of these the borders are padded.
LEAST = 75


class ConvRelu(nn.Module):
  """A convolution, a norm and a ReLU.

  Attributes:
    width: number of channels that come out.
    size: of the kernel.
    stride: of it.
    train: see `ConvNorm`, as all that follow.
    norm: likewise.
    axis_name: likewise.
    dtype: likewise.
    padding: likewise.
  """

  width: int
  size: int | tuple[int, int]
  stride: int
  train: bool
  norm: str
  axis_name: str | None
  dtype: DTypeLike
  padding: str = "SAME"

  @nn.compact
  def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b i j k"]:
    """`[B, H, W, C]` to `[B, H / stride, W / stride, width]`."""
    return jax.nn.relu(
      ConvNorm(
        self.width,
        size=self.size,
        stride=self.stride,
        train=self.train,
        norm=self.norm,
        axis_name=self.axis_name,
        dtype=self.dtype,
        padding=self.padding,
        epsilon=1e-3,
        name="layer",
      )(x)
    )


# Branches of a block: of each its layers, as channels and size of the kernel.
Branches = tuple[tuple[tuple[int, int | tuple[int, int]], ...], ...]


class Residual(nn.Module):
  """Branches side by side, brought to the width of the input, and added to it.

  Attributes:
    branches: channels and size of the layers of each.
    scale: what is added is multiplied by this.
    last: whether the ReLU at the end is left out.
    train: see `ConvNorm`, as all that follow.
    norm: likewise.
    axis_name: likewise.
    dtype: likewise.
  """

  branches: Branches
  scale: float
  train: bool
  norm: str
  axis_name: str | None
  dtype: DTypeLike
  last: bool = False

  @nn.compact
  def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
    """`[B, H, W, C]` of the same shape."""
    shared: dict[str, Any] = {
      "train": self.train,
      "norm": self.norm,
      "axis_name": self.axis_name,
      "dtype": self.dtype,
    }
    found = []
    for branch, layers in enumerate(self.branches):
      y = x
      for number, (width, size) in enumerate(layers):
        name = f"branch{branch}_{number}"
        y = ConvRelu(width, size=size, stride=1, name=name, **shared)(y)
      found.append(y)
    y = nn.Dense(x.shape[-1], dtype=self.dtype, name="conv2d")(
      jnp.concatenate(found, axis=-1)
    )
    x = x + self.scale * y
    return x if self.last else jax.nn.relu(x)


class InceptionResNetV1(EmbeddingNetwork):
  """Inception-ResNet-v1 (Szegedy et al., 2017) as the open FaceNets have it.

  That of davidsandberg/facenet and facenet-pytorch, for faces of 160 x 160;
  their last layers are `head="linear_norm"` of dimension 512, and their pixels
  `pixels="facenet"`. Borders aren't padded before the second reduction, unless
  the shorter side is below 75 pixels, where nothing would be left. `features`
  is one number, even: the first convolution's channels, 32 in the paper, of
  which all others are multiples.

  Attributes:
    depths: blocks of each of the three kinds; others than the paper's for
      tests.
  """

  depths: tuple[int, int, int] = (5, 10, 5)

  WIDTHS: ClassVar[tuple[int, ...]] = (BASE,)

  def trunk(
    self, x: jax.Array, widths: tuple[int, ...], shared: dict[str, Any]
  ) -> jax.Array:
    """`[B, H, W, C]` to `[B, h, w, 56 * widths[0]]`; 160 pixels to 3."""
    padding = "VALID" if min(x.shape[1:3]) >= LEAST else "SAME"

    def wide(channels: int) -> int:
      return channels * widths[0] // BASE

    def layer(
      name: str,
      x: jax.Array,
      channels: int,
      size: int,
      stride: int = 1,
      padding: str = padding,
    ) -> jax.Array:
      return ConvRelu(
        wide(channels),
        size=size,
        stride=stride,
        padding=padding,
        name=name,
        **shared,
      )(x)

    def maximum(x: jax.Array) -> jax.Array:
      return nn.max_pool(
        x, window_shape=(3, 3), strides=(2, 2), padding=padding
      )

    def reduced(name: str, x: jax.Array, branches: Any) -> jax.Array:
      found = []
      for branch, layers in enumerate(branches):
        y = x
        for number, (channels, size, stride) in enumerate(layers):
          part = f"{name}_branch{branch}_{number}"
          pad = padding if stride > 1 else "SAME"
          y = layer(part, y, channels, size, stride, pad)
        found.append(y)
      return jnp.concatenate([*found, maximum(x)], axis=-1)

    def repeated(
      name: str, x: jax.Array, branches: Any, scale: float, **more: Any
    ) -> jax.Array:
      scaled = tuple(
        tuple((wide(channels), size) for channels, size in layers)
        for layers in branches
      )
      return block_of(Residual, self)(
        scaled, scale=scale, name=name, **more, **shared
      )(x)

    x = layer("conv2d_1a", x, 32, 3, 2)
    x = layer("conv2d_2a", x, 32, 3)
    x = layer("conv2d_2b", x, 64, 3, padding="SAME")
    x = maximum(x)
    x = layer("conv2d_3b", x, 80, 1)
    x = layer("conv2d_4a", x, 192, 3)
    x = layer("conv2d_4b", x, 256, 3, 2)
    for number in range(self.depths[0]):
      x = repeated(f"repeat_1_{number}", x, _BLOCK35, 0.17)
    x = reduced("mixed_6a", x, _MIXED_6A)
    for number in range(self.depths[1]):
      x = repeated(f"repeat_2_{number}", x, _BLOCK17, 0.10)
    x = reduced("mixed_7a", x, _MIXED_7A)
    for number in range(self.depths[2]):
      x = repeated(f"repeat_3_{number}", x, _BLOCK8, 0.20)
    return repeated("block8", x, _BLOCK8, 1.0, last=True)


# Channels, kernel; of the reductions the stride too. A pooling goes with those.
_BLOCK35 = (((32, 1),), ((32, 1), (32, 3)), ((32, 1), (32, 3), (32, 3)))
_BLOCK17 = (((128, 1),), ((128, 1), (128, (1, 7)), (128, (7, 1))))
_BLOCK8 = (((192, 1),), ((192, 1), (192, (1, 3)), (192, (3, 1))))
_MIXED_6A = (((384, 3, 2),), ((192, 1, 1), (192, 3, 1), (256, 3, 2)))
_MIXED_7A = (
  ((256, 1, 1), (384, 3, 2)),
  ((256, 1, 1), (256, 3, 2)),
  ((256, 1, 1), (256, 3, 1), (256, 3, 2)),
)
