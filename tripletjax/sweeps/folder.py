"""The folder of a sweep: what is to be trained there, and how far each cell is.

sweep.json   what the sweep is      cells.json   its cells, complete configs
plan.json    how groups are run     logs/        of the jobs
cells/NAME/  the run of a cell, with status.json
results.csv, costs.csv, test.csv    see `results.py`
"""

from __future__ import annotations

import importlib.metadata
import json
import platform
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from tripletjax.errors import UserError
from tripletjax.sweeps.cell import Sweep
from tripletjax.sweeps.cells import (
  Planned,
  axis_columns,
  base_config,
  baseline_arm,
  replicates,
)
from tripletjax.sweeps.reading import (
  STATES,
  Status,
  SweepFolder,
  cell_folder,
  read_json,
  read_status,
  read_sweep,
  write_status,
)
from tripletjax.sweeps.results import write_results, write_test
from tripletjax.training.progress import LESS_IS_BETTER
from tripletjax.writers import write_json

__all__ = [
  "STATES",
  "Status",
  "SweepFolder",
  "cell_folder",
  "open_sweep",
  "read_json",
  "read_status",
  "read_sweep",
  "write_results",
  "write_status",
  "write_test",
]

PACKAGES = ("jax", "flax", "optax", "numpy", "tripletjax")
# What may lie in a folder where a sweep was begun, but not yet written down.
_BEGUN = ("cells.json", "cells.json.tmp", "sweep.json.tmp", "logs", "lock")


def open_sweep(
  folder: str | Path,
  sweep: Sweep,
  planned: Sequence[Planned],
  *,
  base: ConfigDict,
) -> SweepFolder:
  """Makes the folder of a sweep, or goes on with the one that is there.

  Args:
    folder: of the sweep.
    sweep: as its file says.
    planned: its cells.
    base: the config that `sweep.config` names.

  Raises:
    UserError: the folder can't be written, or holds something else; nothing in
      it was changed then.
  """
  folder = Path(folder)
  about, cells = _about(sweep, planned, base), [_as_json(p) for p in planned]
  try:
    if not (folder / "sweep.json").exists():
      _check_empty(folder)
      (folder / "cells").mkdir(parents=True, exist_ok=True)
      (folder / "logs").mkdir(exist_ok=True)
      # Last the file by which the folder is known as one of a sweep.
      write_json(folder / "cells.json", cells)
      write_json(folder / "sweep.json", about)
      return read_sweep(folder)
  except OSError as error:
    raise UserError(
      f"--workdir: can't use {folder}: {error.strerror}"
    ) from error
  held = read_sweep(folder)
  other = next(_differences(held, _plain(about), _plain(cells)), "")
  if other:
    raise UserError(
      f"--workdir: {folder} holds another sweep: {other}; choose another "
      "folder, or the same sweep"
    )
  return held


def versions() -> dict[str, str]:
  """Of Python and of the packages that results may depend on."""
  return {"python": platform.python_version()} | {
    name: importlib.metadata.version(name) for name in PACKAGES
  }


def _about(
  sweep: Sweep, planned: Sequence[Planned], base: ConfigDict
) -> dict[str, Any]:
  start = base_config(sweep, base)
  columns = axis_columns(sweep, start)
  return {
    "name": sweep.name or Path(sweep.file.partition(":")[0]).stem,
    "file": sweep.file,
    "axes": columns,
    "replicates": list(replicates(columns)),
    "baseline": baseline_arm(sweep, planned),
    "metric": sweep.metric,
    "less_is_better": sweep.metric in LESS_IS_BETTER,
    "test_split": sweep.test_split,
    "budget": sweep.budget,
    "base": json.loads(start.to_json()),
    "versions": versions(),
  }


def _as_json(cell: Planned) -> dict[str, Any]:
  return {
    "cell": cell.name,
    "arm": cell.arm,
    "values": dict(cell.values),
    "fields": dict(cell.fields),
    "group": cell.group,
    "config": json.loads(cell.config.to_json()),
  }


def _plain(value: Any) -> Any:
  return json.loads(json.dumps(value))


def _differences(held: SweepFolder, about: Any, cells: Any) -> Iterator[str]:
  """What another sweep has otherwise, most telling first."""
  theirs = {cell.name: _plain(_as_json(cell)) for cell in held.cells}
  ours = {cell["cell"]: cell for cell in cells}
  for name in (name for name in ours if name not in theirs):
    yield f"it has no cell {name}"
  for name in (name for name in theirs if name not in ours):
    yield f"it has a cell {name}"
  for name, cell in ours.items():
    own, other = _flat(cell["config"]), _flat(theirs[name]["config"])
    for field in sorted(own.keys() | other.keys()):
      if own.get(field) != other.get(field):
        yield (
          f"{field} = {other.get(field)!r}, not {own.get(field)!r}, in {name}"
        )
  for field in ("baseline", "metric", "test_split", "budget"):
    if about[field] != held.about.get(field):
      yield f"{field} = {held.about.get(field)!r}, not {about[field]!r}"


def _flat(config: Mapping[str, Any], at: str = "") -> dict[str, Any]:
  flat: dict[str, Any] = {}
  for name, value in config.items():
    if isinstance(value, dict):
      flat |= _flat(value, f"{at}{name}.")
    else:
      flat[at + name] = value
  return flat


def _check_empty(folder: Path) -> None:
  if not folder.exists():
    return
  if not folder.is_dir():
    raise UserError(f"--workdir: {folder} is a file; expected a folder")
  cells = folder / "cells"
  others = [path.name for path in folder.iterdir() if path.name not in _BEGUN]
  if others == ["cells"] and cells.is_dir() and not any(cells.iterdir()):
    return
  if others:
    what = "a run" if "config.json" in others else f"{sorted(others)[0]}"
    raise UserError(
      f"--workdir: {folder} holds {what} and no sweep; choose another folder"
    )
