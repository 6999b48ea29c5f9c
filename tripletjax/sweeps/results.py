"""The tables that a sweep's folder ends in: results, costs and the test.

Numbers are written by `repr`, so that reading them gives the same ones, and no
clock is in `results.csv`: the same cells give the same bytes, however often
training was killed on the way.
"""

from __future__ import annotations

import csv
import io
import json
import math
import os
import statistics
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tripletjax.errors import UserError
from tripletjax.sweeps.cells import COSTS, Planned
from tripletjax.sweeps.reading import (
  SweepFolder,
  cell_folder,
  read_json,
  read_status,
  read_sweep,
)
from tripletjax.writers import write_text


def write_results(folder: str | Path) -> None:
  """Writes `results.csv` and `costs.csv`, a row for each cell.

  Cells that aren't done have a state and no numbers.

  Args:
    folder: of the sweep.

  Raises:
    UserError: a file of the sweep can't be read.
  """
  sweep = read_sweep(folder)
  ways = _ways(sweep.path)
  states = {
    cell.name: read_status(folder, cell.name).state for cell in sweep.cells
  }
  summaries = {
    cell.name: _summary(sweep.path, cell.name) if done else {}
    for cell in sweep.cells
    for done in [states[cell.name] == "done"]
  }
  results = [
    {
      "cell": cell.name,
      "arm": cell.arm,
      **cell.values,
      "state": states[cell.name],
      **_numbers(cell, summaries[cell.name]),
    }
    for cell in sweep.cells
  ]
  costs = [
    {
      "cell": cell.name,
      "arm": cell.arm,
      **_costs(sweep.path, cell.name, summaries[cell.name]),
      "way": ways.get(cell.group, ""),
    }
    for cell in sweep.cells
  ]
  first = ["cell", "arm", *_columns(sweep), "state", "steps", "images"]
  write_text(sweep.path / "results.csv", _csv(results, first))
  write_text(
    sweep.path / "costs.csv", _csv(costs, ["cell", "arm", *COSTS, "way"])
  )


def write_test(folder: str | Path, rows: Sequence[Mapping[str, Any]]) -> Path:
  """Writes `test.csv`, once: a test that is repeated is a selection.

  Args:
    folder: of the sweep.
    rows: with `arm`, `cell`, `seed`, and numbers by name.

  Returns:
    The file.

  Raises:
    UserError: there is one already, which stays as it is.
  """
  path = Path(folder) / "test.csv"
  temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
  temporary.write_text(_csv(rows, ["arm", "cell", "seed"]))
  try:
    os.link(temporary, path)  # fails where there is one, unlike a rename
  except FileExistsError:
    raise UserError(
      f"--workdir: {path} is there: the test split was already looked at, and "
      "once is all; expected a new sweep"
    ) from None
  finally:
    temporary.unlink()
  return path


def _summary(folder: Path, cell: str) -> dict[str, Any]:
  path = cell_folder(folder, cell) / "summary.json"
  if not path.exists():
    raise UserError(
      f"--workdir: {path} is missing, though the cell is done; remove its "
      "status.json, and it goes on from its checkpoint"
    )
  summary = read_json(path)
  if not isinstance(summary, dict) or not isinstance(
    summary.get("trained"), dict
  ):
    raise UserError(f"--workdir: {path}: expected the numbers in 'trained'")
  return summary


def _numbers(cell: Planned, summary: Mapping[str, Any]) -> dict[str, Any]:
  if not summary:
    return {}
  batch = cell.config.batch.identities * cell.config.batch.images
  steps = summary["steps"]
  return {"steps": steps, "images": steps * batch, **summary["trained"]}


def _costs(
  folder: Path, cell: str, summary: Mapping[str, Any]
) -> dict[str, Any]:
  if not summary:
    return {}
  costs = {name: summary.get(name) for name in COSTS}
  return costs | {"seconds_per_step": _step_seconds(folder, cell)}


def _step_seconds(folder: Path, cell: str) -> float | None:
  """The median of a step with its input, which compiling doesn't move."""
  path = cell_folder(folder, cell) / "metrics.jsonl"
  if not path.exists():
    return None
  seconds = []
  for line in path.read_text().splitlines():
    try:
      row = json.loads(line)
      seconds.append(row["seconds/input"] + row["seconds/step"])
    except (ValueError, KeyError, TypeError):
      continue  # of an evaluation, or torn
  return statistics.median(seconds) if seconds else None


def _ways(folder: Path) -> dict[int, str]:
  """Group -> how it is run, where that is planned."""
  path = folder / "plan.json"
  if not path.exists():
    return {}
  groups = read_json(path).get("groups", [])
  return {group["group"]: group.get("way", "") for group in groups}


def _columns(sweep: SweepFolder) -> Iterable[str]:
  return dict.fromkeys(name for cell in sweep.cells for name in cell.values)


def _csv(rows: Sequence[Mapping[str, Any]], first: Sequence[str]) -> str:
  """A table: `first` columns, then all others as they come."""
  columns = dict.fromkeys([*first, *(name for row in rows for name in row)])
  text = io.StringIO()
  writer = csv.writer(text, lineterminator="\n")
  writer.writerow(columns)
  for row in rows:
    writer.writerow([_shown(row.get(name)) for name in columns])
  return text.getvalue()


def _shown(value: Any) -> str:
  if isinstance(value, float):
    return repr(value) if math.isfinite(value) else ""  # as JSON's null
  return "" if value is None else str(value)
