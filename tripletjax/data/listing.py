"""What images there are in folders and zip files.

An image's identity is the folder it lies in, relative to the root, at any
depth: `Greek/character01`. What begins with a dot or is `__MACOSX` is passed
over, and so are files that aren't images by their ending.
"""

from __future__ import annotations

import collections
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from tripletjax.data.archive import Archive
from tripletjax.data.entries import (
  Entry,
  Folder,
  Listing,
  check_names,
  check_split,
  checked,
)
from tripletjax.data.images import ENDINGS
from tripletjax.errors import UserError


class _File(NamedTuple):
  """A file of a folder or zip: its name below the root, size and stamp."""

  name: str
  size: int
  stamp: str


def list_images(values: Sequence[str]) -> Listing:
  """The images of folders and zip files.

  Args:
    values: each `FOLDER_or_ZIP` or `SPLIT=FOLDER_or_ZIP`; the split is `train`
      unless given.

  Raises:
    UserError: nothing there, not readable, one identity only, an image without
      identity, or a zip that isn't safe to read.
  """
  entries: list[Entry] = []
  passed: collections.Counter[str] = collections.Counter()
  places = [_place(value) for value in values]
  for split, path in places:
    found = list(_list_place(split, path, passed))
    entries += sorted(found, key=lambda entry: entry.path)
  order = {split: 0 for split, _ in places}
  order = {split: number for number, split in enumerate(order)}
  entries.sort(key=lambda entry: order[entry.split])  # stable
  return checked("--images", Listing(entries, dict(passed)))


def list_loose(value: str) -> Listing:
  """The images of one folder or zip, whose identities needn't be known.

  Args:
    value: the folder or zip.

  Returns:
    They by path; the label is "" where an image lies in no folder of its own.

  Raises:
    UserError: nothing there, not readable, or a zip that isn't safe to read.
  """
  passed: collections.Counter[str] = collections.Counter()
  path = Path(value).expanduser()
  found = _list_place("train", path, passed, loose=True)
  entries = sorted(found, key=lambda entry: entry.path)
  check_names("--images", entries)
  return Listing(entries, dict(passed))


def _place(value: str) -> tuple[str, Path]:
  """Split and path of a value of --images."""
  split, equals, path = value.partition("=")
  if not equals or os.path.lexists(value):
    split, path = "train", value
  check_split("--images", split)
  if not path:
    raise UserError(f"--images: expected a folder or a zip, got {value!r}")
  return split, Path(path).expanduser()


def _list_place(
  split: str,
  path: Path,
  passed: collections.Counter[str],
  *,
  loose: bool = False,
) -> Iterator[Entry]:
  """The images of one folder or zip, in no order.

  Those in no identity's folder have the label "" where `loose`, and are refused
  else.
  """
  origin: Folder | Archive
  links: list[str] = []
  if path.is_dir():
    origin = Folder(path)
    files = [_File(*file) for file in _walk(path, links)]
  elif path.exists():
    origin = Archive(path)
    files = [_File(*file) for file in origin.files()]
  else:
    raise UserError(f"--images: there is no folder or zip {path}")
  images = []
  for file in files:
    ending = Path(file.name).suffix.lower()
    if any(_hidden(part) for part in file.name.split("/")):
      continue
    if ending in ENDINGS:
      images.append(file)
    else:
      passed[ending] += 1
  if links:
    passed["links to folders"] += len(links)
  if not images:
    said = f" ({len(links)} links to folders aren't followed)" if links else ""
    raise UserError(
      f"--images: no image in {path}{said}; expected files that end in "
      f"{', '.join(ENDINGS)}"
    )
  root = _root(images)
  for file in images:
    name = file.name.removeprefix(root)
    label = name.rpartition("/")[0]
    if not label and not loose:
      raise UserError(
        f"--images: {path / file.name} lies in no identity's folder; put each "
        "identity's images into a folder of its own, or list them by --csv"
      )
    group = label.rpartition("/")[0]
    yield Entry(
      split, label, group, name, file.size, file.stamp, file.name, origin
    )


def _root(images: Sequence[_File]) -> str:
  """The one folder that all images lie in, if it holds folders only.

  >>> _root([_File("lfw/Ann/1.png", 1, ""), _File("lfw/Bob/1.png", 1, "")])
  'lfw/'
  >>> _root([_File("Ann/1.png", 1, ""), _File("Ann/2.png", 1, "")])
  ''
  """
  first = images[0].name.split("/")[0] + "/"
  alone = all(
    file.name.startswith(first) and file.name.count("/") > 1 for file in images
  )
  return first if alone else ""


def _walk(root: Path, links: list[str]) -> Iterator[tuple[str, int, str]]:
  """Name, size and time of every file; links to folders aren't followed."""
  pending = [""]
  while pending:
    below = pending.pop()
    try:
      children = list(os.scandir(root / below))
    except OSError as error:
      raise UserError(
        f"--images: can't read the folder {root / below}: {error.strerror}"
      ) from error
    for child in children:
      name = below + child.name
      if _hidden(child.name):
        continue
      if child.is_dir(follow_symlinks=False):
        pending.append(name + "/")
      elif child.is_dir():
        links.append(name)
      elif child.is_file() or child.is_symlink():
        try:
          status = child.stat()
          yield name, status.st_size, str(status.st_mtime_ns)
        except OSError:
          yield name, -1, ""


def _hidden(part: str) -> bool:
  return part.startswith(".") or part == "__MACOSX"
