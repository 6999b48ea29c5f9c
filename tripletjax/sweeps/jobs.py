"""What all launchers share: a job, and the loop that starts and awaits them."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol, TypeVar

from tripletjax.errors import UserError
from tripletjax.sweeps import guard
from tripletjax.training.signals import STOPPED, asked_to_stop


class Job(NamedTuple):
  """A command that depends on no other.

  Attributes:
    name: unique, such as "group0"; shown, and part of file names.
    command: program and arguments; SIGTERM asks it to stop, to which it answers
      with exit code 75 when it can go on later.
    log: file to which its output is added.
  """

  name: str
  command: tuple[str, ...]
  log: Path


class How(NamedTuple):
  """How jobs are run.

  Attributes:
    at_once: the most jobs at a time, 1 or more.
    folder: for the files of schedulers: the same for the same jobs, on a file
      system that all machines see, and of nobody else.
    run: name of a job -> exit code; for "here" only.
    options: what the scheduler is told: of submitit's `update_parameters`
      ("timeout_min", "slurm_partition", ...) or of `ray.remote` ("num_gpus").
  """

  at_once: int
  folder: Path
  run: Callable[[str], int] | None = None
  options: Mapping[str, str | int] = {}


class ChangedFn(Protocol):
  """Is told when a job starts or ends."""

  def __call__(self, name: str, state: str, exit_code: int | None) -> None:
    """`state` is waiting, running, done, failed or stopped (see state_of)."""
    ...


class Launcher(Protocol):
  """Runs all jobs."""

  def __call__(
    self, jobs: Sequence[Job], *, how: How, changed: ChangedFn
  ) -> dict[str, int]:
    """Name -> exit code; 75 for those that a stop kept from being started."""
    ...


Handle = TypeVar("Handle")


def state_of(code: int) -> str:
  """The state that an exit code means.

  >>> state_of(0), state_of(1), state_of(75)
  ('done', 'failed', 'stopped')
  """
  return {0: "done", STOPPED: "stopped"}.get(code, "failed")


def run_all(
  jobs: Sequence[Job],
  *,
  at_once: int,
  changed: ChangedFn,
  start: Callable[[Job, int], Handle],
  exit_code: Callable[[Handle], int | None],
  stop: Callable[[Sequence[Handle], str], None],
  again: int = 0,
  pause: float = 0.05,
) -> dict[str, int]:
  """Starts jobs in order whenever a place is free, until all have ended.

  SIGTERM and SIGINT start no more of them, and are passed on.

  Args:
    jobs: the jobs.
    at_once: number of places.
    changed: is told of each start and end.
    start: job, place -> handle.
    exit_code: handle -> exit code; None while it runs.
    stop: is given the handles of all that run and the signal's name.
    again: how often a job is started again that stopped without our asking,
      since its time was over or another one needed the place.
    pause: seconds between looks.

  Returns:
    Name -> exit code; 75 for those that weren't started.
  """
  waiting = deque(jobs)
  running: dict[int, tuple[Job, Handle]] = {}
  codes: dict[str, int] = {}
  left = {job.name: again for job in jobs}
  told = False
  with asked_to_stop() as asked:
    while running or (waiting and not asked()):
      for place in range(at_once):
        if waiting and place not in running and not asked():
          job = waiting.popleft()
          running[place] = (job, start(job, place))
          changed(job.name, "running", None)
      if asked() and not told:
        told = True
        stop([handle for _, handle in running.values()], asked())
      for place, (job, handle) in list(running.items()):
        code = exit_code(handle)
        if code is None:
          continue
        del running[place]
        if asked() and code == 128 + signal.Signals[asked()]:
          code = STOPPED  # before it listened: nothing is lost
        if code == STOPPED and left[job.name] and not asked():
          left[job.name] -= 1
          waiting.append(job)
          changed(job.name, "waiting", code)
          continue
        codes[job.name] = code
        changed(job.name, state_of(code), code)
      time.sleep(pause)
  return {job.name: codes.get(job.name, STOPPED) for job in jobs}


def guarded(
  job: Job,
  *,
  cores: Sequence[int] = (),
  env: Mapping[str, str] | None = None,
  stop: Path | None = None,
  alive: tuple[Path, str] | None = None,
) -> list[str]:
  """The command that runs a job under tripletjax/sweeps/guard.py."""
  settings = {
    "log": str(job.log.absolute()),
    "cores": list(cores),
    "env": dict(env or {}),
    "cwd": os.getcwd(),
    "stop": str(stop.absolute()) if stop else "",
    "alive": [str(alive[0].absolute()), alive[1]] if alive else ["", ""],
  }
  script = str(Path(guard.__file__).absolute())
  return [sys.executable, "-I", script, json.dumps(settings), *job.command]


def needs_linux(launcher: str) -> None:
  """A UserError where the guard can't work."""
  if not sys.platform.startswith("linux"):
    raise UserError(
      f"--launcher: {launcher} needs Linux, got {sys.platform}; choose here"
    )


def needs_package(launcher: str, package: str, extra: str) -> None:
  """A UserError that names the extra, where the package isn't installed."""
  if importlib.util.find_spec(package) is None:
    raise UserError(
      f"--launcher: {launcher} needs pip install 'tripletjax[{extra}]'"
    )


def read_options(text: str) -> dict[str, str | int]:
  """Options as a flag gives them.

  Args:
    text: "timeout_min=600,slurm_partition=gpu"; "" is none.

  Returns:
    Name -> value, whole numbers as such.

  Raises:
    UserError: it isn't of that form.

  >>> read_options("timeout_min=600,slurm_partition=gpu")
  {'timeout_min': 600, 'slurm_partition': 'gpu'}
  """
  options: dict[str, str | int] = {}
  for part in filter(None, text.split(",")):
    name, equals, value = part.partition("=")
    if not equals or not name.strip() or not value.strip():
      raise UserError(
        f"--launcher_options: expected name=value,..., got {part!r}"
      )
    value = value.strip()
    options[name.strip()] = int(value) if value.isdecimal() else value
  return options
