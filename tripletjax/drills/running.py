"""Trainings as processes that can be stopped, looked at, and killed."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from tripletjax.drills.moments import Look, Marks, Moment, look, moment_of

# How long any training of a drill may take, in seconds.
PATIENCE = 300.0
POLL = 0.0003


class Job(NamedTuple):
  """A short training that drills start again and again.

  Attributes:
    flags: of `experiments.train`, but for the folder.
    environment: beside the drill's own.
    root: where `experiments` lies.
  """

  flags: tuple[str, ...]
  environment: Mapping[str, str]
  root: Path

  def command(self, workdir: Path, *more: str) -> list[str]:
    """A training in a folder."""
    return [
      *(sys.executable, "-m", "experiments.train"),
      *(*self.flags, f"--workdir={workdir}", *more),
    ]

  def launch(self, workdir: Path, *more: str) -> list[str]:
    """A training in two processes, in a folder."""
    return [
      *(sys.executable, "-m", "experiments.launch", "--processes=2", *more),
      *("--", *self.flags, f"--workdir={workdir}"),
    ]


class Ended(NamedTuple):
  """How a process ended.

  Attributes:
    code: its exit code, below 0 for a signal.
    out: what it printed, on stdout and stderr.
    seconds: how long it ran.
  """

  code: int
  out: str
  seconds: float

  @property
  def resumed(self) -> int:
    """The step from which it went on; 0 for a new start."""
    return resumed_from(self.out)

  @property
  def errors(self) -> list[str]:
    """The lines for a user who is wrong."""
    return [x for x in self.out.splitlines() if x.startswith("error: ")]


class Child:
  """A process that writes into a file what it says.

  Attributes:
    process: it.
    log: the file.
    began: when it was started, by a clock that only goes on.
  """

  def __init__(
    self, command: Sequence[str], log: Path, job: Job, **environment: str
  ) -> None:
    """Starts the command."""
    self.log = log
    self.began = time.monotonic()
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as file:
      self.process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=file,
        stderr=subprocess.STDOUT,
        env={
          **os.environ,
          "PYTHONPATH": str(job.root),
          "PYTHONUNBUFFERED": "1",
          **job.environment,
          **environment,
        },
      )

  def wait(self, patience: float = PATIENCE) -> Ended:
    """Waits for its end; one that takes too long is killed, and says so."""
    late = ""
    try:
      self.process.wait(patience)
    except subprocess.TimeoutExpired:
      self.process.kill()
      self.process.wait()
      late = f"\nkilled by the drill: it took more than {patience:.0f} s"
    return Ended(
      self.process.returncode,
      self.said() + late,
      time.monotonic() - self.began,
    )

  def said(self) -> str:
    """What it has printed so far."""
    return self.log.read_text(errors="replace")


@contextlib.contextmanager
def started(
  command: Sequence[str], log: Path, job: Job, **environment: str
) -> Iterator[Child]:
  """A process that is gone afterwards, whatever happens."""
  child = Child(command, log, job, **environment)
  try:
    yield child
  finally:
    if child.process.poll() is None:
      child.process.kill()
      child.process.wait()


def run(
  command: Sequence[str], log: Path, job: Job, **environment: str
) -> Ended:
  """Runs a process to its end."""
  with started(command, log, job, **environment) as child:
    return child.wait()


def resumed_from(said: str) -> int:
  """The step from which a training says that it goes on, the last time."""
  found = re.findall(r"^resumed: step (\d+) of", said, re.MULTILINE)
  return int(found[-1]) if found else 0


class Aim(NamedTuple):
  """The moment at which a run is to be disturbed.

  Attributes:
    kind: one of moments.KINDS, or "any" for a time.
    ahead: of kinds: not before so many steps of this start.
    delay: seconds; of "any" after the start, else after the moment has come,
      which it may outlive.
  """

  kind: str
  ahead: int
  delay: float


def disturb(
  child: Child,
  workdir: Path,
  marks: Marks,
  aim: Aim,
  *,
  before: Look,
  act: Callable[[int], None] = lambda pid: os.kill(pid, signal.SIGKILL),
  pid: Callable[[], int | None] | None = None,
) -> Moment | None:
  """Waits for a moment of a training, and acts on it then.

  The process is stopped whenever its folder has changed, looked at, and let go
  on if this isn't the moment: so what it was doing is known, not guessed.

  Args:
    child: the training, just started.
    workdir: its folder.
    marks: of an untouched run.
    aim: the moment.
    before: how the folder looked before the start.
    act: is given the process, which stands still, and lets it go on or not.
    pid: finds which process that is, None as long as it isn't there; the child
      itself by default.

  Returns:
    The moment; None if it never came.
  """
  delay, seen = aim.delay, before
  deadline = time.monotonic() + PATIENCE
  while child.process.poll() is None and time.monotonic() < deadline:
    if aim.kind == "any":
      if time.monotonic() - child.began < aim.delay:
        time.sleep(POLL)
        continue
    else:
      now = look(workdir)
      if now == seen:
        time.sleep(POLL)
        continue
      seen = now
    victim = child.process.pid if pid is None else pid()
    if victim is None or not _stop(victim):
      continue
    start = resumed_from(child.said())
    moment = moment_of(workdir, marks, before=before, start=start)
    if _hits(moment, aim, start):
      if aim.kind == "any" or delay < POLL:
        act(victim)
        return moment
      os.kill(victim, signal.SIGCONT)
      time.sleep(delay)
      # Once more at once; next time less late, if it is over by then.
      delay, seen = delay / 2, before
      if _stop(victim):
        moment = moment_of(workdir, marks, before=before, start=start)
        if _hits(moment, aim, start):
          act(victim)
          return moment
    with contextlib.suppress(ProcessLookupError):
      os.kill(victim, signal.SIGCONT)
  return None


def _hits(moment: Moment, aim: Aim, start: int) -> bool:
  if aim.kind == "any":
    return True
  return moment.kind == aim.kind and moment.step >= start + aim.ahead


def _stop(pid: int) -> bool:
  """Stops a process; whether it stands still, and hasn't ended."""
  try:
    os.kill(pid, signal.SIGSTOP)
  except ProcessLookupError:
    return False
  deadline = time.monotonic() + 10
  while time.monotonic() < deadline:
    try:
      stat = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
      return False
    state = stat.rpartition(")")[2].split()[0]
    if state in "Tt":
      return True
    if state in "ZX":
      return False
    time.sleep(POLL / 3)
  return False
