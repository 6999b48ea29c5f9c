"""A small ConvNet for small pictures."""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Key

from tripletjax.distances import l2_normalize
from tripletjax.models.convolution import convolution
from tripletjax.models.layers import example_dropout, normalized


class ConvNet(nn.Module):
  """Blocks of 3 x 3 convolution with stride 2, norm and ReLU; one Dense.

  The stride does the pooling: on a CPU a max-pool costs as much as the
  convolutions of so small a network.

  Attributes:
    features: channels of each block.
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

    def block(module: nn.Module, x: jax.Array, features: int) -> jax.Array:
      del module
      x = nn.Conv(
        features,
        (3, 3),
        strides=2,
        use_bias=False,
        dtype=self.dtype,
        conv_general_dilated=convolution,
      )(x)
      return jax.nn.relu(
        normalized(x, self.norm, train=train, axis_name=self.axis_name)
      )

    if self.remat:
      block = nn.remat(block, static_argnums=(2,))
    x = images
    for features in self.features:
      x = block(self, x, features)
    x = example_dropout(x.reshape(x.shape[0], -1), self.dropout, keys)
    x = nn.Dense(self.dimension, dtype=self.dtype)(x).astype(jnp.float32)
    return l2_normalize(x) if self.normalize else x
