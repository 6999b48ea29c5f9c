import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from tripletjax.data.images import DECODE_ERRORS, decode_image, store_image

GREY = np.array([[0, 255, 128], [7, 200, 31]], np.uint8)
COLOUR = np.stack([GREY, 255 - GREY, GREY // 2], axis=-1)


def encode(image, kind="png", **options):
  buffer = io.BytesIO()
  image.save(buffer, kind, **options)
  return buffer.getvalue()


def palette(colours, indices):
  image = Image.fromarray(np.array(indices, np.uint8), "P")
  image.putpalette(np.array(colours, np.uint8).ravel().tolist())
  return image


def png(bits, colour, rows):
  """A PNG written by hand: 16-bit ones that Pillow doesn't write."""

  def chunk(kind, data):
    crc = struct.pack(">I", zlib.crc32(kind + data))
    return struct.pack(">I", len(data)) + kind + data + crc

  height, width = len(rows), len(rows[0])
  head = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
  body = b"".join(b"\0" + np.asarray(row, ">u2").tobytes() for row in rows)
  return b"".join(
    [
      b"\x89PNG\r\n\x1a\n",
      chunk(b"IHDR", head),
      chunk(b"IDAT", zlib.compress(body)),
      chunk(b"IEND", b""),
    ]
  )


def ink(value):
  return np.array(value, np.uint8)[..., None]


@pytest.mark.parametrize("kind", ["png", "bmp", "ppm", "webp"])
def test_lossless_formats_give_the_pixels_written(kind):
  options = {"lossless": True} if kind == "webp" else {}
  colour = encode(Image.fromarray(COLOUR), kind, **options)
  np.testing.assert_array_equal(decode_image(colour), COLOUR)
  if kind != "webp":  # which knows no grey
    grey = encode(Image.fromarray(GREY), kind)
    np.testing.assert_array_equal(decode_image(grey), GREY[..., None])


@pytest.mark.parametrize("value", [0, 100, 255])
def test_jpeg_of_one_colour(value):
  image = Image.new("RGB", (16, 8), (value, value, value))
  pixels = decode_image(encode(image, "jpeg", quality=95))
  assert pixels.shape == (8, 16, 3)
  assert np.abs(pixels.astype(int) - value).max() <= 1


BITS = Image.fromarray(np.array([[True, False], [False, False]]))


@pytest.mark.parametrize("kind", ["png", "ppm", "bmp"])
def test_one_bit_is_black_and_white(kind):
  pixels = decode_image(encode(BITS, kind), channels=1)
  np.testing.assert_array_equal(pixels, ink([[255, 0], [0, 0]]))


def test_palettes():
  image = palette([(10, 20, 30), (255, 0, 9)], [[0, 1]])
  np.testing.assert_array_equal(
    decode_image(encode(image)), [[[10, 20, 30], [255, 0, 9]]]
  )
  image = palette([(10, 10, 10), (90, 90, 90)], [[1, 0]])
  np.testing.assert_array_equal(decode_image(encode(image)), ink([[90, 10]]))


def test_a_transparent_palette_entry_is_white():
  image = palette([(10, 20, 30), (255, 0, 9)], [[0, 1]])
  np.testing.assert_array_equal(
    decode_image(encode(image, transparency=1)),
    [[[10, 20, 30], [255, 255, 255]]],
  )


@pytest.mark.parametrize("mode", ["LA", "RGBA"])
def test_alpha_is_laid_on_white(mode):
  channels = [Image.fromarray(ink([[0, 100, 40]])[..., 0])] * (len(mode) - 1)
  alpha = Image.fromarray(ink([[0, 255, 51]])[..., 0])
  pixels = decode_image(encode(Image.merge(mode, [*channels, alpha])))
  assert pixels.shape == (1, 3, len(mode) - 1)
  # 51 / 255 = .2 of 40, and .8 of white.
  expected = np.array([255, 100, 0.2 * 40 + 0.8 * 255])
  assert np.abs(pixels[0] - expected[:, None]).max() <= 1


SIXTEEN = [[0, 65535, 257], [128, 129, 32896]]
EIGHT = [[0, 255, 1], [0, 1, 128]]  # value / 257, rounded


def test_sixteen_bit_grey_png_is_scaled():
  pixels = decode_image(png(16, 0, SIXTEEN))
  np.testing.assert_array_equal(pixels, ink(EIGHT))


def test_sixteen_bit_colour_png_is_scaled():
  # Three channels of one pixel stand in one row; Pillow drops the low byte.
  encoded = png(16, 2, [[0, 65535, 32896]])
  # The header's width counts pixels, not values.
  fixed = encoded[:16] + struct.pack(">I", 1) + encoded[20:29]
  crc = struct.pack(">I", zlib.crc32(fixed[12:29]))
  pixels = decode_image(fixed + crc + encoded[33:])
  np.testing.assert_array_equal(pixels, [[[0, 255, 128]]])


@pytest.mark.parametrize("largest", [65535, 1000])
def test_sixteen_bit_pgm_is_scaled(largest):
  values = [0, largest, largest // 2]
  head = f"P5 3 1 {largest}\n".encode()
  pixels = decode_image(head + np.array(values, ">u2").tobytes())
  expected = [round(v * 255 / largest) for v in values]
  np.testing.assert_array_equal(pixels, ink([expected]))


def test_ascii_pgm():
  np.testing.assert_array_equal(
    decode_image(b"P2 2 1 255\n3 250\n"), ink([[3, 250]])
  )


TURNS = {
  1: GREY,
  2: GREY[:, ::-1],
  3: GREY[::-1, ::-1],
  4: GREY[::-1],
  5: GREY.T,
  6: np.rot90(GREY, -1),
  7: GREY[::-1, ::-1].T,
  8: np.rot90(GREY),
}


@pytest.mark.parametrize("orientation", list(TURNS))
def test_the_orientation_of_exif_is_applied(orientation):
  exif = Image.Exif()
  exif[0x0112] = orientation
  encoded = encode(Image.fromarray(GREY), exif=exif)
  wanted = TURNS[orientation][..., None]
  np.testing.assert_array_equal(decode_image(encoded), wanted)
  kept, channels, _ = store_image(encoded)
  np.testing.assert_array_equal(decode_image(kept), wanted)
  assert channels == 1
  assert (kept == encoded) == (orientation == 1)


def test_channels():
  grey, colour = (encode(Image.fromarray(a)) for a in (GREY, COLOUR))
  np.testing.assert_array_equal(
    decode_image(grey, channels=3), np.repeat(GREY[..., None], 3, axis=-1)
  )
  # ITU-R 601-2.
  luma = COLOUR @ np.array([0.299, 0.587, 0.114])
  pixels = decode_image(colour, channels=1)[..., 0]
  assert np.abs(pixels - luma).max() <= 1


def test_resizing_is_antialiased():
  # Stripes of one pixel: without a filter only one of both would be seen.
  stripes = np.tile(np.array([0, 255], np.uint8), (8, 32))
  pixels = decode_image(encode(Image.fromarray(stripes)), size=(4, 8))
  assert pixels.shape == (4, 8, 1)
  assert np.abs(pixels[:, 1:-1].astype(int) - 128).max() <= 2


def test_plain_files_are_kept_as_they_came():
  for image in (GREY, COLOUR):
    encoded = encode(Image.fromarray(image))
    assert store_image(encoded)[:2] == (encoded, 1 if image.ndim == 2 else 3)
  kept = store_image(encode(BITS))[0]
  assert Image.open(io.BytesIO(kept)).mode == "L"


def test_the_hash_is_that_of_the_pixels():
  image = Image.fromarray(COLOUR)
  same = [encode(image), encode(image, "bmp"), encode(image, "ppm")]
  assert len({store_image(encoded)[2] for encoded in same}) == 1
  other = COLOUR.copy()
  other[0, 0, 0] ^= 1
  assert (
    store_image(encode(Image.fromarray(other)))[2] != store_image(same[0])[2]
  )


@pytest.mark.parametrize("kind", ["png", "jpeg", "bmp", "ppm", "webp"])
def test_a_file_cut_short_raises(kind):
  noise = np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8)
  encoded = encode(Image.fromarray(noise), kind)
  with pytest.raises(DECODE_ERRORS):
    decode_image(encoded[: len(encoded) // 2])


@pytest.mark.parametrize("encoded", [b"", b"no image", b"\x89PNG\r\n\x1a\n"])
def test_what_is_no_image_raises(encoded):
  with pytest.raises(DECODE_ERRORS):
    store_image(encoded)


def test_a_file_for_another_program_is_no_image():
  buffer = io.BytesIO()
  Image.fromarray(COLOUR).save(buffer, "eps")
  with Image.open(io.BytesIO(buffer.getvalue())) as image:
    assert image.format == "EPS"  # which Ghostscript would be run for
  with pytest.raises(DECODE_ERRORS, match="cannot identify image file"):
    decode_image(buffer.getvalue())
