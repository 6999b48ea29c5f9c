"""Augmentations on the device, inside the jitted step.

Each picture has its own key, so that what it looks like doesn't depend on how
the batch is divided over devices.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.scipy.ndimage import map_coordinates
from jaxtyping import Array, Float, Key


def random_affine(
  images: Float[Array, "b h w c"],
  keys: Key[Array, " b"],
  *,
  rotation: float,
  scale: float,
  shear: float,
  translation: float,
) -> Float[Array, "b h w c"]:
  """Rotates, scales, shears and moves each picture at random, bilinearly.

  All are drawn uniformly and symmetric about "unchanged"; what comes from
  outside the picture is 0.

  Args:
    images: `[B, H, W, C]`.
    keys: one PRNG key for each picture, `[B]`.
    rotation: largest angle, degrees.
    scale: largest change of log-size, along each axis on its own; .1 is 10 %.
    shear: largest shear, pixels along x for each pixel along y.
    translation: largest move along each axis, as a share of the side.

  Returns:
    Pictures of the same shape.
  """
  _, height, width, _ = images.shape
  center = jnp.array([(height - 1) / 2, (width - 1) / 2])
  rows, columns = jnp.meshgrid(
    jnp.arange(height, dtype=jnp.float32),
    jnp.arange(width, dtype=jnp.float32),
    indexing="ij",
  )
  grid = jnp.stack([rows.ravel(), columns.ravel()]) - center[:, None]

  def transform(image: jax.Array, key: jax.Array) -> jax.Array:
    draws = jax.random.uniform(key, (6,), minval=-1, maxval=1)
    angle = jnp.deg2rad(rotation) * draws[0]
    sine, cosine = jnp.sin(angle), jnp.cos(angle)
    # Output coordinates to input coordinates, in the order (row, column).
    turn = jnp.array([[cosine, sine], [-sine, cosine]])
    slant = jnp.array([[1.0, 0.0], [0.0, 1.0]])
    slant = slant.at[1, 0].set(shear * draws[1])
    size = jnp.exp(scale * draws[2:4])[:, None]
    move = translation * draws[4:6] * jnp.array([height, width], jnp.float32)
    where = size * (slant @ turn @ grid) + (center + move)[:, None]

    def channel(plane: jax.Array) -> jax.Array:
      return map_coordinates(plane, list(where), order=1, mode="constant")

    planes = jax.vmap(channel, in_axes=2, out_axes=1)(image)
    return planes.reshape(image.shape)

  return jax.vmap(transform)(images, keys)
