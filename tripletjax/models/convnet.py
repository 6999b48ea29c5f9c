"""A small ConvNet for small pictures."""

from __future__ import annotations

from collections.abc import Sequence

import jax
from flax import linen as nn
from jaxtyping import Array, Float

from tripletjax.distances import l2_normalize


class ConvNet(nn.Module):
  """Blocks of 3 x 3 convolution with stride 2, BatchNorm and ReLU; one Dense.

  The stride does the pooling: on a CPU a max-pool costs as much as the
  convolutions of so small a network.

  Attributes:
    features: channels of each block.
    dimension: length of the embedding.
    normalize: whether embeddings are put on the unit sphere, as in FaceNet.
    axis_name: the axis of devices over which BatchNorm takes its statistics.
  """

  features: Sequence[int]
  dimension: int
  normalize: bool = True
  axis_name: str | None = None

  @nn.compact
  def __call__(
    self, images: Float[Array, "b h w c"], *, train: bool
  ) -> Float[Array, "b d"]:
    """Embeds images with values in [0, 1].

    Args:
      images: `[B, H, W, C]`.
      train: whether BatchNorm uses, and updates from, this batch's statistics.

    Returns:
      Embeddings, `[B, dimension]`.
    """
    x = images
    for features in self.features:
      x = nn.Conv(features, (3, 3), strides=2, use_bias=False)(x)
      x = nn.BatchNorm(
        use_running_average=not train, momentum=0.9, axis_name=self.axis_name
      )(x)
      x = jax.nn.relu(x)
    x = nn.Dense(self.dimension)(x.reshape(x.shape[0], -1))
    return l2_normalize(x) if self.normalize else x
