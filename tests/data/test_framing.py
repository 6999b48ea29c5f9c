"""Ink in the middle: moments by sums over pixels, and drawings that move."""

import io

import numpy as np
import pytest
from PIL import Image

from tripletjax.data.framing import FRAMES, SPREAD, by_moments, frame_fn
from tripletjax.data.images import decode_image, fit_image
from tripletjax.inference.reading import read_image


def framed(ink, *, dark=False):
  """An array of ink, uint8, framed as light on dark or dark on light."""
  image = Image.fromarray(255 - ink if dark else ink)
  pixels = np.asarray(by_moments(image, dark=dark))
  return 255 - pixels if dark else pixels


def moments(ink):
  """Centre, from the middle, and spread of each axis, as shares of it."""
  ink = ink.astype(float)
  found = []
  for axis, size in enumerate(ink.shape):
    places = (np.arange(size) - (size - 1) / 2) / size
    mass = ink.sum(axis=1 - axis) / ink.sum()
    center = np.sum(mass * places)
    found.append((center, np.sqrt(np.sum(mass * (places - center) ** 2))))
  return found


def rectangle(top, left, height, width, *, shape=(96, 96)):
  ink = np.zeros(shape, np.uint8)
  ink[top : top + height, left : left + width] = 255
  return ink


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize(
  ("top", "left", "height", "width"),
  [(24, 43, 28, 28), (18, 40, 20, 40), (12, 38, 60, 16)],
)
def test_the_moments_of_what_comes_out(top, left, height, width, dark):
  # A rectangle's spread is its side / sqrt 12: a factor of both axes.
  found = framed(rectangle(top, left, height, width), dark=dark)
  (row, high), (column, wide) = moments(found)
  assert abs(row) < 0.005
  assert abs(column) < 0.005
  # s / sqrt(s g) * SPREAD, with s and g in any unit.
  mean = np.sqrt((height**2 + width**2) / 2)
  assert high == pytest.approx(SPREAD * np.sqrt(height / mean), rel=0.03)
  assert wide == pytest.approx(SPREAD * np.sqrt(width / mean), rel=0.03)


def drawing(top, left, size):
  """A hook of three strokes."""
  strokes = [(0, 0, 4, 1), (3, 1, 1, 3), (1, 3, 2, 0.7)]
  parts = [
    rectangle(
      *(round(x) for x in (top + size * t, left + size * w, size * h, size * v))
    )
    for t, w, h, v in strokes
  ]
  return np.maximum.reduce(parts)


def test_moved_and_scaled_drawings_are_seen_alike():
  one, other = drawing(10, 12, 10), drawing(22, 30, 15)
  assert np.abs(one.astype(int) - other).mean() > 40
  found = [framed(ink).astype(int) for ink in (one, other)]
  assert np.abs(found[0] - found[1]).mean() < 8


def test_sides_are_shares_and_channels_are_alike():
  # Twice as high as wide, as the image: alike spread, as shares.
  ink = rectangle(60, 20, 40, 20, shape=(160, 80))
  (_, high), (_, wide) = moments(framed(ink))
  assert high == pytest.approx(wide, rel=0.03)
  assert high == pytest.approx(SPREAD, rel=0.03)
  colour = Image.fromarray(ink.repeat(3).reshape(160, 80, 3))
  pixels = np.asarray(by_moments(colour, dark=False))
  np.testing.assert_array_equal(pixels[..., 1], framed(ink))


def test_little_ink():
  blank = np.zeros((32, 32), np.uint8)
  np.testing.assert_array_equal(framed(blank), blank)
  np.testing.assert_array_equal(framed(blank, dark=True), blank)
  for ink in (rectangle(4, 20, 1, 1, shape=(32, 32)), blank + np.uint8(255)):
    found = framed(ink)
    assert found.max() > 200
    (row, _), (column, _) = moments(found)
    assert max(abs(row), abs(column)) < 0.03
  line = framed(rectangle(3, 0, 1, 32, shape=(32, 32)))
  assert line.any()


def test_decoding_frames_before_it_resizes():
  ink = drawing(10, 12, 10)
  buffer = io.BytesIO()
  Image.fromarray(255 - ink).save(buffer, "png")
  encoded = buffer.getvalue()
  wanted = Image.fromarray(255 - framed(ink, dark=True))
  wanted = np.asarray(wanted.resize((24, 24), Image.Resampling.BILINEAR))
  frame = frame_fn("moments", invert=True)
  keywords = {"channels": 1, "size": (24, 24), "frame": frame}
  decoded = decode_image(encoded, **keywords)
  np.testing.assert_array_equal(decoded[..., 0], wanted)
  np.testing.assert_array_equal(fit_image(255 - ink, **keywords), decoded)
  # A user's image is read as training reads it, even of the right size.
  read = {"image_shape": (24, 24, 1), "invert": True, "name": "x"}
  found = read_image(encoded, frame="moments", **read)
  np.testing.assert_array_equal(found[..., 0], 255 - wanted)
  small = decode_image(encoded, channels=1, size=(24, 24))
  assert (read_image(small, frame="moments", **read) != 255 - small).any()
  np.testing.assert_array_equal(read_image(small, **read), 255 - small)


def test_no_frame():
  assert frame_fn("", invert=True) is None
  assert list(FRAMES) == ["", "moments"]
