"""Images that a CSV lists."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path

from tripletjax.data.entries import Entry, Folder, Listing, check_split, checked
from tripletjax.errors import UserError

_COLUMNS = ("path", "label")


def list_csv(path: Path) -> Listing:
  """The images that a CSV lists.

  Its header names the columns `path` (relative to the CSV's folder), `label`,
  and if wanted `group` and `split`; others are passed over.

  Raises:
    UserError: no such file, a missing column, a row of another length, an
      image that isn't there, or one identity only.
  """
  folder, entries = Folder(path.parent), []
  for line, row in _rows(path):
    split = row.get("split") or "train"
    check_split(f"--csv: {path}:{line}", split)
    try:
      status = (folder.path / row["path"]).stat()
    except (OSError, ValueError):
      raise UserError(
        f"--csv: {path}:{line}: there is no file {row['path']!r} in "
        f"{path.parent}; paths are relative to the CSV's folder"
      ) from None
    label = row["label"]
    entries.append(
      Entry(
        split=split,
        label=label,
        group=row.get("group") or label.rpartition("/")[0],
        path=row["path"],
        size=status.st_size,
        stamp=str(status.st_mtime_ns),
        member=row["path"],
        origin=folder,
      )
    )
  entries.sort(key=lambda entry: (entry.split, entry.path))
  return checked("--csv", Listing(entries, {}))


def _rows(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
  """Line number and columns of each row."""
  try:
    text = path.read_text("utf-8-sig")
  except UnicodeDecodeError:
    raise UserError(f"--csv: {path}: expected UTF-8") from None
  except OSError as error:
    raise UserError(f"--csv: can't read {path}: {error.strerror}") from error
  reader = csv.reader(io.StringIO(text, newline=""), strict=True)
  try:
    header = [name.strip() for name in next(reader, [])]
    for column in _COLUMNS:
      if column not in header:
        known = ", ".join(header) or "none"
        raise UserError(
          f"--csv: {path}: no column {column!r}; there are {known}"
        )
    twice = [name for name in header if header.count(name) > 1]
    if twice:
      raise UserError(f"--csv: {path}: the column {twice[0]!r} is there twice")
    for row in reader:
      if not row:
        continue
      if len(row) != len(header):
        raise UserError(
          f"--csv: {path}:{reader.line_num}: expected {len(header)} columns "
          f"({', '.join(header)}), got {len(row)}"
        )
      named = dict(zip(header, row, strict=True))
      for column in _COLUMNS:
        if not named[column]:
          raise UserError(f"--csv: {path}:{reader.line_num}: no {column}")
      yield reader.line_num, named
  except csv.Error as error:
    raise UserError(f"--csv: {path}:{reader.line_num}: {error}") from error
