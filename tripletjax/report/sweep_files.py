"""The files of a sweep's folder, read as they are at the moment.

A sweep may be at work, or have stopped half way: cells without a result are
kept, with their state.
"""

from __future__ import annotations

import csv
import json
import math
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from tripletjax.errors import UserError

DONE = "done"
WAITING = "waiting"
STATES = (DONE, "running", WAITING, "failed", "diverged")
# Columns of results.csv, costs.csv and test.csv that are no metric.
_OWN = {"cell", "arm", "seed", "state", "steps", "images"}


class Cell(NamedTuple):
  """A cell of a sweep.

  Attributes:
    name, arm: as in cells.json.
    values: column -> label, of all axes.
    fields: dotted field -> value, what it changes of the base config.
    config: the complete one.
    state: one of STATES; reason and tail say why it isn't done.
    numbers: metric -> value on the evaluation split; empty until it's done.
    cost: column of costs.csv -> number; and "training", the seconds of its
      steps without compiling them, evaluation and the like.
    folder: of its run, which may not be there.
  """

  name: str
  arm: str
  values: Mapping[str, str]
  fields: Mapping[str, Any]
  config: Mapping[str, Any]
  state: str
  reason: str
  tail: Sequence[str]
  numbers: Mapping[str, float]
  cost: Mapping[str, float]
  folder: pathlib.Path


class TestRow(NamedTuple):
  """What a cell scored on the test split."""

  cell: str
  arm: str
  numbers: Mapping[str, float]


class Sweep(NamedTuple):
  """A sweep's folder.

  Attributes:
    axes: columns that make an arm, in the sweep's order.
    replicates: columns that repeat it, such as "seed".
    labels: column -> its labels, in the sweep's order.
    cells: in the plan's order.
  """

  folder: pathlib.Path
  name: str
  file: str
  axes: tuple[str, ...]
  replicates: tuple[str, ...]
  labels: Mapping[str, tuple[str, ...]]
  baseline: str
  metric: str
  less_is_better: bool
  test_split: str
  budget: str
  base: Mapping[str, Any]
  versions: Mapping[str, str]
  cells: tuple[Cell, ...]
  test: tuple[TestRow, ...]

  @property
  def arms(self) -> dict[str, list[Cell]]:
    """Arm -> its cells, in the plan's order."""
    found: dict[str, list[Cell]] = {}
    for cell in self.cells:
      found.setdefault(cell.arm, []).append(cell)
    return found

  def replicate(self, cell: Cell) -> tuple[str, ...]:
    """What a cell shares with the same repetition of another arm."""
    return tuple(cell.values.get(name, "") for name in self.replicates)


def is_sweep(folder: pathlib.Path) -> bool:
  """Whether a folder is a sweep's, rather than a run's."""
  return (folder / "sweep.json").is_file()


def read_sweep(folder: pathlib.Path) -> Sweep:
  """Reads a sweep's folder.

  Raises:
    UserError: sweep.json or cells.json is missing, or a file is broken.
  """
  head = _read_json(folder / "sweep.json", dict)
  listed = _read_json(folder / "cells.json", list)
  results = _by_cell(folder / "results.csv")
  costs = _by_cell(folder / "costs.csv")
  try:
    replicates = tuple(map(str, head["replicates"]))
    cells = tuple(
      _read_cell(folder, entry, results, costs, replicates) for entry in listed
    )
    labels: dict[str, tuple[str, ...]] = {}
    for cell in cells:
      for column, label in cell.values.items():
        labels[column] = tuple(dict.fromkeys([*labels.get(column, ()), label]))
    columns = dict.fromkeys([*head["axes"].values(), *labels])
    test = tuple(
      TestRow(row["cell"], row["arm"], _numbers(row, _OWN | set(labels)))
      for row in _read_csv(folder / "test.csv")
    )
    return Sweep(
      folder=folder,
      name=str(head["name"]),
      file=str(head["file"]),
      axes=tuple(c for c in columns if c not in replicates),
      replicates=replicates,
      labels=labels,
      baseline=str(head["baseline"]),
      metric=str(head["metric"]),
      less_is_better=bool(head["less_is_better"]),
      test_split=str(head["test_split"]),
      budget=str(head["budget"]),
      base=head["base"],
      versions=head["versions"],
      cells=cells,
      test=test,
    )
  except (KeyError, TypeError, AttributeError) as error:
    raise UserError(
      f"{folder}: expected sweep.json, cells.json and tables as a sweep writes "
      f"them, got {type(error).__name__}: {error}"
    ) from error


