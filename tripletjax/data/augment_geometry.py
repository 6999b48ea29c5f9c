"""Augmentations that move pixels: affine, elastic, crop, flip.

All take pictures in [0, 1] with one PRNG key each, and leave the shape; what
comes from outside of a picture is 0.

Two of them make new identities: an identity's pictures of a batch share their
key, so that they are turned, stretched and bent alike. What a quarter turn does
to a character (`turns.py`), any other warp does as well.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import lax
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
  grid = jnp.concatenate([grid, jnp.ones_like(grid[:1])])

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
    # Moves too by the product, whose result XLA keeps: what is added to it may
    # be drawn anew for each pixel (1,800 pictures of 32 x 32 on two devices:
    # 0.2 s of their time, a fourth of a ConvNet's step).
    moved = (center + move)[:, None]
    where = jnp.concatenate([size * (slant @ turn), moved], axis=1) @ grid

    def channel(plane: jax.Array) -> jax.Array:
      return map_coordinates(plane, list(where), order=1, mode="constant")

    planes = jax.vmap(channel, in_axes=2, out_axes=1)(image)
    return planes.reshape(image.shape)

  return jax.vmap(transform)(images, keys)


def random_elastic(
  images: Float[Array, "b h w c"],
  keys: Key[Array, " b"],
  *,
  elastic: float,
  elastic_smoothness: float = 0.1,
) -> Float[Array, "b h w c"]:
  """Bends each picture as if it were drawn on rubber.

  Every pixel moves by a normal random vector, smoothed by a Gaussian: Simard,
  Steinkraus and Platt, "Best practices for convolutional neural networks
  applied to visual document analysis", 2003.

  Args:
    images: `[B, H, W, C]`.
    keys: one PRNG key for each picture, `[B]`.
    elastic: standard deviation of the moves along each axis, as a share of the
      side.
    elastic_smoothness: standard deviation of the Gaussian, as a share of the
      side; above 0.

  Returns:
    Pictures of the same shape.
  """
  _, height, width, _ = images.shape
  rows, columns = _smoothing(height, width, elastic_smoothness)
  grid = jnp.stack(
    jnp.meshgrid(
      jnp.arange(height, dtype=jnp.float32),
      jnp.arange(width, dtype=jnp.float32),
      indexing="ij",
    )
  )
  sides = jnp.array([height, width], jnp.float32)[:, None, None]

  def transform(image: jax.Array, key: jax.Array) -> jax.Array:
    moves = rows @ jax.random.normal(key, (2, height, width)) @ columns
    where = grid + elastic * sides * moves

    def channel(plane: jax.Array) -> jax.Array:
      return map_coordinates(plane, list(where), order=1, mode="constant")

    return jax.vmap(channel, in_axes=2, out_axes=2)(image)

  return jax.vmap(transform)(images, keys)


def identity_affine(
  images: Float[Array, "b h w c"],
  keys: Key[Array, " b"],
  *,
  identity_rotation: float,
  identity_scale: float,
  identity_shear: float,
) -> Float[Array, "b h w c"]:
  """As `random_affine`, without a move; meant for one key for each identity.

  Args:
    images: `[B, H, W, C]`.
    keys: a PRNG key for each picture, `[B]`, equal within an identity.
    identity_rotation: largest angle, degrees.
    identity_scale: largest change of log-size, along each axis on its own.
    identity_shear: largest shear.

  Returns:
    Pictures of the same shape.
  """
  return random_affine(
    images,
    keys,
    rotation=identity_rotation,
    scale=identity_scale,
    shear=identity_shear,
    translation=0.0,
  )


def identity_elastic(
  images: Float[Array, "b h w c"],
  keys: Key[Array, " b"],
  *,
  identity_elastic: float,
  identity_smoothness: float = 0.2,
) -> Float[Array, "b h w c"]:
  """As `random_elastic`; meant for one key for each identity.

  Args:
    images: `[B, H, W, C]`.
    keys: a PRNG key for each picture, `[B]`, equal within an identity.
    identity_elastic: standard deviation of the moves, as a share of the side.
    identity_smoothness: standard deviation of the Gaussian, likewise.

  Returns:
    Pictures of the same shape.
  """
  return random_elastic(
    images,
    keys,
    elastic=identity_elastic,
    elastic_smoothness=identity_smoothness,
  )


def random_crop(
  images: Float[Array, "b h w c"], keys: Key[Array, " b"], *, crop: int
) -> Float[Array, "b h w c"]:
  """Pads each picture on all sides and cuts its size out at random.

  Args:
    images: `[B, H, W, C]`.
    keys: one PRNG key for each picture, `[B]`.
    crop: width of the padding, pixels; the picture moves by at most that.

  Returns:
    Pictures of the same shape.
  """
  padding = [(crop, crop), (crop, crop), (0, 0)]

  def transform(image: jax.Array, key: jax.Array) -> jax.Array:
    top, left = jax.random.randint(key, (2,), 0, 2 * crop + 1)
    padded = jnp.pad(image, padding)
    start = (top, left, jnp.zeros_like(top))
    return lax.dynamic_slice(padded, start, image.shape)

  return jax.vmap(transform)(images, keys)


def random_flip(
  images: Float[Array, "b h w c"], keys: Key[Array, " b"], *, flip: float
) -> Float[Array, "b h w c"]:
  """Mirrors pictures, left to right.

  Args:
    images: `[B, H, W, C]`.
    keys: one PRNG key for each picture, `[B]`.
    flip: probability.

  Returns:
    Pictures of the same shape.
  """

  def transform(image: jax.Array, key: jax.Array) -> jax.Array:
    return jnp.where(jax.random.uniform(key) < flip, image[:, ::-1], image)

  return jax.vmap(transform)(images, keys)


def _smoothing(
  height: int, width: int, share: float
) -> tuple[jax.Array, jax.Array]:
  """Matrices `[H, H]` and `[W, W]` that blur noise and keep its variance."""

  def blur(size: int) -> jax.Array:
    place = jnp.arange(size, dtype=jnp.float32)
    apart = (place[:, None] - place[None, :]) / (share * size)
    kernel = jnp.exp(-(apart**2) / 2)
    # A sum of noise by weights of unit length has the variance of the noise,
    # at the border too.
    return kernel / jnp.linalg.norm(kernel, axis=1, keepdims=True)

  return blur(height), blur(width).T
