"""A batch as a contact sheet: a row for each identity."""

from __future__ import annotations

import pathlib
import textwrap
from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from tripletjax.errors import UserError, printable
from tripletjax.report.canvas import blank, figure_of, render

SMALLEST = 64  # pictures are enlarged by whole pixels up to about this height
LARGEST = 128  # and reduced to this
GAP = 4
LABELS = 220  # width of the column of names
LINE = 17
_LETTER = 6.3  # width of a letter, so that lines can be broken


def draw_batch(
  images: np.ndarray, identities: Sequence[str], title: str
) -> Figure:
  """Draws each image as it is, black where it is 0, pixel for pixel.

  Args:
    images: `[P, K, H, W, C]` in [0, 1], grey or RGB.
    identities: names of the P rows.
    title: lines above.
  """
  tiles = _tiles(images)
  rows, columns, height, width, _ = tiles.shape
  full = max(LABELS + columns * (width + GAP) + GAP, 520)
  lines = [
    part
    for line in title.splitlines()
    for part in textwrap.wrap(line, int((full - 2 * GAP) / _LETTER))
  ]
  top = (len(lines) + 1) * LINE
  raster = blank(top + rows * (height + GAP) + GAP, full)
  for row in range(rows):
    for column in range(columns):
      y, x = top + row * (height + GAP), LABELS + column * (width + GAP)
      raster[y : y + height, x : x + width] = tiles[row, column]
  figure, axes = figure_of(raster)
  for number, line in enumerate(lines):
    axes.text(
      2 * GAP,
      (number + 0.9) * LINE,
      line,
      va="center",
      fontsize=9,
      weight="bold" if not number else "normal",
      parse_math=False,
    )
  for row, name in enumerate(identities):
    axes.text(
      LABELS - 2 * GAP,
      top + row * (height + GAP) + height / 2,
      _ending(name, 24),
      ha="right",
      va="center",
      fontsize=9,
      parse_math=False,
    )
  return figure


def save_batch(figure: Figure, path: pathlib.Path) -> pathlib.Path:
  """Writes a PNG with every colour as it is.

  Raises:
    UserError: the file can't be written.
  """
  try:
    path.parent.mkdir(parents=True, exist_ok=True)
    render(figure, path)
  except OSError as error:
    raise UserError(
      f"--output: can't write {path}: {error.strerror or error}"
    ) from error
  return path


def _tiles(images: np.ndarray) -> np.ndarray:
  """RGB, enlarged or reduced: `[P, K, h, w, 3]`."""
  height, width, channels = images.shape[2:]
  if channels not in (1, 3):
    images = images.mean(axis=-1, keepdims=True)
  images = np.broadcast_to(images, (*images.shape[:-1], 3)).clip(0, 1)
  times = max(SMALLEST // height, 1)
  if times > 1:
    return images.repeat(times, axis=2).repeat(times, axis=3)
  if height <= LARGEST:
    return images
  size = (round(width * LARGEST / height), LARGEST)
  reduced = [
    np.asarray(
      Image.fromarray(np.rint(255 * image).astype(np.uint8)).resize(
        size, Image.Resampling.BOX
      )
    )
    for image in images.reshape(-1, height, width, 3)
  ]
  return np.stack(reduced).reshape(*images.shape[:2], LARGEST, size[0], 3) / 255


def _ending(name: str, limit: int) -> str:
  """The end of a long name, which tells folders' names apart."""
  name = printable(name)
  return name if len(name) <= limit else "…" + name[1 - limit :]
