"""Small ConvNets for small pictures."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import jax
from flax import linen as nn

from tripletjax.models.blocks import ConvNorm, half_max
from tripletjax.models.convolution import convolution
from tripletjax.models.layers import normalized
from tripletjax.models.network import EmbeddingNetwork, block_of


class ConvNet(EmbeddingNetwork):
  """Blocks of 3 x 3 convolution with stride 2, norm and ReLU; a head.

  The stride does the pooling: on a CPU a max-pool costs as much as the
  convolutions of so small a network. `features` are the channels of each block,
  as many as there are; its own pooling is none: the head sees all pixels.
  """

  POOLING: ClassVar[str] = "flatten"
  # How many of the blocks have the stride, the first ones.
  HALVINGS: ClassVar[float] = math.inf

  def trunk(
    self, x: jax.Array, widths: tuple[int, ...], shared: dict[str, Any]
  ) -> jax.Array:
    """`[B, H, W, C]` to `[B, H / 2^n, W / 2^n, widths[-1]]`, n strides."""

    def block(
      module: nn.Module, x: jax.Array, features: int, stride: int
    ) -> jax.Array:
      del module
      x = nn.Conv(
        features,
        (3, 3),
        strides=stride,
        use_bias=False,
        dtype=self.dtype,
        conv_general_dilated=convolution,
      )(x)
      return jax.nn.relu(
        normalized(
          x,
          self.norm,
          train=shared["train"],
          axis_name=self.axis_name,
        )
      )

    if self.remat:
      block = nn.remat(block, static_argnums=(2, 3))
    for number, features in enumerate(widths):
      x = block(self, x, features, 2 if number < self.HALVINGS else 1)
    return x


class ConvNetFine(ConvNet):
  """As `ConvNet`, but only the first two blocks have a stride of 2.

  So that there are more places: 7 x 7 of 28 x 28 pixels, however many blocks.
  """

  HALVINGS: ClassVar[float] = 2


class ConvNet4(EmbeddingNetwork):
  """Four blocks of 3 x 3 convolution, norm, ReLU and a maximum over 2 x 2.

  The network of few-shot papers (Vinyals et al., 2016; Snell et al., 2017), 64
  channels in each block, and a head that sees all pixels of the last one.
  """

  WIDTHS: ClassVar[tuple[int, ...]] = (64, 64, 64, 64)
  POOLING: ClassVar[str] = "flatten"

  def trunk(
    self, x: jax.Array, widths: tuple[int, ...], shared: dict[str, Any]
  ) -> jax.Array:
    """`[B, H, W, C]` to `[B, H / 16, W / 16, widths[-1]]`."""
    layer = block_of(ConvNorm, self)
    for number, width in enumerate(widths):
      x = layer(width, size=3, stride=1, name=f"block_{number + 1}", **shared)(
        x
      )
      x = half_max(jax.nn.relu(x))
    return x
