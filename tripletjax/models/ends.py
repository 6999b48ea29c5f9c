"""What comes before and after every network: pixels, pooling, the last layers.

One place for all of them, so that a network is what lies in between.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from tripletjax.models.layers import normalized

_IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
# Means and deviations of pixels in [0, 1], by channel or of all of them, which
# a network expects to be subtracted, and to be divided by: none; [-1, 1], as
# Inception's and timm's ViT; those of ImageNet, as torchvision's; 127 and 128
# of 255, as EfficientNet-Lite's; 127.5 and 128, as facenet-pytorch's.
PIXELS: Mapping[str, tuple[tuple[float, ...], tuple[float, ...]]] = {
  "unit": ((0.0,), (1.0,)),
  "symmetric": ((0.5,), (0.5,)),
  "imagenet": _IMAGENET,
  "lite": ((127 / 255,), (128 / 255,)),
  "facenet": ((127.5 / 255,), (128 / 255,)),
}
# The largest of the features that GeM takes for 0: a power has no gradient
# there.
_GEM_LEAST = 1e-6
_GEM_POWER = 3.0


def expected_pixels(
  images: Float[Array, "b h w c"], name: str
) -> Float[Array, "b h w c"]:
  """Images in [0, 1] as a network expects them.

  Args:
    images: `[B, H, W, C]`.
    name: from `PIXELS`. Where it has means of three channels and the images
      another number, the mean over the three is taken.

  Returns:
    Images of the same shape.
  """
  mean, deviation = PIXELS[name]
  if (mean, deviation) == PIXELS["unit"]:
    return images
  if len(mean) != images.shape[-1]:
    mean, deviation = (
      (sum(values) / len(values),) * images.shape[-1]
      for values in (mean, deviation)
    )
  shape = (1, 1, 1, -1)
  return (images - jnp.asarray(mean, images.dtype).reshape(shape)) / (
    jnp.asarray(deviation, images.dtype).reshape(shape)
  )


def average_pooling(x: Float[Array, "b h w c"]) -> Float[Array, "b c"]:
  """The mean over the pixels, in float32."""
  return jnp.mean(x, axis=(1, 2), dtype=jnp.float32)


def gem_pooling(x: Float[Array, "b h w c"]) -> Float[Array, "b c"]:
  """Generalised mean (Radenović et al., 2019), `(mean of x^p)^(1/p)`.

  The power p is learned, from 3 on; 1 is the average, infinity the maximum.
  Features below 0 count as 0.
  """
  return GeM()(x)


def flat_pooling(x: Float[Array, "b h w c"]) -> Float[Array, "b d"]:
  """No pooling: all features of all pixels, `d = h * w * c`."""
  return x.reshape(x.shape[0], -1)


def place_pooling(x: Float[Array, "b h w c"]) -> Float[Array, "b p c"]:
  """No pooling, and a head at each place by itself, `p = h * w`.

  The embedding is what the head gives at all places, side by side: what is
  alike has to be so place by place.
  """
  return x.reshape(x.shape[0], -1, x.shape[-1])


class GeM(nn.Module):
  """The generalised mean over the pixels, with a power that is learned."""

  @nn.compact
  def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b c"]:
    """`[B, H, W, C]` to `[B, C]`, in float32."""
    power = self.param("power", nn.initializers.constant(_GEM_POWER), ())
    x = jnp.maximum(x.astype(jnp.float32), _GEM_LEAST)
    return jnp.mean(x**power, axis=(1, 2)) ** (1 / power)


POOLINGS: Mapping[str, Callable[[jax.Array], jax.Array]] = {
  "average": average_pooling,
  "gem": gem_pooling,
  "flatten": flat_pooling,
  "places": place_pooling,
}


def linear_head(
  x: Float[Array, "b *p c"], dimension: int, shared: Mapping[str, Any]
) -> Float[Array, "b *p d"]:
  """One linear layer."""
  return nn.Dense(dimension, dtype=shared["dtype"])(x)


def mlp_head(
  x: Float[Array, "b *p c"], dimension: int, shared: Mapping[str, Any]
) -> Float[Array, "b *p d"]:
  """Two linear layers with a ReLU in between (Chen et al., 2020).

  The hidden one is four times as wide as the embedding.
  """
  x = jax.nn.relu(nn.Dense(4 * dimension, dtype=shared["dtype"])(x))
  return nn.Dense(dimension, dtype=shared["dtype"])(x)


def linear_norm_head(
  x: Float[Array, "b *p c"], dimension: int, shared: Mapping[str, Any]
) -> Float[Array, "b *p d"]:
  """One linear layer without a bias, and a norm, as FaceNet's open networks."""
  dtype = shared["dtype"]
  x = nn.Dense(dimension, use_bias=False, dtype=dtype)(x)
  return normalized(
    x,
    shared["norm"],
    train=shared["train"],
    axis_name=shared["axis_name"],
    epsilon=1e-3,
  )


HEADS: Mapping[str, Callable[..., jax.Array]] = {
  "linear": linear_head,
  "mlp": mlp_head,
  "linear_norm": linear_norm_head,
}
