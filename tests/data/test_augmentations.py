"""Every augmentation: laws of all, and known pixels of each."""

import colorsys
import functools
import zlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image, ImageEnhance

from tripletjax.data.augment import (
  AUGMENTATIONS,
  EXAMPLES,
  OF_IDENTITIES,
  augment,
  is_on,
  parameters,
)
from tripletjax.data.augment_patches import AREA, ASPECT


def pictures(count=6, height=12, width=10, channels=3):
  rng = np.random.default_rng(0)
  images = rng.random((count, height, width, channels)).astype(np.float32)
  return jnp.asarray(images)


def keys(count, seed=0):
  return jax.random.split(jax.random.key(seed), count)


def off(name):
  return {
    parameter: value if parameter.endswith("smoothness") else 0 * value
    for parameter, value in EXAMPLES[name].items()
  }


def jitted(name, **values):
  """One compilation, where an eager call has one for each operation."""
  return jax.jit(functools.partial(AUGMENTATIONS[name], **values))


@pytest.mark.parametrize(
  ("name", "channels"),
  [*((name, 3) for name in AUGMENTATIONS), ("color", 1), ("elastic", 1)],
)
def test_laws_of_all(name, channels):
  images = pictures(channels=channels)
  chosen = {name: EXAMPLES[name]}
  run = jax.jit(lambda images, keys: augment(images, keys, chosen=chosen))
  result = run(images, keys(6))
  assert result.shape == images.shape
  assert result.dtype == jnp.float32
  assert -1e-6 <= result.min() <= result.max() <= 1 + 1e-6
  assert np.isfinite(result).all()
  assert np.abs(result - images).max() > 0.02
  # What a picture becomes depends on its own key, wherever it stands: so any
  # number of devices gives the same.
  alone = run(images[2:4], keys(6)[2:4])
  np.testing.assert_allclose(result[2:4], alone, atol=1e-6)
  others = run(images, keys(6, seed=1))
  assert np.abs(result - others).max() > 0.02


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_off_changes_nothing(name):
  assert set(parameters(name)) == set(EXAMPLES[name])
  assert is_on(name, EXAMPLES[name])
  assert not is_on(name, off(name))
  same = jitted(name, **off(name))(pictures(), keys(6))
  np.testing.assert_allclose(same, pictures(), atol=1e-6)


@pytest.mark.parametrize("name", OF_IDENTITIES)
def test_pictures_of_an_identity_move_alike(name):
  one = pictures(1)
  chosen = {name: EXAMPLES[name]}
  run = jax.jit(functools.partial(augment, chosen=chosen))
  of_identity = keys(2)[np.array([0, 0, 0, 1, 1, 1])]
  result = np.asarray(run(one.repeat(6, 0), keys(6), of_identity))
  np.testing.assert_allclose(result[:3], result[:1].repeat(3, 0), atol=1e-6)
  np.testing.assert_allclose(result[3:], result[3:4].repeat(3, 0), atol=1e-6)
  assert np.abs(result[0] - result[3]).max() > 0.02
  # As its namesake does, by that key.
  alike = {
    key.removeprefix("identity_"): x for key, x in EXAMPLES[name].items()
  }
  if name == "identity_affine":
    expected = jitted("affine", **alike, translation=0.0)
  else:
    expected = jitted(
      "elastic",
      elastic=alike["elastic"],
      elastic_smoothness=alike["smoothness"],
    )
  # `augment` folds the name into the key.
  number = zlib.crc32(name.encode()) & 0x7FFFFFFF
  own = jax.random.fold_in(keys(2)[0], number)[None]
  np.testing.assert_allclose(expected(one, own), result[:1], atol=1e-6)


def test_each_draws_for_itself_and_the_order_is_the_registrys():
  images = pictures()

  @functools.partial(jax.jit, static_argnums=1)
  def run(images, names):
    chosen = {name: EXAMPLES[name] for name in names}
    return augment(images, keys(6), chosen=chosen)

  twice = run(run(images, ("flip",)), ("cutout",))
  np.testing.assert_array_equal(run(images, ("cutout", "flip")), twice)
  assert augment(images, keys(6), chosen={}) is images


