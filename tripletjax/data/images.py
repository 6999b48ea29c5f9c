"""Decoding: any of the usual image files to uint8, by Pillow.

TFDS's own decoding goes wrong for 1-bit and palette PNG, so that images are
decoded here.
"""

from __future__ import annotations

import hashlib
import io
import re
import warnings

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from tripletjax.data.framing import FrameFn
from tripletjax.errors import UserError

# What counts as an image in a folder.
ENDINGS = (
  ".bmp",
  ".jpeg",
  ".jpg",
  ".pbm",
  ".pgm",
  ".png",
  ".pnm",
  ".ppm",
  ".webp",
)
_GREY = ("1", "L", "LA", "La", "I", "F")
# Files that every reader of TFDS sets decodes as we do, and that are small.
_PLAIN = ("JPEG", "PNG", "WEBP")
_ORIENTATION = 0x0112  # of EXIF; 1 is upright
# What is opened, whatever a file's name says. Pillow knows more: it would hand
# an EPS to Ghostscript, a program that writes files.
_FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
# Of an image, at most: 8192 x 8192. A small file can declare any number of
# them, and each takes bytes as soon as it is decoded.
PIXELS = 2**26
# What Pillow raises for a file that is damaged, cut short or no image.
DECODE_ERRORS = (
  OSError,
  SyntaxError,
  ValueError,
  EOFError,
  Image.DecompressionBombError,
)


def decode_image(
  encoded: bytes,
  *,
  channels: int = 0,
  size: tuple[int, int] | None = None,
  frame: FrameFn | None = None,
) -> np.ndarray:
  """Decodes an image file.

  The orientation of EXIF is applied, transparency is laid on white, 16 bits
  are scaled to 8.

  Args:
    encoded: the bytes of a JPEG, PNG, PGM, WebP or BMP file.
    channels: 1 grey, 3 colour, 0 as in the file.
    size: `(H, W)` to resize to, antialiased; the aspect isn't kept. None
      leaves the size.
    frame: what is done to the image before; see `frame_fn`.

  Returns:
    uint8 `[H, W, C]`.

  Raises:
    OSError, SyntaxError, ValueError, EOFError: the file can't be decoded.
  """
  with _opened(encoded) as file:
    image = _upright(file)
    mode = {0: image.mode, 1: "L", 3: "RGB"}[channels]
    # A conversion to the same mode is a copy.
    image = image if image.mode == mode else image.convert(mode)
    return _pixels(frame(image) if frame else image, size)


def fit_image(
  pixels: np.ndarray,
  *,
  channels: int,
  size: tuple[int, int],
  frame: FrameFn | None = None,
) -> np.ndarray:
  """A decoded image, as `decode_image` would give it of a file.

  Args:
    pixels: uint8 `[H, W]`, `[H, W, 1]` or `[H, W, 3]`.
    channels: 1 grey, 3 colour.
    size: `(H, W)` to resize to.
    frame: as in `decode_image`.

  Returns:
    uint8 `[H, W, C]`.

  Raises:
    ValueError: it is no such array.
  """
  if pixels.dtype != np.uint8:
    raise ValueError(f"expected uint8 pixels, got {pixels.dtype}")
  if pixels.ndim == 3 and pixels.shape[-1] == 1:
    pixels = pixels[..., 0]
  colour = pixels.ndim == 3 and pixels.shape[-1] == 3
  if not (colour or pixels.ndim == 2) or not pixels.size:
    raise ValueError(
      f"expected an image [H, W], [H, W, 1] or [H, W, 3], got {pixels.shape}"
    )
  image = Image.fromarray(np.ascontiguousarray(pixels))
  image = image.convert({1: "L", 3: "RGB"}[channels])
  return _pixels(frame(image) if frame else image, size)


