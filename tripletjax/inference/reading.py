"""Images of a user's, as the network of a run was trained on them."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from tripletjax.data.entries import LARGEST, Entry, Folder
from tripletjax.data.framing import frame_fn
from tripletjax.data.images import DECODE_ERRORS, decode_image, fit_image
from tripletjax.errors import UserError, printable

# A file's path, one of a folder or zip, an encoded file's bytes, or uint8
# [H, W], [H, W, 1 or 3].
Image = str | os.PathLike[str] | Entry | bytes | np.ndarray
_ANYWHERE = Folder(Path())
# Is told of an image that can't be read: its index, and why.
Unreadable = Callable[[int, UserError], object]


def read_image(
  image: Image,
  *,
  image_shape: tuple[int, int, int],
  invert: bool,
  name: str,
  frame: str = "",
) -> np.ndarray:
  """Decodes an image, and brings it to what a network was trained on.

  Args:
    image: a path, a file of a folder or zip, the bytes of an image file, or
      uint8 `[H, W]` or `[H, W, C]`.
    image_shape: `(H, W, C)` of the result.
    invert: whether white becomes black and black white.
    name: what a message calls it.
    frame: a name from `FRAMES`: where a drawing stands on its paper.

  Returns:
    uint8 `[H, W, C]`.

  Raises:
    UserError: it is no image, or can't be read.
  """
  height, width, channels = image_shape
  framed = frame_fn(frame, invert=invert)
  try:
    if isinstance(image, np.ndarray):
      pixels = image
      if image.dtype != np.uint8 or image.shape != image_shape or frame:
        pixels = fit_image(
          image, channels=channels, size=(height, width), frame=framed
        )
    else:
      pixels = decode_image(
        encoded_bytes(image),
        channels=channels,
        size=(height, width),
        frame=framed,
      )
  except OSError as error:
    raise _unreadable(name, error.strerror or str(error)) from error
  except DECODE_ERRORS as error:
    raise _unreadable(name, str(error)) from error
  return 255 - pixels if invert else pixels


def encoded_bytes(image: str | os.PathLike[str] | Entry | bytes) -> bytes:
  """The bytes of an image file; OSError where it can't be read."""
  if isinstance(image, bytes):
    return image
  if isinstance(image, Entry):
    return image.read()
  return _ANYWHERE.read(os.fspath(image), LARGEST)


def _unreadable(name: str, reason: str) -> UserError:
  return UserError(
    f"{name} can't be read: {printable(reason)}; expected an image, such as a "
    "JPEG or PNG file"
  )


@dataclasses.dataclass(frozen=True, eq=False)
class Images:
  """Images by random access, read at every access: the images of a source.

  Attributes:
    images: as in `read_image`.
    image_shape: `(H, W, C)` that all are brought to.
    invert: as in `read_image`.
    on_unreadable: is told, in any thread, of one that can't be read, which is
      black then; None raises the error.
    frame: as in `read_image`.
  """

  images: Sequence[Image] | np.ndarray
  image_shape: tuple[int, int, int]
  invert: bool
  on_unreadable: Unreadable | None = None
  frame: str = ""

  def __getitem__(self, index: int) -> np.ndarray:
    image = self.images[index]
    try:
      return read_image(
        image,
        image_shape=self.image_shape,
        invert=self.invert,
        frame=self.frame,
        name=name_of(image, int(index)),
      )
    except UserError as error:
      if self.on_unreadable is None:
        raise
      self.on_unreadable(int(index), error)
      return np.zeros(self.image_shape, np.uint8)


def name_of(image: Image, index: int) -> str:
  """What a message calls an image: its path, or its place among others."""
  if isinstance(image, bytes | np.ndarray):
    return f"image {index}"
  path = image.file if isinstance(image, Entry) else image
  return printable(os.fsdecode(path))
