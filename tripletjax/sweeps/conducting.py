"""A whole sweep: its groups given to a launcher, its tables written."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from tripletjax.errors import UserError
from tripletjax.sweeps.cells import Planned
from tripletjax.sweeps.groups import (
  Options,
  cells_of,
  run_group,
  with_steps,
)
from tripletjax.sweeps.jobs import ChangedFn, How, Job
from tripletjax.sweeps.launchers import launch
from tripletjax.sweeps.reading import SweepFolder, read_status, write_status
from tripletjax.sweeps.results import write_results
from tripletjax.sweeps.testing import measure_test
from tripletjax.sweeps.ways import seconds_in_turn
from tripletjax.training import parallel
from tripletjax.training.programs import forget_programs
from tripletjax.training.run_folder import locked
from tripletjax.training.setup import prepare_run
from tripletjax.training.signals import STOPPED

Say = Callable[[str], None]


class Orders(NamedTuple):
  """How a sweep is run.

  Attributes:
    options: of its groups.
    launcher: a name of `LAUNCHERS`.
    jobs: groups at a time.
    launcher_options: what the scheduler is told.
    retry_failed: train cells again that failed or diverged.
  """

  options: Options
  launcher: str = "here"
  jobs: int = 1
  launcher_options: dict[str, str | int] = {}  # noqa: RUF012
  retry_failed: bool = False


def conduct(
  sweep: SweepFolder,
  orders: Orders,
  *,
  say: Say = print,
  changed: ChangedFn = lambda name, state, exit_code: None,
) -> int:
  """Trains all cells that haven't ended, writes the tables, tests once.

  Args:
    sweep: as `open_sweep` gives it.
    orders: how.
    say: is given lines for people.
    changed: is told as groups start and end.

  Returns:
    0; 1 if a cell failed or diverged; 75 after a signal.

  Raises:
    UserError: another process conducts this sweep, or the launcher can't run.
  """
  with held(sweep.path):
    if orders.retry_failed:
      retry_failed(sweep, say)
    if train_unfinished(sweep, orders, say=say, changed=changed):
      return STOPPED
    measure_test(sweep, orders.options.data_dir, say=say)
  states = [read_status(sweep.path, cell.name).state for cell in sweep.cells]
  return int(any(state != "done" for state in states))


def train_unfinished(
  sweep: SweepFolder,
  orders: Orders,
  *,
  say: Say = print,
  changed: ChangedFn = lambda name, state, exit_code: None,
) -> bool:
  """Trains the cells that haven't ended, of one arm if the options name it.

  Args:
    sweep: whose lock is held.
    orders: how.
    say: is given lines for people.
    changed: is told as groups start and end.

  Returns:
    Whether a signal stopped it; the tables are written either way.

  Raises:
    UserError: the launcher can't run.
  """
  groups = unfinished(sweep, orders.options.arm)
  stopped = False
  if groups:
    codes = launch(
      orders.launcher,
      [_job(sweep, group, orders.options) for group in groups],
      how=How(
        at_once=orders.jobs,
        folder=sweep.path / "logs" / orders.launcher,
        run=_here(sweep, orders.options, say),
        options=orders.launcher_options,
      ),
      changed=changed,
    )
    stopped = STOPPED in codes.values()
    if not stopped:
      _note_lost(sweep, groups, codes, orders.options.arm)
  write_results(sweep.path)
  return stopped


def unfinished(sweep: SweepFolder, arm: str = "") -> list[int]:
  """Groups of which a cell is waiting, or died; a cell of the arm if given."""
  groups = {
    cell.group: None
    for cell in cells_of(sweep, arm)
    if read_status(sweep.path, cell.name).state in ("waiting", "running")
  }
  return list(groups)


def retry_failed(sweep: SweepFolder, say: Say) -> None:
  """Lets cells that failed or diverged wait again."""
  for cell in sweep.cells:
    if read_status(sweep.path, cell.name).state in ("failed", "diverged"):
      write_status(sweep.path, cell.name, "waiting")
      say(f"{cell.name}: again")


def describe_cells(cells: Sequence[Planned]) -> Iterator[str]:
  """The cells by group, for people."""
  groups: dict[int, list[Planned]] = {}
  for cell in cells:
    groups.setdefault(cell.group, []).append(cell)
  yield f"{len(cells)} cells in {len(groups)} groups; a group is one program"
  for number, own in groups.items():
    yield f"group {number}:"
    yield from (f"  {cell.name}" for cell in own)


def estimate(
  cells: Sequence[Planned], options: Options, *, jobs: int = 1
) -> tuple[float, str]:
  """Seconds that the steps of all cells take, by one timed step.

  Args:
    cells: of the sweep.
    options: of its groups.
    jobs: groups at a time.

  Returns:
    The seconds, and how they were come by, for people.
  """
  first = cells[0]
  config = with_steps(first.config, 1)
  run = prepare_run(
    config,
    Path("unused"),
    options.data_dir,
    options.devices or parallel.all_devices(),
    lambda line: None,
  )
  start = time.perf_counter()
  step = seconds_in_turn(run, steps=1)
  compiling = time.perf_counter() - start - 2 * step
  images = config.batch.identities * config.batch.images
  seconds = 0.0
  for cell in cells:
    per_epoch = run.sampler.batches_per_epoch
    own = cell.config.batch.identities * cell.config.batch.images
    seconds += step * own / images * _steps(cell, per_epoch)
  groups = len({cell.group for cell in cells})
  whole = seconds + groups * compiling
  said = (
    f"a step of {first.name} took {1000 * step:.0f} ms and compiling it "
    f"{compiling:.0f} s: about {whole / jobs / 60:.1f} minutes for all steps "
    f"and {groups} programs, {jobs} at a time; evaluations come on top"
  )
  return whole / jobs, said


def _steps(cell: Planned, batches_per_epoch: int) -> int:
  from tripletjax.training.schedule import make_schedule

  return make_schedule(cell.config, batches_per_epoch).total


def _job(sweep: SweepFolder, group: int, options: Options) -> Job:
  command = (
    sys.executable,
    *("-m", "experiments.sweep"),
    f"--workdir={sweep.path.absolute()}",
    f"--data_dir={options.data_dir.absolute()}",
    f"--group={group}",
    f"--way={options.way}",
    f"--members={options.members}",
    *([f"--arm={options.arm}"] if options.arm else []),
  )
  return Job(
    f"group{group}", command, sweep.path / "logs" / f"group{group}.log"
  )


def _here(
  sweep: SweepFolder, options: Options, say: Say
) -> Callable[[str], int]:
  def run(name: str) -> int:
    group = int(name.removeprefix("group"))
    with (sweep.path / "logs" / f"{name}.log").open("a") as log:

      def tell(line: str) -> None:
        print(line, file=log, flush=True)
        if line.startswith("group") or line.endswith("done"):
          say(line)

      try:
        return run_group(sweep, group, options, say=tell)
      finally:
        forget_programs()

  return run


def _note_lost(
  sweep: SweepFolder, groups: Sequence[int], codes: dict[str, int], arm: str
) -> None:
  """Cells of a job that ended without saying so have failed."""
  for cell in cells_of(sweep, arm):
    if cell.group not in groups:
      continue
    if read_status(sweep.path, cell.name).state not in ("waiting", "running"):
      continue
    name = f"group{cell.group}"
    log = sweep.path / "logs" / f"{name}.log"
    lines = log.read_text(errors="replace").splitlines() if log.exists() else []
    write_status(
      sweep.path,
      cell.name,
      "failed",
      reason=f"its job ended with exit code {codes.get(name)}; see {log.name}",
      tail=lines[-12:],
    )


@contextlib.contextmanager
def held(folder: Path) -> Iterator[None]:
  """Holds a sweep's lock; a `UserError` where another process does."""
  with contextlib.ExitStack() as stack:
    try:
      stack.enter_context(locked(folder))
    except OSError as error:
      raise UserError(
        f"--workdir: can't use {folder}: {error.strerror or error}"
      ) from error
    yield
