"""What experiments.sweep does, once its flags are read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from experiments.sweep_files import load_sweep
from tripletjax.errors import UserError
from tripletjax.sweeps.cells import plan_cells
from tripletjax.sweeps.conducting import (
  Orders,
  describe_cells,
  estimate,
)
from tripletjax.sweeps.folder import open_sweep, read_sweep
from tripletjax.sweeps.groups import Options, run_group
from tripletjax.sweeps.jobs import read_options
from tripletjax.sweeps.launchers import check_launcher
from tripletjax.sweeps.reading import read_status
from tripletjax.sweeps.search import Search, conductor
from tripletjax.sweeps.table import live_table
from tripletjax.training.run_folder import new_run
from tripletjax.training.signals import STOPPED


def run_sweep(
  name: str,
  workdir: str | None,
  *,
  overrides: Sequence[str],
  values: Mapping[str, Any],
  dry_run: bool,
  orders: Mapping[str, Any],
  search: tuple[str, int, int] = ("", 0, 0),
) -> int:
  """Trains a sweep, or goes on with it; prints what came of it.

  Args:
    name: of its file, with `:variant`.
    workdir: its folder; a new one if None.
    overrides: "field=value" for all cells.
    values: of `Options`.
    dry_run: print what would be done.
    orders: of `Orders`.
    search: of `Search`.

  Returns:
    The exit code.
  """
  run = conductor(Search(*search))
  check_launcher(orders["launcher"])
  settings = read_options(orders["launcher_options"])
  sweep, base = load_sweep(name, _pairs(overrides))
  cells = plan_cells(sweep, base)
  options = Options(**values)
  if dry_run:
    print(*describe_cells(cells), sep="\n")
    print(estimate(cells, options, jobs=orders["jobs"])[1])
    return 0
  folder = Path(workdir) if workdir else new_run(sweep.name)
  held = open_sweep(folder, sweep, cells, base=base)
  print(f"{len(cells)} cells in {max(c.group for c in cells) + 1} groups")
  print(f"sweep: {folder}", flush=True)
  given = Orders(options, **{**orders, "launcher_options": settings})
  with live_table(held) as say:
    code = run(held, given, say=say)
  states = {cell.name: read_status(folder, cell.name) for cell in cells}
  for cell, status in states.items():
    if status.reason:
      print(f"{cell}: {status.state}: {status.reason}")
      print(*(f"  {line}" for line in status.tail), sep="\n")
  done = sum(status.state == "done" for status in states.values())
  print(f"{done} of {len(cells)} cells are done: {folder / 'results.csv'}")
  if code == STOPPED:
    print(f"stopped: go on with --workdir={folder}")
  else:
    print(f"python -m experiments.report --workdir={folder}")
  return code


def run_job(folder: Path, group: int, values: Mapping[str, Any]) -> int:
  """Trains one group, as a launcher's job; its output is the job's log."""
  sweep = read_sweep(folder)
  groups = {cell.group for cell in sweep.cells}
  if group not in groups:
    raise UserError(f"--group: expected 0 to {max(groups)}, got {group}")
  return run_group(sweep, group, Options(**values))


def _pairs(texts: Sequence[str]) -> dict[str, str]:
  pairs = [text.partition("=") for text in texts]
  for field, equals, value in pairs:
    if not (field and equals and value):
      raise UserError(
        "--set: expected field=value such as train.duration='50 steps', got "
        f"{field + equals + value!r}"
      )
  return {field.strip(): value for field, _, value in pairs}