def test_the_affine_map_keeps_its_draws():
  direct = jitted("affine", **EXAMPLES["affine"])(pictures(), keys(6))
  chosen = {"affine": EXAMPLES["affine"]}
  run = jax.jit(functools.partial(augment, chosen=chosen))
  np.testing.assert_allclose(run(pictures(), keys(6)), direct, atol=1e-6)


def test_a_crop_is_a_move_with_black_from_outside():
  image = 0.1 + 0.9 * pictures(1, 5, 4)
  padded = np.pad(image[0], [(2, 2), (2, 2), (0, 0)])
  moves = {
    padded[top : top + 5, left : left + 4].tobytes()
    for top in range(5)
    for left in range(5)
  }
  results = jitted("crop", crop=2)(image.repeat(400, 0), keys(400))
  assert {result.tobytes() for result in np.asarray(results)} == moves


def test_a_flip_mirrors_left_and_right():
  image = jnp.arange(6.0).reshape(1, 2, 3, 1) / 6
  mirrored = np.array([[2, 1, 0], [5, 4, 3]])[None, :, :, None] / 6
  all_of_them = jitted("flip", flip=1.0)(image.repeat(3, 0), keys(3))
  np.testing.assert_allclose(all_of_them, mirrored.repeat(3, 0), rtol=1e-6)
  some = jitted("flip", flip=0.3)(image.repeat(400, 0), keys(400))
  share = np.mean(np.abs(some - mirrored).max(axis=(1, 2, 3)) < 1e-6)
  assert abs(share - 0.3) < 5 * np.sqrt(0.3 * 0.7 / 400)


def test_elastic_moves_by_the_size_and_as_smoothly_as_asked():
  # The pixels of a ramp say where they came from.
  side, size, smoothness = 40, 0.02, 0.1
  rows, columns = np.meshgrid(*2 * [np.arange(side, dtype=np.float32)])
  ramps = jnp.asarray(np.stack([columns, rows], -1))[None]
  bend = jitted("elastic", elastic=size, elastic_smoothness=smoothness)
  bent = bend(ramps.repeat(64, 0), keys(64))
  # Away from the border, from beyond which black comes.
  moves = np.asarray(bent - ramps)[:, 8:32, 8:32]
  assert abs(moves.mean()) < 0.1
  np.testing.assert_allclose(moves.std(), size * side, rtol=0.1)
  # Noise blurred by a Gaussian of s has the correlation exp(-d^2 / 4 s^2).
  for apart in (2, 4, 8):
    found = (moves[:, apart:] * moves[:, :-apart]).mean() / moves.var()
    expected = np.exp(-(apart**2) / (4 * (smoothness * side) ** 2))
    np.testing.assert_allclose(found, expected, atol=0.08)
  # Rows and columns move by themselves.
  assert abs((moves[..., 0] * moves[..., 1]).mean() / moves.var()) < 0.1


@jax.jit
def draws(key):
  return jax.random.uniform(key, (4,), minval=-1, maxval=1)


def jittered(image, key, **ranges):
  everything = dict.fromkeys(
    ("brightness", "contrast", "saturation", "hue"), 0.0
  )
  return np.asarray(color_jitter(image[None], key[None], everything | ranges))[
    0
  ]


@jax.jit
def color_jitter(images, keys, ranges):
  return AUGMENTATIONS["color"](images, keys, **ranges)


@pytest.mark.parametrize(
  ("name", "draw", "enhance"),
  [
    ("brightness", 0, ImageEnhance.Brightness),
    ("contrast", 1, ImageEnhance.Contrast),
    ("saturation", 2, ImageEnhance.Color),
  ],
)
def test_factors_are_those_of_pillow(name, draw, enhance):
  levels = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)
  image = jnp.asarray(levels).astype(jnp.float32) / 255
  for key in keys(4):
    drawn = draws(key)[draw]
    expected = enhance(Image.fromarray(levels)).enhance(1 + 0.8 * float(drawn))
    np.testing.assert_allclose(
      255 * jittered(image, key, **{name: 0.8}), np.asarray(expected), atol=1.6
    )


