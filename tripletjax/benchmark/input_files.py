"""Image files for the suite `input`: made on the spot, and read again."""

from __future__ import annotations

import dataclasses
import io
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from tripletjax.data.images import decode_image
from tripletjax.data.sources import Source


class Kind(NamedTuple):
  """A set of image files, and the batches that are drawn from it.

  Attributes:
    name: of the set.
    ending: of its files.
    stored: side of the images in the files, pixels.
    side: side of the images as the network sees them.
    channels: 1 grey, 3 RGB.
    classes: number of identities.
    each: images of each.
    identities: P.
    images: K.
  """

  name: str
  ending: str
  stored: int
  side: int
  channels: int
  classes: int
  each: int
  identities: int
  images: int


KINDS = {
  kind.name: kind
  for kind in (
    # As Omniglot: drawings of 105 x 105 in 1 bit, 20 of each character.
    Kind("omniglot", ".png", 105, 28, 1, 200, 20, 64, 8),
    Kind("faces", ".jpg", 160, 160, 3, 100, 10, 8, 4),
  )
}


@dataclasses.dataclass(frozen=True, eq=False)
class _Files:
  """Images that are read and decoded at every access."""

  paths: list[Path]
  kind: Kind

  def __getitem__(self, index: int) -> np.ndarray:
    side = self.kind.side
    return decode_image(
      self.paths[index].read_bytes(),
      channels=self.kind.channels,
      size=(side, side),
    )


def make_files(kind: Kind, folder: Path) -> None:
  """Writes `<folder>/<identity>/<number>` with the kind's ending."""
  rng = np.random.default_rng(0)
  draw = {1: _draw_strokes, 3: _draw_face}[kind.channels]
  for identity in range(kind.classes):
    place = folder / f"{identity:04d}"
    place.mkdir(parents=True)
    for number in range(kind.each):
      path = place / f"{number:02d}{kind.ending}"
      path.write_bytes(draw(rng, kind.stored))


def open_files(kind: Kind, folder: Path) -> Source:
  """The files that `make_files` wrote, as a source that decodes."""
  paths = sorted(folder.glob(f"*/*{kind.ending}"))
  names, labels = np.unique([p.parent.name for p in paths], return_inverse=True)
  return Source(
    images=_Files(paths, kind),
    labels=labels.astype(np.int32),
    label_names=tuple(map(str, names)),
    image_shape=(kind.side, kind.side, kind.channels),
  )


def _draw_strokes(rng: np.random.Generator, side: int) -> bytes:
  """A PNG of 1 bit: black strokes on white."""
  white = np.ones((side, side), bool)
  steps = rng.normal(scale=1.5, size=(3, side, 2)).cumsum(axis=1)
  for row, column in (steps + side / 2).reshape(-1, 2).astype(int):
    white[max(row - 1, 0) : row + 2, max(column - 1, 0) : column + 2] = False
  buffer = io.BytesIO()
  Image.fromarray(white).save(buffer, "png")
  return buffer.getvalue()


def _draw_face(rng: np.random.Generator, side: int) -> bytes:
  """A JPEG with about as much in it as a photograph of this size."""
  coarse = rng.integers(0, 256, (12, 12, 3), np.uint8)
  smooth = Image.fromarray(coarse).resize(
    (side, side), Image.Resampling.BICUBIC
  )
  noise = rng.normal(scale=8, size=(side, side, 3))
  pixels = np.clip(np.asarray(smooth) + noise, 0, 255).astype(np.uint8)
  buffer = io.BytesIO()
  Image.fromarray(pixels).save(buffer, "jpeg", quality=90)
  return buffer.getvalue()
