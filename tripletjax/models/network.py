"""What all networks are: pixels, a trunk, pooling, dropout, a head, a norm."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Key

from tripletjax.distances import l2_normalize
from tripletjax.errors import UserError
from tripletjax.models.ends import HEADS, POOLINGS, expected_pixels
from tripletjax.models.layers import example_dropout


class EmbeddingNetwork(nn.Module):
  """A network from images to embeddings; each one has a trunk of its own.

  Attributes:
    features: channels, as the network's own docstring says; those of its paper
      when empty.
    dimension: length of the embedding.
    normalize: whether embeddings are put on the unit sphere, as in FaceNet.
    axis_name: the axis of devices over which BatchNorm takes its statistics.
    norm: a name from `NORMS`.
    dropout: probability that a feature before the head is dropped.
    dtype: what is computed in; parameters and embeddings are float32.
    remat: whether the blocks' activations are computed again for the gradient,
      and not kept (Chen et al., 2016). XLA undoes it for CPUs.
    pixels: a name from `PIXELS`: what is done to images in [0, 1] first.
    pooling: a name from `POOLINGS`; the network's own when empty.
    head: a name from `HEADS`.
    norm_frozen: whether BatchNorm uses its running statistics in training too,
      and leaves them as they are.
    WIDTHS: the features of the paper; empty where there are none.
    POOLING: the network's own.
    HAS_NORM: whether its trunk has norms of `NORMS`.
  """

  features: Sequence[int]
  dimension: int
  normalize: bool = True
  axis_name: str | None = None
  norm: str = "batch"
  dropout: float = 0.0
  dtype: DTypeLike = jnp.float32
  remat: bool = False
  pixels: str = "unit"
  pooling: str = ""
  head: str = "linear"
  norm_frozen: bool = False

  WIDTHS: ClassVar[tuple[int, ...]] = ()
  POOLING: ClassVar[str] = "average"
  HAS_NORM: ClassVar[bool] = True

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

    Raises:
      UserError: the dimension can't be divided by the number of places.
    """
    shared = {
      "train": train and not self.norm_frozen,
      "norm": self.norm,
      "axis_name": self.axis_name,
      "dtype": self.dtype,
    }
    widths = tuple(self.features) or self.WIDTHS
    x = self.trunk(expected_pixels(images, self.pixels), widths, shared)
    x = POOLINGS[self.pooling or self.POOLING](x).astype(self.dtype)
    x = example_dropout(x, self.dropout, keys)
    places = x.shape[1] if x.ndim == 3 else 1
    if self.dimension % places:
      raise UserError(
        f"model.dimension: expected a multiple of {places}, the number of "
        f'places that model.pooling="places" has here, got {self.dimension}'
      )
    x = HEADS[self.head](x, self.dimension // places, shared)
    x = x.astype(jnp.float32).reshape(x.shape[0], self.dimension)
    return l2_normalize(x) if self.normalize else x

  def trunk(
    self, x: jax.Array, widths: tuple[int, ...], shared: dict[str, Any]
  ) -> jax.Array:
    """The layers of a network of its own.

    Args:
      x: images as it expects them, `[B, H, W, C]`.
      widths: channels.
      shared: `train`, `norm`, `axis_name` and `dtype`, as `ConvNorm` takes
        them.

    Returns:
      Features, `[B, h, w, c]`.
    """
    raise NotImplementedError

  @nn.nowrap
  def grid(self, image_shape: tuple[int, int, int]) -> tuple[int, int]:
    """Rows and columns of position embeddings for `(H, W, C)`; 0 for none."""
    del image_shape
    return 0, 0


def block_of(
  kind: type[nn.Module], network: EmbeddingNetwork
) -> type[nn.Module]:
  """A kind of block, whose activations are computed again where asked for."""
  return nn.remat(kind) if network.remat else kind