def test_hue_turns_the_colour_circle():
  image = pictures(1, 4, 4)[0]
  image = jnp.asarray(
    np.concatenate([np.full((1, 4, 3), 0.5, np.float32), image[1:]])
  )  # grey has no hue
  for key in keys(4):
    drawn = draws(key)[3]
    result = jittered(image, key, hue=0.5)
    for row in range(4):
      for column in range(4):
        h, s, v = colorsys.rgb_to_hsv(*map(float, image[row, column]))
        expected = colorsys.hsv_to_rgb((h + 0.5 * float(drawn)) % 1, s, v)
        np.testing.assert_allclose(result[row, column], expected, atol=1e-5)


def test_red_becomes_green_by_a_third_of_the_circle():
  red = jnp.array([1.0, 0, 0]).reshape(1, 1, 3)
  key = jax.random.key(0)
  drawn = float(draws(key)[3])
  turned = jittered(red, key, hue=1 / 3 / drawn)
  np.testing.assert_allclose(turned[0, 0], [0, 1, 0], atol=1e-5)


def test_grey_is_the_luma_of_pillow():
  levels = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)
  image = jnp.asarray(levels).astype(jnp.float32)[None] / 255
  results = np.asarray(
    jitted("grey", grey=0.4)(image.repeat(300, 0), keys(300))
  )
  expected = np.asarray(Image.fromarray(levels).convert("L"))
  grey = 0
  for result in results:
    if (result == image[0]).all():
      continue
    grey += 1
    for channel in range(3):
      np.testing.assert_allclose(255 * result[..., channel], expected, atol=1)
  assert abs(grey / 300 - 0.4) < 5 * np.sqrt(0.4 * 0.6 / 300)


def test_channels_must_be_grey_or_rgb():
  with pytest.raises(ValueError, match="expected 1 or 3 channels, got 2"):
    AUGMENTATIONS["grey"](pictures(channels=2), keys(6), grey=0.5)


def rectangle(covered):
  """Sides of what is covered; fails unless that is a rectangle."""
  rows, columns = np.flatnonzero(covered.any(1)), np.flatnonzero(covered.any(0))
  assert covered.sum() == len(rows) * len(columns)
  assert (np.diff(rows) == 1).all()
  assert (np.diff(columns) == 1).all()
  return rows, columns


def test_erasing_covers_a_rectangle_with_noise():
  side, count = 40, 300
  image = jnp.full((1, side, side, 1), 2.0)  # no noise is 2
  results = np.asarray(
    jitted("erasing", erasing=0.5)(image.repeat(count, 0), keys(count))
  )
  areas, aspects, noise = [], [], []
  for result in results[..., 0]:
    covered = result != 2
    if covered.any():
      rows, columns = rectangle(covered)
      areas.append(covered.mean())
      aspects.append(len(rows) / len(columns))
      noise.extend(result[covered].tolist())
  chance = len(areas) / count
  assert abs(chance - 0.5) < 5 * np.sqrt(0.25 / count)
  # Sides are rounded to pixels and cut to the picture's.
  assert AREA[0] * 0.8 < min(areas) < 0.06
  assert 0.36 < max(areas) < AREA[1] * 1.1
  assert ASPECT[0] * 0.7 < min(aspects) < 0.5
  assert 2 < max(aspects) < ASPECT[1] * 1.4
  np.testing.assert_allclose(np.mean(noise), 0.5, atol=0.01)
  np.testing.assert_allclose(np.var(noise), 1 / 12, atol=0.01)


def test_cutout_blackens_a_square_about_any_pixel():
  side, count = 10, 600
  image = jnp.full((1, side, side, 1), 0.7)
  results = np.asarray(
    jitted("cutout", cutout=0.4)(image.repeat(count, 0), keys(count))
  )
  corners = set()
  for result in results[..., 0]:
    assert set(np.unique(result).tolist()) <= {0.0, np.float32(0.7)}
    rows, columns = rectangle(result == 0)
    for place in (rows, columns):
      # Four pixels, or fewer at the border.
      assert len(place) == 4 or {0, 9} & set(place.tolist())
    corners.add((rows[-1], columns[-1]))
  # Of a centre at i the last pixel is i + 1, or the border's.
  assert corners == {(i, j) for i in range(1, 10) for j in range(1, 10)}
