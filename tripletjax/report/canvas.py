"""Rasters: glyphs composited in NumPy, and figures that show them 1:1.

A raster is `[height, width, 3]` float32 in 0..1. Thousands of glyphs are
pasted into one raster instead of becoming Matplotlib artists, and a figure
shows it pixel for pixel, so that text can be placed in pixels too.
"""

from __future__ import annotations

import contextlib
import io
import pathlib
import warnings

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from tripletjax.errors import UserError, printable

DPI = 100
GREEN = (0.13, 0.60, 0.29)
RED = (0.83, 0.18, 0.18)
GRAY = (0.72, 0.72, 0.72)
INK = (0.10, 0.10, 0.12)


def blank(height: int, width: int) -> np.ndarray:
  """A white raster, `[height, width, 3]`."""
  return np.ones((height, width, 3), np.float32)


def ink_of(image: np.ndarray, size: int) -> np.ndarray:
  """Ink `[size, size]` in 0..1 of a uint8 picture `[H, W, C]`, ink high.

  Colour channels are averaged; a picture that isn't square is centred.
  """
  gray = image.astype(np.float32).mean(axis=2)
  height, width = gray.shape
  side = max(height, width, 1)
  square = np.zeros((side, side), np.uint8)
  top, left = (side - height) // 2, (side - width) // 2
  square[top : top + height, left : left + width] = np.rint(gray)
  # Small pictures are enlarged without blur; large ones are averaged down.
  method = Image.Resampling.LANCZOS if side > size else Image.Resampling.BICUBIC
  resized = Image.fromarray(square).resize((size, size), method)
  return np.asarray(resized, np.float32) / 255


def paste_ink(
  raster: np.ndarray,
  ink: np.ndarray,
  top: int,
  left: int,
  color: tuple[float, float, float] = INK,
) -> None:
  """Paints `ink` `[H, W]` over the raster, in place; must lie inside."""
  place = raster[top : top + ink.shape[0], left : left + ink.shape[1]]
  alpha = ink[:, :, None]
  place[:] = place * (1 - alpha) + np.asarray(color, np.float32) * alpha


def is_ink(image: np.ndarray) -> bool:
  """Whether a picture `[H, W, C]`, uint8, is drawn in ink on nothing.

  It has one channel then, and its rim is black.
  """
  rim = [image[0], image[-1], image[:, 0], image[:, -1]]
  return image.shape[2] == 1 and bool(np.median(np.concatenate(rim)) < 16)


def tile(image: np.ndarray, size: int) -> np.ndarray:
  """A picture `[H, W, C]`, uint8, as it is looked at: `[size, size, 3]`.

  Ink becomes black on white; any other picture is shown as it is.
  """
  if is_ink(image):
    raster = blank(size, size)
    paste_ink(raster, ink_of(image, size), 0, 0)
    return raster
  # What has neither one channel nor three is shown by its mean.
  if image.shape[2] != 3:
    return np.repeat(ink_of(image, size)[:, :, None], 3, axis=2)
  planes = np.moveaxis(image, 2, 0)[..., None]
  return np.stack([ink_of(plane, size) for plane in planes], axis=2)


def paste_tile(
  raster: np.ndarray,
  image: np.ndarray,
  top: int,
  left: int,
  *,
  size: int,
  frame: tuple[float, float, float] = GRAY,
  border: int = 3,
) -> None:
  """Pastes a framed picture, `size` pixels wide with its frame, in place."""
  raster[top : top + size, left : left + size] = frame
  inner = size - 2 * border
  raster[
    top + border : top + border + inner, left + border : left + border + inner
  ] = tile(image, inner)


def figure_of(raster: np.ndarray) -> tuple[Figure, Axes]:
  """A figure of the raster's size; its axes count pixels from the top left."""
  height, width = raster.shape[:2]
  figure = Figure(figsize=(width / DPI, height / DPI), dpi=DPI)
  figure.add_axes((0, 0, 1, 1))
  axes = figure.axes[0]
  axes.set_axis_off()
  axes.imshow(
    raster,
    extent=(0, width, height, 0),
    interpolation="nearest",
    aspect="auto",
    vmin=0,
    vmax=1,
  )
  axes.set_xlim(0, width)
  axes.set_ylim(height, 0)
  return figure, axes


def render(figure: Figure, target: io.BytesIO | pathlib.Path) -> None:
  """Draws a figure as PNG."""
  with warnings.catch_warnings():
    # Names may be in any script: what the typeface lacks becomes a box.
    warnings.filterwarnings("ignore", message="Glyph .* missing from font")
    FigureCanvasAgg(figure).print_png(target)


def save_figure(figure: Figure, path: pathlib.Path) -> pathlib.Path:
  """Writes a PNG of at most 128 colours: small enough for a README.

  Raises:
    UserError: it can't be written; nothing is left of it then.
  """
  buffer = io.BytesIO()
  render(figure, buffer)
  with Image.open(buffer) as image:
    small = image.convert("RGB").quantize(
      128, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE
    )
  temporary = path.with_name(f".{path.name}.tmp")
  try:
    path.parent.mkdir(parents=True, exist_ok=True)
    small.save(temporary, "PNG", optimize=True)
    temporary.replace(path)
  except OSError as error:
    with contextlib.suppress(OSError):
      temporary.unlink()
    raise UserError(f"can't write {path}: {error.strerror or error}") from error
  return path


def short(text: str, limit: int) -> str:
  """The text on a line, cut to `limit` characters.

  >>> short("abcdef", 4)
  'abc…'
  """
  text = printable(text)
  return text if len(text) <= limit else text[: limit - 1] + "…"


def class_colors(count: int) -> np.ndarray:
  """`count` colours `[count, 3]`, dark enough to read on white.

  Sixteen hues of about one lightness; consecutive classes lie far apart on
  the wheel. More classes than hues share them: position tells those apart.
  """
  hues = np.arange(count) * 7 % 16 / 16
  wheel = 2 * np.pi * (hues[:, None] - np.array([0, 1 / 3, 2 / 3])[None])
  color = 0.42 + 0.40 * np.cos(wheel)
  # Green looks brighter than blue at one value: level the luma to 0.36.
  luma = color @ np.array([0.299, 0.587, 0.114])
  return np.clip(color * (0.36 / luma)[:, None], 0, 0.88)
