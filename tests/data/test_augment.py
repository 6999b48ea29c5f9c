"""Augmentation against SciPy, and its independence of the batch."""

import jax
import jax.numpy as jnp
import numpy as np
from scipy import ndimage

from tripletjax.data.augment import random_affine

RANGES = {"rotation": 30.0, "scale": 0.3, "shear": 0.4, "translation": 0.2}


def pictures(count=3, height=12, width=10, channels=2):
  rng = np.random.default_rng(0)
  return rng.random((count, height, width, channels)).astype(np.float32)


def test_equals_an_affine_map_of_scipy():
  images = pictures()
  keys = jax.random.split(jax.random.key(0), 3)
  actual = random_affine(jnp.asarray(images), keys, **RANGES)
  for image, key, result in zip(images, keys, actual, strict=True):
    draw = np.asarray(jax.random.uniform(key, (6,), minval=-1, maxval=1))
    angle = np.deg2rad(30 * draw[0])
    turn = [[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]]
    matrix = (
      np.diag(np.exp(0.3 * draw[2:4]))
      @ np.array([[1, 0], [0.4 * draw[1], 1]])
      @ np.array(turn)
    )
    center = np.array([5.5, 4.5])
    offset = center - matrix @ center + 0.2 * draw[4:] * np.array([12, 10])
    # SciPy extrapolates within half a pixel of the border as JAX does.
    for channel in range(2):
      expected = ndimage.affine_transform(
        image[..., channel], matrix, offset, order=1, mode="grid-constant"
      )
      np.testing.assert_allclose(
        result[..., channel], expected, rtol=1e-3, atol=1e-4
      )


def test_ranges_of_zero_change_nothing():
  images = jnp.asarray(pictures())
  keys = jax.random.split(jax.random.key(0), 3)
  same = random_affine(images, keys, **dict.fromkeys(RANGES, 0.0))
  np.testing.assert_allclose(same, images, atol=1e-6)


def test_a_picture_depends_on_its_own_key_only():
  images = jnp.asarray(pictures())
  keys = jax.random.split(jax.random.key(0), 3)
  together = random_affine(images, keys, **RANGES)
  alone = random_affine(images[1:2], keys[1:2], **RANGES)
  np.testing.assert_allclose(together[1:2], alone, atol=1e-6)
  twice = random_affine(images[:1].repeat(2, 0), keys[:2], **RANGES)
  assert np.abs(twice[0] - twice[1]).max() > 0.1
