"""The cells of one group, trained by one compiled program."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from ml_collections import ConfigDict

from tripletjax.errors import DivergedError, UserError
from tripletjax.sweeps.budgets import SECONDS, parse_budget
from tripletjax.sweeps.cells import Planned
from tripletjax.sweeps.plans import (
  AUTO,
  IN_TURN,
  TOGETHER,
  Plan,
  add_plan,
  describe,
  read_plans,
)
from tripletjax.sweeps.reading import (
  SweepFolder,
  cell_folder,
  read_status,
  write_status,
)
from tripletjax.sweeps.ways import (
  faster,
  kind_of,
  measure_ways,
  seconds_in_turn,
)
from tripletjax.training import parallel
from tripletjax.training.loop import train_and_evaluate
from tripletjax.training.setup import Run, prepare_run, run_of
from tripletjax.training.signals import STOPPED
from tripletjax.training.together import check_together, train_together

ENDED = ("done", "failed", "diverged")
TAIL = 12  # lines of a trace that are kept
Say = Callable[[str], None]


class Options(NamedTuple):
  """How a group is run.

  Attributes:
    data_dir: folder of the prepared data sets.
    way: auto, together or in_turn, unless it was decided before.
    members: the most cells side by side.
    devices: to train on; all when None.
    arm: only its cells, as a search asks for; all when "".
  """

  data_dir: Path
  way: str = AUTO
  members: int = 16
  devices: parallel.Devices | None = None
  arm: str = ""


def cells_of(sweep: SweepFolder, arm: str = "") -> list[Planned]:
  """The cells of an arm; all when ""."""
  return [cell for cell in sweep.cells if arm in ("", cell.arm)]


def run_group(
  sweep: SweepFolder, group: int, options: Options, *, say: Say = print
) -> int:
  """Trains those cells of a group that haven't ended.

  Args:
    sweep: the sweep.
    group: its number.
    options: how.
    say: is given lines for people.

  Returns:
    0; 1 if a cell failed or diverged; 75 after a signal, with checkpoints from
    which the next start goes on.

  Raises:
    UserError: the group has no cell of the arm that `options` names.
  """
  cells = [c for c in cells_of(sweep, options.arm) if c.group == group]
  if not cells:
    raise UserError(f"--arm: no cell of {options.arm!r} is in group {group}")
  left = [
    cell
    for cell in cells
    if read_status(sweep.path, cell.name).state not in ENDED
  ]
  stopped = False
  if left:
    for cell in left:
      write_status(sweep.path, cell.name, "running")
    try:
      stopped = _train(sweep, group, cells, left, options, say)
    except Exception as error:  # of one group; the others go on
      for cell in left:
        if read_status(sweep.path, cell.name).state == "running":
          _note(sweep, cell, error, say)
  if stopped:
    for cell in left:
      if read_status(sweep.path, cell.name).state == "running":
        write_status(sweep.path, cell.name, "waiting")
    return STOPPED
  states = [read_status(sweep.path, cell.name).state for cell in cells]
  return int(any(state != "done" for state in states))


def _train(
  sweep: SweepFolder,
  group: int,
  cells: Sequence[Planned],
  left: Sequence[Planned],
  options: Options,
  say: Say,
) -> bool:
  """Whether it was stopped by a signal."""
  devices = options.devices or parallel.all_devices()
  plan = read_plans(sweep.path).get(group)
  first = prepare_run(
    cells[0].config,
    cell_folder(sweep.path, cells[0].name),
    options.data_dir,
    devices,
    lambda line: None,
  )
  if plan is None:
    plan = make_plan(sweep, group, first, cells, options)
    add_plan(sweep.path, plan)
  if plan.steps != first.schedule.total:  # a budget of wall time
    config = with_steps(cells[0].config, plan.steps)
    first = prepare_run(
      config, first.workdir, options.data_dir, devices, lambda line: None
    )
  say(describe(plan))
  runs = {
    cell.name: run_of(
      first,
      with_steps(cell.config, plan.steps)
      if first.config.train.duration != cell.config.train.duration
      else cell.config,
      cell_folder(sweep.path, cell.name),
      _prefixed(say, cell.name),
    )
    for cell in cells
  }
  if plan.way == TOGETHER:
    return _side_by_side(sweep, plan, cells, left, runs, say)
  return _in_turn(sweep, left, runs, say)


def make_plan(
  sweep: SweepFolder,
  group: int,
  first: Run,
  cells: Sequence[Planned],
  options: Options,
) -> Plan:
  """Decides how a group is run, by measuring where that isn't known."""
  kind = kind_of(first.config)
  members = min(len(cells), options.members)
  seconds: dict[str, float] = {}
  way = options.way
  try:
    check_together(first)
  except UserError:
    way = IN_TURN
  if members == 1:
    way = IN_TURN
  if way == AUTO:
    # Of another group with the same network and batch, or measured now.
    known = (
      dict(plan.seconds_per_step)
      for plan in read_plans(sweep.path).values()
      if plan.kind == kind and len(plan.seconds_per_step) == 2
    )
    runs = [
      run_of(first, cell.config, first.workdir, first.say) for cell in cells
    ]
    seconds = next(known, {}) or measure_ways(runs, members=members)
    way = faster(seconds)
  steps = first.schedule.total
  budget = sweep.about.get("budget", "")
  if budget and parse_budget(budget)[1] == SECONDS:
    step = seconds.get(way) or seconds_in_turn(first)
    seconds = {IN_TURN: step, **seconds}
    steps = max(round(parse_budget(budget)[0] / step), 1)
  names = tuple(cell.name for cell in sweep.cells if cell.group == group)
  return Plan(group, names, way, members, steps, seconds, kind)


