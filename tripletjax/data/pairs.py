"""Lists of pairs in the format of LFW's pairs.txt."""

from __future__ import annotations

import os
import re
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np

from tripletjax.data.sources import Source
from tripletjax.errors import UserError


class ListedPairs(NamedTuple):
  """Pairs of images of a source.

  Attributes:
    first, second: ids of the images, int64 `[P]`.
    is_same: whether the file lists them as one identity, `[P]`, bool.
    fold: the fold of each pair, from 0, int64 `[P]`.
  """

  first: np.ndarray
  second: np.ndarray
  is_same: np.ndarray
  fold: np.ndarray


def read_pairs(path: str | os.PathLike[str], source: Source) -> ListedPairs:
  """Reads pairs as LFW lists them (Huang et al., 2007).

  The first line is the number of folds and of pairs of a kind in each,
  `10 300`, or the latter alone, `1100`, where there is one fold. Then come,
  fold by fold, the same pairs, `name 1 4`, and the different ones,
  `name 1 other 2`. Columns are parted by tabs, or by spaces where there is no
  tab. Image 4 of a name is the one whose file name ends in that number, as in
  `name_0004.jpg`.

  Args:
    path: the file.
    source: the images; its `paths` say which is which.

  Raises:
    UserError: the file can't be read, isn't of this format, or names an image
      that isn't in the source (with the line's number); or the source doesn't
      know its files' names.
  """
  if not len(source.paths):
    raise UserError(
      "--pairs: this data set doesn't say the names of its files, by which "
      "pairs are listed; prepare it from a folder of images"
    )
  images: dict[tuple[str, int], int] = {}
  for index, file in enumerate(source.paths):
    digits = re.search(r"([0-9]{1,18})$", PurePosixPath(str(file)).stem)
    if digits:
      name = source.label_names[source.labels[index]]
      images.setdefault((name, int(digits[1])), index)
  try:
    lines = Path(path).read_text(encoding="utf-8").splitlines()
  except (OSError, UnicodeDecodeError) as error:
    reason = getattr(error, "strerror", None) or "it is not text"
    raise UserError(f"--pairs: can't read {path}: {reason}") from error
  rows = [
    (number, _columns(line))
    for number, line in enumerate(lines, start=1)
    if line.strip()
  ]
  folds, count = _header(path, rows)
  found = []
  for place, (number, columns) in enumerate(rows[1:]):
    where = f"--pairs: {path}, line {number}:"
    same = place % (2 * count) < count
    ends = _ends(where, columns, same=same)
    ids = [_find(where, images, *end) for end in ends]
    found.append((*ids, same, place // (2 * count)))
  if len(found) != 2 * folds * count:
    raise UserError(
      f"--pairs: {path}: expected {2 * folds * count} pairs, as line "
      f"{rows[0][0]} says, got {len(found)}"
    )
  first, second, is_same, fold = np.array(found, np.int64).T
  return ListedPairs(first, second, is_same.astype(bool), fold)


def _columns(line: str) -> list[str]:
  parts = line.split("\t") if "\t" in line.strip() else line.split()
  return [part.strip() for part in parts if part.strip()]


def _header(
  path: str | os.PathLike[str], rows: list[tuple[int, list[str]]]
) -> tuple[int, int]:
  """Number of folds and of pairs of a kind in each."""
  columns = rows[0][1] if rows else []
  if len(columns) not in (1, 2) or not all(
    _is_number(text) and int(text) > 0 for text in columns
  ):
    got = " ".join(columns)[:60] or "nothing"
    raise UserError(
      f"--pairs: {path}, line {rows[0][0] if rows else 1}: expected the number "
      f"of folds and of pairs of a kind in each, such as 10 300, got {got!r}"
    )
  return int(columns[0]) if columns[1:] else 1, int(columns[-1])


def _is_number(text: str) -> bool:
  return re.fullmatch("[0-9]{1,9}", text) is not None


def _ends(
  where: str, columns: list[str], *, same: bool
) -> tuple[tuple[str, str], tuple[str, str]]:
  """Name and number of both images of a line."""
  if same and len(columns) == 3:
    name, one, other = columns
    return (name, one), (name, other)
  if not same and len(columns) == 4:
    return (columns[0], columns[1]), (columns[2], columns[3])
  kind = "a same pair, name 1 4" if same else "a different pair, name 1 other 2"
  raise UserError(f"{where} expected {kind}; got {' '.join(columns)!r}")


def _find(
  where: str, images: dict[tuple[str, int], int], name: str, number: str
) -> int:
  if not _is_number(number):
    raise UserError(f"{where} expected the number of an image, got {number!r}")
  if (name, int(number)) not in images:
    numbers = sorted(k for other, k in images if other == name)
    known = ", ".join(map(str, numbers[:8])) + (", .." if numbers[8:] else "")
    raise UserError(
      f"{where} no image {int(number)} of {name!r} in the split; "
      + (f"there are {known}" if numbers else "nor any other of that name")
    )
  return images[name, int(number)]
