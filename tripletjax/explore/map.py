"""The map: places in two dimensions, and all thumbnails in one picture."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from tripletjax.report.canvas import class_colors, ink_of, is_ink, tile
from tripletjax.report.embedding import project, spread

SHOWN = 2000  # images on the map, at most; t-SNE takes seconds for so many
TILE = 48  # pixels of a thumbnail's side
_COLORS = 16
_GREY = (0.45, 0.45, 0.45)  # of an identity that is unknown


class Map(NamedTuple):
  """Where some images of a set lie.

  Attributes:
    chosen: which images, ascending, `[M]`.
    points: in the unit square, x to the right and y up, `[M, 2]`.
    glyph: side of a thumbnail, as a share of the map's.
    ink: whether they are drawings, without paper, in the identity's colour.
    sprite: a WebP picture of the thumbnails, row by row.
    columns: thumbnails in a row of it.
  """

  chosen: np.ndarray
  points: np.ndarray
  glyph: float
  ink: bool
  sprite: bytes
  columns: int


def draw_map(
  embeddings: np.ndarray,
  images: Any,
  labels: np.ndarray,
  *,
  seed: int = 0,
  most: int = SHOWN,
) -> Map:
  """Places a set by t-SNE, as the report does; a draw of it where it's large.

  Args:
    embeddings: `[N, D]`.
    images: uint8 `[H, W, C]` by index.
    labels: identities, `[N]`, integer; below 0 where unknown.
    seed: of the draw and of t-SNE.
    most: images that are shown.
  """
  chosen = np.arange(len(embeddings))
  if len(chosen) > most:
    chosen = np.random.default_rng(seed).choice(
      len(chosen), most, replace=False
    )
    chosen.sort()
  shown = [np.asarray(images[int(number)]) for number in chosen]
  ink = all(map(is_ink, shown))
  # As in the report: parted where they overlap, half a thumbnail.
  glyph = float(np.clip(1.1 / np.sqrt(len(chosen)), 30 / 1600, 72 / 1600))
  points = spread(project(embeddings[chosen], seed=seed), gap=0.55 * glyph)
  sheet = [
    _ink(image, int(label)) if ink else thumbnail(image, TILE)
    for image, label in zip(shown, labels[chosen], strict=True)
  ]
  columns = math.ceil(math.sqrt(len(sheet)))
  return Map(chosen, points, glyph, ink, _sprite(sheet, columns), columns)


def _ink(image: np.ndarray, label: int) -> np.ndarray:
  """Ink in the colour of an identity, on nothing; uint8 `[TILE, TILE, 4]`."""
  color = _GREY if label < 0 else class_colors(_COLORS)[label % _COLORS]
  pixels = np.empty((TILE, TILE, 4), np.float32)
  pixels[..., :3] = color
  pixels[..., 3] = np.clip(ink_of(image, TILE), 0, 1)
  return np.rint(pixels * 255).astype(np.uint8)


def _sprite(tiles: Sequence[np.ndarray], columns: int) -> bytes:
  """Thumbnails in one picture, row by row."""
  rows = math.ceil(len(tiles) / columns)
  sheet = np.zeros((rows * TILE, columns * TILE, tiles[0].shape[2]), np.uint8)
  for place, pixels in enumerate(tiles):
    top, left = (TILE * x for x in divmod(place, columns))
    sheet[top : top + TILE, left : left + TILE] = pixels
  buffer = io.BytesIO()
  has_ink = sheet.shape[2] == 4
  Image.fromarray(sheet).save(
    buffer, "webp", quality=80, method=2, lossless=has_ink
  )
  return buffer.getvalue()


def thumbnail(image: np.ndarray, size: int) -> np.ndarray:
  """A picture as it is looked at, uint8 `[size, size, 3]`; ink is black."""
  return np.rint(np.clip(tile(image, size), 0, 1) * 255).astype(np.uint8)


def encode_png(pixels: np.ndarray) -> bytes:
  """uint8 `[H, W, 3]` as a PNG."""
  buffer = io.BytesIO()
  Image.fromarray(pixels).save(buffer, "png")
  return buffer.getvalue()


def palette() -> list[str]:
  """Colours of classes, in turn: class k has number k modulo their count."""
  colors = np.rint(class_colors(_COLORS) * 255).astype(int)
  return [f"#{r:02x}{g:02x}{b:02x}" for r, g, b in colors]