def with_steps(config: ConfigDict, steps: int) -> ConfigDict:
  """A config that trains for so many steps."""
  config = config.copy_and_resolve_references()
  config.train.duration = f"{steps} steps"
  return config.lock()


def _in_turn(
  sweep: SweepFolder,
  left: Sequence[Planned],
  runs: dict[str, Run],
  say: Say,
) -> bool:
  for cell in left:
    run = runs[cell.name]
    try:
      summary = train_and_evaluate(
        run.config, run.workdir, run=run, devices=run.devices, bar=False
      )
    except Exception as error:  # of one cell; the others go on
      _note(sweep, cell, error, say)
      continue
    if "stopped" in summary:
      return True
    write_status(sweep.path, cell.name, "done")
    say(f"{cell.name}: done")
  return False


def _side_by_side(
  sweep: SweepFolder,
  plan: Plan,
  cells: Sequence[Planned],
  left: Sequence[Planned],
  runs: dict[str, Run],
  say: Say,
) -> bool:
  """Trains `plan.members` cells at once; the seats stay those of the grid."""
  names = {cell.name for cell in left}
  for start in range(0, len(cells), plan.members):
    seated = cells[start : start + plan.members]
    ended = [i for i, cell in enumerate(seated) if cell.name not in names]
    if len(ended) == len(seated):
      continue
    outcomes = train_together(
      [runs[cell.name] for cell in seated],
      passengers=ended,
      members=plan.members,
      bar=False,
    )
    for i, (cell, outcome) in enumerate(zip(seated, outcomes, strict=True)):
      if i in ended:
        continue
      if outcome.reason:
        _note(sweep, cell, DivergedError(outcome.reason), say)
      elif "stopped" in outcome.summary:
        continue
      else:
        write_status(sweep.path, cell.name, "done")
        say(f"{cell.name}: done")
    if any("stopped" in outcome.summary for outcome in outcomes):
      return True
  return False


def _note(
  sweep: SweepFolder, cell: Planned, error: Exception, say: Say
) -> None:
  """Writes down why a cell failed."""
  diverged = isinstance(error, DivergedError)
  lines = "".join(traceback.format_exception(error)).splitlines()
  known = isinstance(error, UserError)
  reason = str(error) if known else f"{type(error).__name__}: {error}"
  write_status(
    sweep.path,
    cell.name,
    "diverged" if diverged else "failed",
    reason=reason,
    tail=[] if known else lines[-TAIL:],
  )
  say(f"{cell.name}: {'diverged' if diverged else 'failed'}: {reason}")


def _prefixed(say: Say, name: str) -> Say:
  return lambda line: say(f"{name}: {line}")