def store_image(
  encoded: bytes, *, size: tuple[int, int] | None = None
) -> tuple[bytes, int, bytes]:
  """How an image is kept in a prepared set.

  As it came where it is a JPEG, PNG or WebP of 8 bits, grey or colour, without
  transparency and upright; else as a PNG of what it decodes to.

  Args:
    encoded: the bytes of the file.
    size: `(H, W)` to resize to; None leaves the size.

  Returns:
    The bytes to keep, the number of channels (1 or 3), and a hash of the
    pixels, by which duplicates are found whatever their file format.

  Raises:
    OSError, SyntaxError, ValueError, EOFError: the file can't be decoded.
  """
  with _opened(encoded) as file:
    plain = (
      file.format in _PLAIN
      and file.mode in ("L", "RGB")
      and not file.has_transparency_data
      and file.getexif().get(_ORIENTATION, 1) == 1
      and size in (None, (file.height, file.width))
    )
    pixels = _pixels(_upright(file), size)
  digest = hashlib.blake2b(str(pixels.shape).encode(), digest_size=16)
  digest.update(pixels.tobytes())
  if not plain:
    buffer = io.BytesIO()
    Image.fromarray(
      pixels.squeeze(-1) if pixels.shape[-1] == 1 else pixels
    ).save(buffer, "png")
    encoded = buffer.getvalue()
  return encoded, pixels.shape[-1], digest.digest()


def read_size(text: str, *, field: str) -> tuple[int, int] | None:
  """`(H, W)` of `64` or `128x64`; None of "".

  Raises:
    UserError: the text is neither; the message calls it `field`.

  >>> read_size("128x64", field="data.image_size")
  (128, 64)
  """
  if not text:
    return None
  found = re.fullmatch(r"([1-9]\d{0,4})(?:x([1-9]\d{0,4}))?", text)
  if not found:
    raise UserError(f"{field}: expected 64 or 128x64, got {text!r}")
  height, width = int(found[1]), int(found[2] or found[1])
  if height * width > PIXELS:
    raise UserError(
      f"{field}: expected at most {PIXELS:,} pixels, got {height} x {width}"
    )
  return height, width


def _opened(encoded: bytes) -> Image.Image:
  """The image before it is decoded; ValueError where it is too large."""
  with warnings.catch_warnings():
    # Pillow's own limits, a warning and an error, are above ours.
    warnings.simplefilter("ignore", Image.DecompressionBombWarning)
    try:
      file = Image.open(io.BytesIO(encoded), formats=_FORMATS)
    except Image.DecompressionBombError as error:
      raise ValueError(f"expected at most {PIXELS:,} pixels: {error}") from None
    except UnidentifiedImageError:
      # Pillow's own message ends in the address of a buffer.
      raise UnidentifiedImageError("cannot identify image file") from None
  if file.width * file.height > PIXELS:
    size = f"{file.width} x {file.height}"
    file.close()
    raise ValueError(f"expected at most {PIXELS:,} pixels, got {size}")
  return file


def _upright(file: Image.Image) -> Image.Image:
  """The image in mode L or RGB, turned as EXIF says."""
  file.load()
  # Most are plain: a quarter of the time of a small one is what follows.
  if (
    file.mode in ("L", "RGB")
    and not file.has_transparency_data
    and file.getexif().get(_ORIENTATION, 1) == 1
  ):
    return file
  image = ImageOps.exif_transpose(file)
  if image.mode.startswith("I"):
    # Pillow's own conversion clips at 255.
    values = np.asarray(image).astype(np.int64)
    eight = (values.clip(0, 65535) * 255 + 32767) // 65535
    return Image.fromarray(eight.astype(np.uint8))
  if image.mode == "F":
    raise ValueError("expected integer pixels, got floating point ones")
  grey = image.mode in _GREY or (image.mode == "P" and _grey_palette(image))
  if image.has_transparency_data:
    image = image.convert("RGBA")
    white = Image.new("RGBA", image.size, "white")
    image = Image.alpha_composite(white, image)
  if grey and image.mode not in _GREY:
    image = image.convert("RGB").getchannel(0)
  return image.convert("L" if grey else "RGB")


def _grey_palette(image: Image.Image) -> bool:
  colours = np.asarray(image.getpalette("RGB"), int).reshape(-1, 3)
  used = np.unique(np.asarray(image))
  colours = colours[used[used < len(colours)]]
  return bool((colours == colours[:, :1]).all())


def _pixels(image: Image.Image, size: tuple[int, int] | None) -> np.ndarray:
  if size and size != (image.height, image.width):
    image = image.resize((size[1], size[0]), Image.Resampling.BILINEAR)
  pixels = np.array(image)
  return pixels[..., None] if pixels.ndim == 2 else pixels
