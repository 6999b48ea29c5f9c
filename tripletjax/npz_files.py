"""Files of NumPy arrays, checked; a broken one is named in one line."""

from __future__ import annotations

import pathlib
import zipfile
import zlib

import numpy as np

from tripletjax.errors import UserError

_KIND_NAMES = {
  "B": "uint8", "U": "str", "f": "float", "i": "int", "u": "unsigned int",
}  # fmt: skip


def read_npz(path: pathlib.Path) -> dict[str, np.ndarray]:
  """All arrays of an archive.

  Raises:
    UserError: the file can't be read.
  """
  try:
    # Opened here: np.load leaves a file open that turns out to be no archive.
    with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
      return dict(archive)
  except (
    OSError,
    ValueError,
    EOFError,
    zipfile.BadZipFile,
    zlib.error,
    TypeError,
  ) as error:
    reason = str(error).splitlines()[0] if str(error) else "an empty file"
    raise UserError(
      f"{path}: expected a NumPy .npz archive, got: {reason}"
    ) from error


def take(
  data: dict[str, np.ndarray],
  path: pathlib.Path,
  name: str,
  kinds: str,
  shape: tuple[int | None, ...],
) -> np.ndarray:
  """An array of the archive, of a dtype (NumPy kinds or chars) and a shape.

  Raises:
    UserError: it is missing, or has another dtype or shape.
  """
  if name not in data:
    raise UserError(
      f"{path}: expected an array {name!r}, got only {', '.join(data)}"
    )
  array = data[name]
  fits = array.ndim == len(shape) and all(
    want is None or want == got
    for want, got in zip(shape, array.shape, strict=True)
  )
  if not {array.dtype.kind, array.dtype.char} & set(kinds) or not fits:
    names = "/".join(_KIND_NAMES[kind] for kind in kinds)
    want = ", ".join("any" if size is None else str(size) for size in shape)
    raise UserError(
      f"{path}: expected {name} of dtype {names} and shape "
      f"({want}), got {array.dtype} {array.shape}"
    )
  return array