def _read_cell(
  folder: pathlib.Path,
  entry: Mapping[str, Any],
  results: Mapping[str, Mapping[str, str]],
  costs: Mapping[str, Mapping[str, str]],
  replicates: tuple[str, ...],
) -> Cell:
  name = str(entry["cell"])
  if name in ("", ".", "..") or set(name) & set("/\\\0"):
    raise UserError(
      f"{folder / 'cells.json'}: expected a cell's name that can be a "
      f"folder's, got {name!r}"
    )
  own = folder / "cells" / name
  path = own / "status.json"
  status = _read_json(path, dict) if path.exists() else {}
  state = str(status.get("state") or WAITING)
  values = {str(k): str(v) for k, v in entry["values"].items()}
  numbers: dict[str, float] = {}
  if state == DONE:
    # The table is written now and then, a run's summary at its end.
    numbers = _numbers(results.get(name, {}), _OWN | set(values))
    if not numbers and (own / "summary.json").exists():
      trained = _read_json(own / "summary.json", dict).get("trained") or {}
      numbers = {str(k): _number(v) for k, v in trained.items()}
  return Cell(
    name=name,
    arm=str(entry["arm"]),
    values=values,
    fields=dict(entry["fields"]),
    config=dict(entry["config"]),
    state=state if state in STATES else WAITING,
    reason=str(status.get("reason") or ""),
    tail=tuple(map(str, status.get("tail") or ())),
    numbers=numbers,
    cost=_costs(costs.get(name, {}), results.get(name, {})),
    folder=own,
  )


def _costs(
  row: Mapping[str, str], result: Mapping[str, str]
) -> dict[str, float]:
  costs = _numbers(row, {"cell", "arm", "way"})
  if "seconds_per_step" in costs and result.get("steps"):
    costs["training"] = costs["seconds_per_step"] * _number(result["steps"])
  return costs


def _read_json(path: pathlib.Path, kind: type) -> Any:
  try:
    value = json.loads(path.read_text(encoding="utf-8"))
  except (OSError, ValueError, RecursionError) as error:
    raise UserError(f"{path}: expected JSON, got {error}") from error
  if not isinstance(value, kind):
    raise UserError(
      f"{path}: expected a JSON {kind.__name__}, got {type(value).__name__}"
    )
  return value


def _read_csv(path: pathlib.Path) -> list[dict[str, str]]:
  """Rows of a table; none where it isn't there yet.

  Raises:
    UserError: it can't be read, or lacks a column "cell".
  """
  if not path.exists():
    return []
  try:
    with path.open(encoding="utf-8", newline="") as file:
      rows = list(csv.DictReader(file))
  except (OSError, UnicodeDecodeError, csv.Error) as error:
    raise UserError(f"{path}: expected a table, got {error}") from error
  if rows and "cell" not in rows[0]:
    raise UserError(f'{path}: expected a column "cell", got {[*rows[0]][:9]}')
  return rows


def _by_cell(path: pathlib.Path) -> dict[str, dict[str, str]]:
  return {row["cell"]: row for row in _read_csv(path)}


def _numbers(row: Mapping[str, Any], but: set[str]) -> dict[str, float]:
  return {
    name: _number(text)
    for name, text in row.items()
    if name and name not in but and text not in (None, "")
  }


def _number(text: Any) -> float:
  """A number of a file; NaN for null and for what is none."""
  try:
    return float(text)
  except (TypeError, ValueError, OverflowError):
    return math.nan
