"""Augmentations that cover a part of a picture: erasing, cutout.

All take pictures in [0, 1] with one PRNG key each, and leave shape and range.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

# Of the erased rectangle: its share of the picture's area, and its height by
# its width, as in the paper.
AREA = (0.02, 0.4)
ASPECT = (0.3, 1 / 0.3)


def random_erasing(
  images: Float[Array, "b h w c"], keys: Key[Array, " b"], *, erasing: float
) -> Float[Array, "b h w c"]:
  """Covers a random rectangle of pictures with noise.

  Zhong et al., "Random erasing data augmentation", 2020: 2 to 40 % of the area,
  height by width from 0.3 to 3.3 (drawn by its logarithm), cut to the picture's
  sides; each covered value is uniform in [0, 1].

  Args:
    images: `[B, H, W, C]`.
    keys: one PRNG key for each picture, `[B]`.
    erasing: probability.

  Returns:
    Pictures of the same shape.
  """
  _, height, width, _ = images.shape

  def transform(image: jax.Array, key: jax.Array) -> jax.Array:
    draw_key, noise_key = jax.random.split(key)
    happens, area, aspect, top, left = jax.random.uniform(draw_key, (5,))
    area = (AREA[0] + (AREA[1] - AREA[0]) * area) * height * width
    low, high = jnp.log(ASPECT[0]), jnp.log(ASPECT[1])
    aspect = jnp.exp(low + (high - low) * aspect)
    tall = jnp.clip(jnp.round(jnp.sqrt(area * aspect)), 1, height)
    wide = jnp.clip(jnp.round(jnp.sqrt(area / aspect)), 1, width)
    covered = (
      _inside(height, jnp.floor(top * (height - tall + 1)), tall)[:, None, None]
      & _inside(width, jnp.floor(left * (width - wide + 1)), wide)[
        None, :, None
      ]
    )
    noise = jax.random.uniform(noise_key, image.shape)
    return jnp.where(covered & (happens < erasing), noise, image)

  return jax.vmap(transform)(images, keys)


def random_cutout(
  images: Float[Array, "b h w c"], keys: Key[Array, " b"], *, cutout: float
) -> Float[Array, "b h w c"]:
  """Blackens a square of each picture, which may stand over the border.

  DeVries and Taylor, "Improved regularization of convolutional neural networks
  with cutout", 2017: the centre is any pixel.

  Args:
    images: `[B, H, W, C]`.
    keys: one PRNG key for each picture, `[B]`.
    cutout: its sides, as a share of the picture's.

  Returns:
    Pictures of the same shape.
  """
  _, height, width, _ = images.shape
  tall, wide = round(cutout * height), round(cutout * width)

  def transform(image: jax.Array, key: jax.Array) -> jax.Array:
    row_key, column_key = jax.random.split(key)
    top = jax.random.randint(row_key, (), 0, height) - tall // 2
    left = jax.random.randint(column_key, (), 0, width) - wide // 2
    covered = (
      _inside(height, top, tall)[:, None, None]
      & _inside(width, left, wide)[None, :, None]
    )
    return jnp.where(covered, 0.0, image)

  return jax.vmap(transform)(images, keys)


def _inside(size: int, start: jax.Array, length: jax.Array | int) -> jax.Array:
  """Which of `size` places are among the `length` from `start` on."""
  place = jnp.arange(size, dtype=start.dtype)
  return (place >= start) & (place < start + length)
