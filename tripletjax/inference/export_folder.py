"""The folder of an export: whole or not there, and nobody else's."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tripletjax.errors import UserError, printable
from tripletjax.manifest import MANIFEST, damage, write_manifest
from tripletjax.writers import write_json

METADATA = "metadata.json"
CARD = "README.md"
VERSION = 1  # of metadata.json
# The key of metadata.json by which an export is known.
KEY = "tripletjax_export"


@contextlib.contextmanager
def new_folder(output: Path, files: tuple[str, ...]) -> Iterator[Path]:
  """A folder to write into, which gets its name when all went well.

  Args:
    output: its name; an export that is there is replaced.
    files: names of files that exports have, beside those of all.

  Raises:
    UserError: there is something else, or it can't be written.
  """
  _check_place(output, {*files, METADATA, CARD, MANIFEST})
  parent = output.absolute().parent
  partial = parent / f".{output.name}.partial-{os.getpid()}"
  try:
    parent.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    yield partial
    write_manifest(partial)
    _put(partial, output.absolute())
  except OSError as error:
    raise UserError(
      f"--output: can't write {output}: {error.strerror or error}"
    ) from error
  finally:
    shutil.rmtree(partial, ignore_errors=True)


def _check_place(output: Path, names: set[str]) -> None:
  """Raises a `UserError` where something else would be overwritten."""
  if not output.name:
    raise UserError(f"--output: expected the name of a folder, got {output}")
  if not os.path.lexists(output):
    return
  if not output.is_dir() or output.is_symlink():
    raise UserError(f"--output: {output} is no folder; choose another name")
  try:
    there = {path.name for path in output.iterdir()}
  except OSError as error:
    raise UserError(
      f"--output: can't read {output}: {error.strerror}"
    ) from error
  if not there:
    return
  if METADATA not in there or not _is_export(output / METADATA):
    raise UserError(
      f"--output: {output} holds something else than an export; choose a new "
      "folder"
    )
  if others := sorted(there - names):
    raise UserError(
      f"--output: {output} holds an export and {printable(others[0])}, which "
      "isn't of it; choose a new folder, or move that away"
    )


def _put(partial: Path, output: Path) -> None:
  """Gives a folder its name; what has it, an export, goes."""
  old = output.parent / f".{output.name}.old-{os.getpid()}"
  if output.exists():
    os.replace(output, old)
  try:
    os.replace(partial, output)
  except OSError:
    if old.exists():
      os.replace(old, output)
    raise
  shutil.rmtree(old, ignore_errors=True)


def _is_export(path: Path) -> bool:
  try:
    return KEY in json.loads(path.read_text())
  except (OSError, ValueError, TypeError, RecursionError):
    return False


def read_metadata(folder: Path) -> dict[str, Any]:
  """`metadata.json` of an export, whose files are as they were written.

  Raises:
    UserError: the folder holds no export, it is damaged, or it is of a later
      version.
  """
  path = folder / METADATA
  if not path.is_file():
    raise UserError(
      f"no export in {folder}: expected a {METADATA}, as experiments.export "
      "writes it"
    )
  if reason := damage(folder):
    raise UserError(f"{folder} is damaged ({reason}); export it again")
  try:
    metadata = json.loads(path.read_text())
    if metadata[KEY] > VERSION:
      raise UserError(
        f"{path}: expected version {VERSION} or less, got {metadata[KEY]}; "
        "install a newer tripletjax"
      )
  except UserError:
    raise
  except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
    said = printable(str(error))[:80]
    raise UserError(f"{path} can't be read: {said}") from error
  return metadata


def write_metadata(folder: Path, metadata: dict[str, Any], card: str) -> None:
  """Writes `metadata.json` and the card."""
  write_json(folder / METADATA, {KEY: VERSION, **metadata})
  (folder / CARD).write_text(card, encoding="utf-8")
