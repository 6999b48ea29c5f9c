"""Weights of PyTorch's files without PyTorch, and without running anything.

A `.pth` of `torch.save` is a zip: `data.pkl` describes the tensors, and each
storage is a member of its own. (Before PyTorch 1.6 it was pickles one after the
other, and the storages after them: `torch_legacy.py`.) A pickle is a program;
Python's own reader of pickles would import and call what it names. It isn't
used here: the few instructions that a description of tensors needs are followed
one by one, and anything else is refused by its name.
"""

from __future__ import annotations

import functools
import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from tripletjax.errors import UserError, printable
from tripletjax.safetensors_files import read_safetensors
from tripletjax.torch_legacy import MAGIC, read_legacy
from tripletjax.torch_program import MalformedError, follow
from tripletjax.torch_tensors import (
  CALLS,
  NAMES,
  array_of,
  storage_of,
  tensors_of,
)

LARGEST = 64 * 2**30  # bytes of a file
_DESCRIPTION = 64 * 2**20  # bytes of data.pkl
_MEMBERS = 100_000


def read_state_dict(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
  """The tensors of a `.pth` or `.safetensors` file, by name; read-only.

  Of a `.pth` that holds more than weights, those under `state_dict`,
  `model_state_dict` or `model`. Which format it is, the file itself says.

  Args:
    path: the file.

  Raises:
    UserError: it can't be read, holds anything but tensors, or is damaged.
  """
  path = Path(path)
  try:
    with path.open("rb") as file:
      start = file.read(len(MAGIC))
      size = file.seek(0, os.SEEK_END)
  except OSError as error:
    raise UserError(f"{path}: can't be read: {error.strerror}") from error
  if size > LARGEST:
    raise UserError(f"{path}: expected at most {LARGEST:,} B, got {size:,}")
  if start[:2] in (b"\x80\2", b"\x80\3", b"\x80\4") and start != MAGIC:
    raise UserError(
      f"{path}: a pickle that isn't torch.save's; expected a state_dict, as "
      ".pth or .safetensors"
    )
  try:
    if start == MAGIC:
      return read_legacy(path.read_bytes())
    if start[:4] == b"PK\3\4":
      return _read_zip(path, size)
    return read_safetensors(path)
  except MalformedError as error:
    raise UserError(f"{path}: {printable(str(error))}") from error
  except (UserError, MemoryError):
    raise
  except Exception as error:
    # zipfile raises nearly anything for a damaged file.
    said = printable(str(error)) or type(error).__name__
    raise UserError(f"{path}: can't be read: {said}") from error


def _read_zip(path: Path, size: int) -> dict[str, np.ndarray]:
  with zipfile.ZipFile(path) as archive:
    members = _members(archive, size)
    found = follow(
      members.read("data.pkl"), names=NAMES, calls=CALLS, persistent=storage_of
    )

    @functools.cache
    def held(key: str) -> np.ndarray:
      return np.frombuffer(members.read(f"data/{key}"), np.uint8)

    return {
      name: array_of(name, tensor, held)
      for name, tensor in tensors_of(found).items()
    }


class _Members:
  """Members of the zip by their name below its only folder."""

  def __init__(self, archive: zipfile.ZipFile, by_name: dict[str, Any]):
    self._archive, self._by_name = archive, by_name

  def read(self, name: str) -> bytes:
    if name not in self._by_name:
      raise MalformedError(
        f"expected a file of torch.save, got a zip without {name}"
      )
    try:
      return self._archive.read(self._by_name[name])
    except RuntimeError as error:  # such as an encrypted one
      raise MalformedError(f"{name}: {error}") from error


def _members(archive: zipfile.ZipFile, size: int) -> _Members:
  infos = archive.infolist()
  if len(infos) > _MEMBERS:
    raise MalformedError(
      f"expected at most {_MEMBERS:,} members, got {len(infos):,}"
    )
  by_name: dict[str, Any] = {}
  for info in infos:
    if info.compress_type != zipfile.ZIP_STORED or info.file_size > size:
      raise MalformedError(
        f"{info.filename}: expected it as it is, as torch.save writes it, got "
        "it compressed"
      )
    name = info.filename.partition("/")[2]
    if name in by_name:
      raise MalformedError(f"{info.filename}: is there twice")
    by_name[name] = info
  if by_name.get("data.pkl") and by_name["data.pkl"].file_size > _DESCRIPTION:
    raise MalformedError(f"data.pkl: expected at most {_DESCRIPTION:,} B")
  members = _Members(archive, by_name)
  if "byteorder" in by_name and members.read("byteorder") != b"little":
    raise MalformedError("byteorder: expected little")
  return members
