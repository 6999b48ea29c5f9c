"""Images to import: what is known of each before it is read."""

from __future__ import annotations

import dataclasses
import os
import re
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple, Protocol

from tripletjax.errors import UserError

LARGEST = 256 * 2**20  # bytes of an image file; more is taken for a bomb


class Origin(Protocol):
  """Where images are read from."""

  @property
  def path(self) -> Path:
    """Of the folder or zip."""
    ...

  def read(self, member: str, limit: int) -> bytes:
    """The file's bytes; OSError where it can't be read or is longer."""
    ...


class Entry(NamedTuple):
  """One image.

  Attributes:
    split: the split it belongs to.
    label: its identity.
    group: the coarser class; "" where there is none.
    path: the file, relative to the root.
    size: of the file in bytes; -1 where there is no such file.
    stamp: changes with the file: its time, or its CRC.
    member: the name by which `origin` reads it.
    origin: where it's read from.
  """

  split: str
  label: str
  group: str
  path: str
  size: int
  stamp: str
  member: str
  origin: Origin

  @property
  def file(self) -> Path:
    """The file, for messages; of a zip as if it were a folder."""
    return self.origin.path / self.member

  def read(self) -> bytes:
    """The file's bytes; OSError where it can't be read."""
    return self.origin.read(self.member, LARGEST)


@dataclasses.dataclass(frozen=True)
class Listing:
  """The images found.

  Attributes:
    entries: by split in the order given, then by path.
    passed_over: ending -> number of files that are no images by it.
  """

  entries: list[Entry]
  passed_over: dict[str, int]


@dataclasses.dataclass(frozen=True)
class Folder:
  """Files below a folder."""

  path: Path

  def read(self, member: str, limit: int) -> bytes:
    """The file's bytes; OSError where it can't be read or is longer."""
    # Without waiting for who would write into a pipe.
    flags = os.O_RDONLY | os.O_NONBLOCK
    file = os.open(os.path.join(self.path, member), flags)
    try:
      status = os.fstat(file)
      if not stat.S_ISREG(status.st_mode):
        raise OSError("not a file, but a folder, a pipe or a device")
      # By its size: a buffer of the limit's would cost more than the reading.
      parts, left = [], min(status.st_size, limit) + 1
      while left and (part := os.read(file, left)):
        parts.append(part)
        left -= len(part)
    finally:
      os.close(file)
    data = b"".join(parts)
    if len(data) > limit:
      raise OSError(f"larger than {limit:,} bytes")
    return data


def check_split(where: str, split: str) -> None:
  """UserError where TFDS knows no such split's name; `where` names the flag."""
  if not re.fullmatch(r"[A-Za-z]\w*", split, re.ASCII) or split == "all":
    raise UserError(
      f"{where}: expected a split's name of letters, digits and _ (not all), "
      f"got {split!r}"
    )


def checked(flag: str, listing: Listing) -> Listing:
  """The listing, if it can become a set; else UserError, with the flag."""
  labels = {entry.label for entry in listing.entries}
  if not labels:
    raise UserError(f"{flag}: expected images, got none")
  if len(labels) == 1:
    raise UserError(
      f"{flag}: expected two identities or more, got one: {labels.pop()!r}, "
      f"{len(listing.entries):,} images"
    )
  check_names(flag, listing.entries)
  return listing


def check_names(flag: str, entries: Iterable[Entry]) -> None:
  """UserError where a file's name isn't UTF-8: no set can hold it."""
  for entry in entries:
    try:
      (entry.label + entry.group + entry.path).encode()
    except UnicodeEncodeError:
      name = os.fsencode(entry.path)
      raise UserError(
        f"{flag}: expected file names in UTF-8, got {name!r}"
      ) from None
