"""EfficientNet-Lite0."""

from __future__ import annotations

from typing import Any, ClassVar, NamedTuple

import jax
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from tripletjax.models.blocks import ConvNorm
from tripletjax.models.network import EmbeddingNetwork, block_of


class Stage(NamedTuple):
  """A stage of blocks.

  Attributes:
    depth: number of blocks.
    size: side of the depthwise kernel.
    stride: of its first block.
    expansion: how many times as wide the block is in the middle.
  """

  depth: int
  size: int
  stride: int
  expansion: int


STAGES = (
  Stage(1, 3, 1, 1),
  Stage(2, 3, 2, 6),
  Stage(2, 5, 2, 6),
  Stage(3, 3, 2, 6),
  Stage(3, 5, 1, 6),
  Stage(4, 5, 2, 6),
  Stage(1, 3, 1, 6),
)


class InvertedBottleneck(nn.Module):
  """Wider, a depthwise convolution, narrow again (Sandler et al., 2018).

  Attributes:
    width: number of channels that come out.
    size: side of the depthwise kernel.
    stride: of it.
    expansion: how many times as wide it is in the middle.
    train: see `ConvNorm`, as all that follow.
    norm: likewise.
    axis_name: likewise.
    dtype: likewise.
  """

  width: int
  size: int
  stride: int
  expansion: int
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
      "padding": "SAME",
      "epsilon": 1e-3,
    }
    y, middle = x, x.shape[-1] * self.expansion
    if self.expansion > 1:
      y = ConvNorm(middle, size=1, stride=1, name="expand", **shared)(y)
      y = jax.nn.relu6(y)
    y = ConvNorm(
      middle,
      size=self.size,
      stride=self.stride,
      depthwise=True,
      name="depthwise",
      **shared,
    )(y)
    y = ConvNorm(self.width, size=1, stride=1, name="project", **shared)(
      jax.nn.relu6(y)
    )
    return x + y if x.shape == y.shape else y


class EfficientNetLite0(EmbeddingNetwork):
  """EfficientNet-Lite0 (Tan & Le, 2019), without squeeze-and-excitation.

  16 inverted bottlenecks in seven stages, ReLU6 throughout, and the mean over
  the pixels. The borders are padded as TensorFlow does, by which its weights
  were trained. `features` are the channels of the stem, the seven stages and
  the last convolution. Depths at random (drop connect) isn't done.

  Attributes:
    stages: as in the paper; others for tests.
  """

  stages: tuple[Stage, ...] = STAGES

  WIDTHS: ClassVar[tuple[int, ...]] = (
    *(32, 16, 24, 40, 80, 112, 192, 320),
    1280,
  )

  def trunk(
    self, x: jax.Array, widths: tuple[int, ...], shared: dict[str, Any]
  ) -> jax.Array:
    """`[B, H, W, C]` to `[B, H / 32, W / 32, widths[-1]]`."""
    ours = {**shared, "padding": "SAME", "epsilon": 1e-3}
    x = ConvNorm(widths[0], size=3, stride=2, name="stem", **ours)(x)
    x = jax.nn.relu6(x)
    block, count = block_of(InvertedBottleneck, self), 0
    for stage, width in zip(self.stages, widths[1:-1], strict=True):
      for number in range(stage.depth):
        x = block(
          width,
          size=stage.size,
          stride=1 if number else stage.stride,
          expansion=stage.expansion,
          name=f"block_{count}",
          **shared,
        )(x)
        count += 1
    x = ConvNorm(widths[-1], size=1, stride=1, name="last", **ours)(x)
    return jax.nn.relu6(x)
