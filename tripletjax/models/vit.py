"""ViT-S/16, a vision transformer."""

from __future__ import annotations

from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from tripletjax.models.convolution import convolution
from tripletjax.models.network import EmbeddingNetwork, block_of

# Channels of one head of attention, as in all of the paper's sizes.
HEAD = 64
_INIT = nn.initializers.xavier_uniform()
_POSITIONS = nn.initializers.normal(0.02)


class Attention(nn.Module):
  """Every token attends to all, in several heads (Vaswani et al., 2017).

  Attributes:
    heads: number of them, a divisor of the width.
    dtype: what is computed in; the softmax is in float32.
  """

  heads: int
  dtype: DTypeLike

  @nn.compact
  def __call__(self, x: Float[Array, "b n d"]) -> Float[Array, "b n d"]:
    """Tokens `[B, N, D]` to tokens."""
    batch, count, width = x.shape
    size = width // self.heads
    mixed = nn.Dense(
      3 * width, dtype=self.dtype, kernel_init=_INIT, name="qkv"
    )(x)
    mixed = mixed.reshape(batch, count, 3, self.heads, size)
    queries, keys, values = (mixed[:, :, part] for part in range(3))
    scores = jnp.einsum("bqhd,bkhd->bhqk", queries, keys).astype(jnp.float32)
    weights = jax.nn.softmax(scores * size**-0.5, axis=-1).astype(self.dtype)
    x = jnp.einsum("bhqk,bkhd->bqhd", weights, values)
    return nn.Dense(width, dtype=self.dtype, kernel_init=_INIT, name="proj")(
      x.reshape(batch, count, width)
    )


class Encoder(nn.Module):
  """Attention and two layers, each beside a shortcut and after a LayerNorm.

  Attributes:
    heads: of attention.
    dtype: what is computed in.
  """

  heads: int
  dtype: DTypeLike

  @nn.compact
  def __call__(self, x: Float[Array, "b n d"]) -> Float[Array, "b n d"]:
    """Tokens `[B, N, D]` to tokens."""
    y = layer_norm("norm1", x)
    x = x + Attention(self.heads, self.dtype, name="attn")(y)
    y = layer_norm("norm2", x)
    y = nn.Dense(
      4 * x.shape[-1], dtype=self.dtype, kernel_init=_INIT, name="fc1"
    )(y)
    y = jax.nn.gelu(y, approximate=False)
    y = nn.Dense(x.shape[-1], dtype=self.dtype, kernel_init=_INIT, name="fc2")(
      y
    )
    return x + y


def layer_norm(name: str, x: jax.Array) -> jax.Array:
  """LayerNorm (Ba et al., 2016), in float32, of the type of `x`."""
  wide = x.astype(jnp.float32)
  return nn.LayerNorm(epsilon=1e-6, name=name)(wide).astype(x.dtype)


class ViTS16(EmbeddingNetwork):
  """ViT-S/16 (Dosovitskiy et al., 2021; Touvron et al., 2021), and a head.

  Patches of 16 x 16 pixels, padded to whole ones, twelve layers, and what
  becomes of the class token; with a `pooling` that is named, the patches are
  pooled. There are as many position embeddings as patches: a network is of one
  size of images, and weights for another are interpolated when they are read.
  It has LayerNorms, whatever `norm` says. `features` is one number, the width:
  384 in the paper, in heads of 64.

  Attributes:
    depth: number of layers; another than the paper's for tests.
    patch: side of a patch; likewise.
  """

  depth: int = 12
  patch: int = 16

  WIDTHS: ClassVar[tuple[int, ...]] = (384,)
  HAS_NORM: ClassVar[bool] = False

  def trunk(
    self, x: jax.Array, widths: tuple[int, ...], shared: dict[str, Any]
  ) -> jax.Array:
    """`[B, H, W, C]` to the class token, `[B, 1, 1, D]`, or all patches."""
    del shared
    width = widths[0]
    x = nn.Conv(
      width,
      (self.patch, self.patch),
      strides=self.patch,
      padding="SAME",
      dtype=self.dtype,
      conv_general_dilated=convolution,
      name="patch_embed",
    )(x)
    batch, down, across, _ = x.shape
    token = self.param("cls_token", _POSITIONS, (1, 1, width))
    places = self.param("pos_embed", _POSITIONS, (1, 1 + down * across, width))
    token = jnp.broadcast_to(token.astype(self.dtype), (batch, 1, width))
    x = jnp.concatenate([token, x.reshape(batch, -1, width)], axis=1)
    x = x + places.astype(self.dtype)
    encoder = block_of(Encoder, self)
    for number in range(self.depth):
      x = encoder(
        max(1, width // HEAD), dtype=self.dtype, name=f"block_{number}"
      )(x)
    x = layer_norm("norm", x)
    if not self.pooling:
      return x[:, :1, None]
    return x[:, 1:].reshape(batch, down, across, width)

  @nn.nowrap
  def grid(self, image_shape: tuple[int, int, int]) -> tuple[int, int]:
    """Rows and columns of patches."""
    height, width, _ = image_shape
    return -(-height // self.patch), -(-width // self.patch)
