"""Trainings that are looked at from outside, and take turns."""

from __future__ import annotations

import contextlib
import json
import math
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np
import psutil

from tripletjax.drills.lab import last_line
from tripletjax.drills.running import Child, Job, started
from tripletjax.errors import UserError

# Seconds: between looks, in a turn, and of a turn at most.
INTERVAL, GLANCE, LONGEST = 1.0, 0.02, 30.0


class Samples(NamedTuple):
  """What was seen, in columns.

  Attributes:
    seconds: of the soak, when memory was looked at.
    memory: resident, in bytes, of the training with its children.
    lap_seconds: of the soak, when a lap of steps was written; a lap is what
      `log.every` says.
    lap_step: the last step of the lap.
    lap_time: seconds of a step and its input, a mean over the lap.
    evaluations: how many were written.
    checkpoints: how many were written.
  """

  seconds: list[float]
  memory: list[float]
  lap_seconds: list[float]
  lap_step: list[int]
  lap_time: list[float]
  evaluations: list[float]
  checkpoints: list[float]


def no_samples() -> Samples:
  """Nothing seen yet."""
  return Samples([], [], [], [], [], [], [])


class Watched:
  """A training that runs, and what was seen of it.

  Attributes:
    samples: so far.
  """

  def __init__(self, child: Child, lines: IO[str]) -> None:
    """Begins to watch; `lines` are its metrics as they are written."""
    self.samples = no_samples()
    self._child = child
    self._lines = lines
    self._began = time.monotonic()

  @property
  def pid(self) -> int:
    """Its process."""
    return self._child.process.pid

  def watch(
    self, seconds: float, say: Callable[[str], None] = lambda line: None
  ) -> None:
    """Looks each second, for so long.

    Args:
      seconds: how long.
      say: is told once a minute.

    Raises:
      RuntimeError: the training ended by itself.
    """
    until = time.monotonic() + seconds
    while time.monotonic() < until:
      now = self._look()
      if _whole_minute(self.samples, now):
        say(_line(self.samples, now))
      self.samples.seconds.append(now)
      self.samples.memory.append(resident(self.pid))
      time.sleep(max(0.0, min(INTERVAL, until - time.monotonic())))
    self._look()

  def pause(self) -> None:
    """Lets it stand still."""
    self._child.process.send_signal(signal.SIGSTOP)

  def start_over(self) -> None:
    """Lets it go on, and forgets what was seen until now."""
    self._look()
    self.samples = no_samples()
    self._began = time.monotonic()
    self._child.process.send_signal(signal.SIGCONT)

  def turn(self, laps: int) -> list[float]:
    """Lets one that stands still go on for so many laps, if they're short.

    Returns:
      Seconds of a step of the laps that began and ended in this turn.
    """
    self._look()
    # The first lap had begun before.
    first = len(self.samples.lap_time) + 1
    until = time.monotonic() + LONGEST
    self._child.process.send_signal(signal.SIGCONT)
    while time.monotonic() < until:
      time.sleep(GLANCE)
      self._look()
      if len(self.samples.lap_time) >= first + laps:
        break
    self.pause()
    return self.samples.lap_time[first : first + laps]

  def end(self) -> int:
    """Asks it to stop; its exit code."""
    self._child.process.send_signal(signal.SIGTERM)
    self._child.process.send_signal(signal.SIGCONT)
    return self._child.wait(120).code

  def _look(self) -> float:
    """Reads what was written; the time since the beginning."""
    now = time.monotonic() - self._began
    if self._child.process.poll() is not None:
      raise RuntimeError(
        f"the training ended after {now / 60:.1f} minutes: "
        f"{last_line(self._child.wait())}"
      )
    read_laps(self._lines, now, self.samples)
    return now


@contextlib.contextmanager
def watched(job: Job, workdir: Path, log: Path) -> Iterator[Watched]:
  """A training from its first line of metrics on; gone afterwards.

  Args:
    job: the training.
    workdir: its folder.
    log: file of what it says.

  Raises:
    UserError: the training can't be right.
    RuntimeError: it didn't begin.
  """
  metrics = workdir / "metrics.jsonl"
  with started(job.command(workdir), log, job) as child:
    while not metrics.exists() or not metrics.stat().st_size:
      if child.process.poll() is not None:
        said = child.wait()
        if said.code == 2:
          raise UserError(last_line(said).removeprefix("error: "))
        raise RuntimeError(f"the training didn't begin: {last_line(said)}")
      time.sleep(0.1)
    with metrics.open() as lines:
      yield Watched(child, lines)


def in_turns(
  trainings: Sequence[Watched], *, laps: int, seconds: float, rounds: int
) -> list[list[float]]:
  """Steps of trainings that stand still but for one, in turns.

  What the machine does meanwhile, it does to all of them: the shorter the
  turns, the more alike.

  Args:
    trainings: that stand still.
    laps: of a turn; every second round of turns goes back.
    seconds: in which another round is begun.
    rounds: at least.

  Returns:
    Of each round and training the median time of a step, in seconds; NaN where
    no lap began and ended in a turn.
  """
  medians: list[list[float]] = []
  until = time.monotonic() + seconds
  while len(medians) < rounds or time.monotonic() < until:
    order = list(range(len(trainings)))
    row = [math.nan] * len(order)
    for which in order if len(medians) % 2 == 0 else reversed(order):
      times = trainings[which].turn(laps)
      row[which] = float(np.median(times)) if times else math.nan
    medians.append(row)
  return medians


def resident(pid: int) -> float:
  """Resident memory of a process and its children, in bytes; NaN if gone."""
  try:
    process = psutil.Process(pid)
    family = (process, *process.children(recursive=True))
    return float(sum(member.memory_info().rss for member in family))
  except psutil.Error:
    return math.nan


def read_laps(lines: IO[str], now: float, samples: Samples) -> None:
  """Reads what was written since the last time; a torn line waits.

  Each step has a line, with its lap's clocks: those with the same time are one
  lap.
  """
  while True:
    place = lines.tell()
    line = lines.readline()
    if not line.endswith("\n"):
      lines.seek(place)
      return
    row = json.loads(line)
    if "loss" in row:
      seconds = row["seconds/step"] + row["seconds/input"]
      if samples.lap_time and seconds == samples.lap_time[-1]:
        samples.lap_step[-1] = row["step"]
      else:
        samples.lap_seconds.append(now)
        samples.lap_step.append(row["step"])
        samples.lap_time.append(seconds)
    elif any(name.startswith("eval/") for name in row):
      samples.evaluations.append(now)
    elif "seconds/checkpoint" in row:
      samples.checkpoints.append(now)


def _whole_minute(samples: Samples, now: float) -> bool:
  before = samples.seconds[-1] if samples.seconds else 0.0
  return int(now // 60) > int(before // 60)


def _line(samples: Samples, now: float) -> str:
  laps = samples.lap_time[-100:] or [math.nan]
  return (
    f"{now / 60:.0f} min: step {(samples.lap_step or [0])[-1]:,}, "
    f"{1e3 * float(np.median(laps)):.1f} ms a step, "
    f"{samples.memory[-1] / 1e6:,.0f} MB"
  )
