"""Zip files that are safe to read: nothing is ever unpacked to the disk."""

from __future__ import annotations

import lzma
import re
import stat
import struct
import threading
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

from tripletjax.errors import UserError

# Unpacked, images are seldom larger than in a zip: bitmaps of blank paper are,
# a hundredfold. Zeros shrink a thousandfold.
RATIO = 100
_SMALL = 2**28  # bytes that are no bomb however well they were packed
# What zipfile raises for a damaged member, or for an unknown compression.
_DAMAGED = (
  EOFError,
  NotImplementedError,
  OverflowError,
  RuntimeError,
  ValueError,
  lzma.LZMAError,
  struct.error,
  zipfile.BadZipFile,
  zlib.error,
)


class Archive:
  """A zip file. Any of its members out of order refuses all of it.

  Raises:
    UserError: it isn't a zip or is damaged, would unpack to far more than its
      size, or a member would climb out of its folder, is a symbolic link, is
      encrypted, or is there twice.
  """

  def __init__(self, path: Path) -> None:
    self.path = path
    self._lock = threading.Lock()
    try:
      self._zip = zipfile.ZipFile(path)
    except OSError as error:
      raise UserError(
        f"--images: can't read {path}: {error.strerror or error}"
      ) from error
    except _DAMAGED as error:
      raise UserError(
        f"--images: {path} is neither a folder nor a zip that can be read: "
        f"{error}"
      ) from error
    self._check()

  def files(self) -> Iterator[tuple[str, int, str]]:
    """Name, size and CRC of every file."""
    for member in self._zip.infolist():
      if not member.is_dir():
        yield member.filename, member.file_size, f"{member.CRC:08x}"

  def read(self, member: str, limit: int) -> bytes:
    """The member's bytes; OSError where it's damaged or longer than `limit`."""
    if self._zip.getinfo(member).file_size > limit:
      raise OSError(f"larger than {limit:,} bytes")
    # zipfile counts its open members without a lock.
    with self._lock:
      try:
        with self._zip.open(member) as file:
          # No more than what was declared is ever unpacked.
          return file.read(limit)
      except _DAMAGED as error:
        raise OSError(str(error) or type(error).__name__) from error

  def _check(self) -> None:
    seen = set()
    unpacked = sum(member.file_size for member in self._zip.infolist())
    size = self.path.stat().st_size
    if unpacked > max(_SMALL, RATIO * size):
      raise UserError(
        f"--images: {self.path}: {size:,} bytes would unpack to {unpacked:,}: "
        f"expected at most {RATIO} times as many; nothing of this zip is read"
      )
    for member in self._zip.infolist():
      # zipfile cuts names at a NUL.
      name = member.orig_filename
      problem = _problem(member)
      if name in seen:
        problem = "is there twice"
      seen.add(name)
      if problem:
        raise UserError(
          f"--images: {self.path}: the member {name!r} {problem}; nothing of "
          "this zip is read"
        )


def _problem(member: zipfile.ZipInfo) -> str:
  """Why a member is refused; "" where it's fine."""
  name = member.orig_filename
  if "\\" in name or "\0" in name:
    return "has a backslash or a NUL in its name"
  if name.startswith("/") or re.match("[A-Za-z]:", name):
    return "has an absolute path"
  if ".." in name.split("/"):
    return "climbs out of its folder"
  if stat.S_ISLNK(member.external_attr >> 16):
    return "is a symbolic link"
  if member.flag_bits & 0x1:
    return "is encrypted"
  return ""
