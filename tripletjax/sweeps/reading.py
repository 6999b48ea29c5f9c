"""What the folder of a sweep says: its cells, and how far each of them is."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from tripletjax.errors import UserError, printable
from tripletjax.sweeps.cells import Planned
from tripletjax.writers import write_json

STATES = ("waiting", "running", "done", "failed", "diverged")


class SweepFolder(NamedTuple):
  """A sweep as its folder has it.

  Attributes:
    path: the folder.
    about: `sweep.json`.
    cells: of `cells.json`, in the order of the grid.
  """

  path: Path
  about: Mapping[str, Any]
  cells: tuple[Planned, ...]


class Status(NamedTuple):
  """How far a cell is.

  Attributes:
    state: one of `STATES`.
    reason: of a cell that failed or diverged, one line.
    tail: last lines of its trace or log.
  """

  state: str
  reason: str = ""
  tail: tuple[str, ...] = ()


def read_sweep(folder: str | Path) -> SweepFolder:
  """A sweep from its folder alone.

  Raises:
    UserError: there is none, or it can't be read.
  """
  folder = Path(folder)
  if not (folder / "sweep.json").is_file():
    raise UserError(
      f"--workdir: no sweep in {folder}: expected a sweep.json, as "
      "experiments.sweep writes it"
    )
  about = read_json(folder / "sweep.json")
  path = folder / "cells.json"
  cells = read_json(path)
  try:
    if not isinstance(about, dict):
      path = folder / "sweep.json"
      raise TypeError(f"expected an object, got {type(about).__name__}")
    planned = tuple(_from_json(cell) for cell in cells)
  except (KeyError, TypeError, ValueError, AttributeError) as error:
    raise UserError(f"--workdir: {path} can't be read: {error}") from error
  return SweepFolder(folder, about, planned)


def cell_folder(folder: str | Path, cell: str) -> Path:
  """Where a cell is trained, an ordinary run."""
  return Path(folder) / "cells" / cell


def read_status(folder: str | Path, cell: str) -> Status:
  """How far a cell is; "waiting" where nothing is written of it.

  Args:
    folder: of the sweep.
    cell: its name.

  Raises:
    UserError: its `status.json` can't be read.
  """
  path = cell_folder(folder, cell) / "status.json"
  if not path.exists():
    return Status("waiting")
  found = read_json(path)
  if not isinstance(found, dict) or found.get("state") not in STATES:
    raise UserError(
      f"--workdir: {path}: expected a state of {', '.join(STATES)}; remove the "
      "file, and the cell goes on from its checkpoint"
    )
  tail = tuple(str(line) for line in found.get("tail", ()))
  return Status(found["state"], str(found.get("reason", "")), tail)


def write_status(
  folder: str | Path,
  cell: str,
  state: str,
  *,
  reason: str = "",
  tail: Sequence[str] = (),
) -> None:
  """Notes how far a cell is, whole or not at all.

  Args:
    folder: of the sweep.
    cell: its name.
    state: one of `STATES`.
    reason: why it failed or diverged; made one line.
    tail: last lines of its trace or log.
  """
  if state not in STATES:
    raise ValueError(f"expected a state of {STATES}, got {state!r}")
  path = cell_folder(folder, cell)
  path.mkdir(parents=True, exist_ok=True)
  lines = [printable(line) for line in tail]
  write_json(
    path / "status.json",
    {"state": state, "reason": printable(reason), "tail": lines},
  )


def read_json(path: Path) -> Any:
  """A JSON file of the sweep's folder.

  Raises:
    UserError: it can't be read.
  """
  try:
    return json.loads(path.read_text())
  except (OSError, ValueError, RecursionError) as error:
    said = str(error).partition("\n")[0]
    raise UserError(f"--workdir: {path} can't be read: {said}") from error


def _from_json(cell: Any) -> Planned:
  if cell["cell"] in ("", "..") or Path(cell["cell"]).name != cell["cell"]:
    raise ValueError(f"expected a folder's name, got {cell['cell']!r}")
  return Planned(
    name=cell["cell"],
    arm=cell["arm"],
    values=cell["values"],
    fields=_tuples(cell["fields"]),
    config=ConfigDict(_tuples(cell["config"])).lock(),
    group=int(cell["group"]),
  )


def _tuples(value: Any) -> Any:
  """Lists as the tuples that they were, which a network can be keyed by."""
  if isinstance(value, dict):
    return {name: _tuples(own) for name, own in value.items()}
  return tuple(map(_tuples, value)) if isinstance(value, list) else value
