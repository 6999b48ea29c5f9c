"""Augmentations of colour: jitter, and pictures without any.

All take pictures in [0, 1] with one PRNG key each, grey (`C` = 1) or RGB
(`C` = 3), and leave shape and range.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

# Luma of ITU-R BT.601, as Pillow's mode L.
_LUMA = (0.299, 0.587, 0.114)


def color_jitter(
  images: Float[Array, "b h w c"],
  keys: Key[Array, " b"],
  *,
  brightness: float,
  contrast: float,
  saturation: float,
  hue: float,
) -> Float[Array, "b h w c"]:
  """Changes brightness, contrast, saturation and hue, in this order.

  The factors are drawn uniformly from 1 - x to 1 + x. Of grey pictures only the
  first two change.

  Args:
    images: `[B, H, W, C]`.
    keys: one PRNG key for each picture, `[B]`.
    brightness: largest change of the factor of all pixels, 0 to 1.
    contrast: of the distance from the picture's mean luma, 0 to 1.
    saturation: of the distance from the pixel's luma, 0 to 1.
    hue: largest turn of the colour circle, 0 to 0.5 of it, either way.

  Returns:
    Pictures of the same shape.
  """
  _check_channels(images)

  def transform(image: jax.Array, key: jax.Array) -> jax.Array:
    draws = jax.random.uniform(key, (4,), minval=-1, maxval=1)
    image = jnp.clip(image * (1 + brightness * draws[0]), 0, 1)
    image = _from(image, _luma(image).mean(), 1 + contrast * draws[1])
    if image.shape[-1] == 1:
      return image
    image = _from(image, _luma(image), 1 + saturation * draws[2])
    return _turn_hue(image, hue * draws[3])

  return jax.vmap(transform)(images, keys)


def random_grey(
  images: Float[Array, "b h w c"], keys: Key[Array, " b"], *, grey: float
) -> Float[Array, "b h w c"]:
  """Takes the colour from pictures: all channels become the luma.

  Args:
    images: `[B, H, W, C]`.
    keys: one PRNG key for each picture, `[B]`.
    grey: probability.

  Returns:
    Pictures of the same shape.
  """
  _check_channels(images)

  def transform(image: jax.Array, key: jax.Array) -> jax.Array:
    without = jnp.broadcast_to(_luma(image), image.shape)
    return jnp.where(jax.random.uniform(key) < grey, without, image)

  return jax.vmap(transform)(images, keys)


def _check_channels(images: jax.Array) -> None:
  if images.shape[-1] not in (1, 3):
    raise ValueError(f"expected 1 or 3 channels, got {images.shape[-1]}")


def _luma(image: jax.Array) -> jax.Array:
  """`[H, W, 1]`."""
  if image.shape[-1] == 1:
    return image
  return (image * jnp.array([[_LUMA]])).sum(axis=-1, keepdims=True)


def _from(image: jax.Array, origin: jax.Array, factor: jax.Array) -> jax.Array:
  """Pixels `factor` times as far from `origin`."""
  return jnp.clip(origin + factor * (image - origin), 0, 1)


def _turn_hue(image: jax.Array, turn: jax.Array) -> jax.Array:
  """Turns the hue by a part of the circle; HSV's value and saturation stay."""
  value = image.max(axis=-1, keepdims=True)
  spread = value - image.min(axis=-1, keepdims=True)
  # Grey has no hue; any is as good.
  safe = jnp.where(spread == 0, 1, spread)
  red, green, blue = jnp.split(image, 3, axis=-1)
  # Never by `value == red`: a compiler that computes one of them again, rounded
  # otherwise, would find that none is the largest.
  sixths = jnp.where(
    red >= jnp.maximum(green, blue),
    (green - blue) / safe,
    jnp.where(green >= blue, 2 + (blue - red) / safe, 4 + (red - green) / safe),
  )
  apart = (sixths + 6 * turn + jnp.array([[[5.0, 3.0, 1.0]]])) % 6
  # Each channel is the largest, less the spread times how far the hue is from
  # where this channel is the largest: red at 0 sixths, green at 2, blue at 4.
  away = jnp.clip(jnp.minimum(apart, 4 - apart), 0, 1)
  return value - spread * away
