"""A folder that is whole, or not there."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from tripletjax.errors import UserError, printable


def check_fresh(output: Path) -> None:
  """Raises a `UserError` for a folder that couldn't be written in the end."""
  shown = printable(str(output))
  if not output.name:
    raise UserError(f"--output: expected the name of a folder, got {shown}")
  if not output.absolute().parent.is_dir():
    raise UserError(
      f"--output: there is no folder {printable(str(output.parent))}"
    )
  if output.is_symlink() or (output.exists() and not output.is_dir()):
    raise UserError(f"--output: {shown} is no folder; choose another name")
  try:
    is_empty = not output.exists() or not any(output.iterdir())
  except OSError as error:
    raise UserError(
      f"--output: can't read {shown}: {error.strerror}"
    ) from error
  if not is_empty:
    raise UserError(f"--output: {shown} isn't empty; choose a new folder")


@contextlib.contextmanager
def fresh_folder(output: Path) -> Iterator[Path]:
  """A folder to write into, which gets its name when all went well.

  Args:
    output: its name; isn't there yet, or is empty.

  Raises:
    UserError: something is there, or it can't be written.
  """
  check_fresh(output)
  partial = output.absolute().parent / f".{output.name}.partial-{os.getpid()}"
  try:
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    yield partial
    os.replace(partial, output)
  except OSError as error:
    raise UserError(
      f"--output: can't write {printable(str(output))}: "
      f"{error.strerror or error}"
    ) from error
  finally:
    shutil.rmtree(partial, ignore_errors=True)
