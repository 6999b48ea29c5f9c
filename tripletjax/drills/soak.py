"""The soak: one long training, watched for leaks and for slowing down."""

from __future__ import annotations

import json
import math
import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
import psutil

from tripletjax.drills.lab import last_line
from tripletjax.drills.running import Job, started
from tripletjax.errors import UserError
from tripletjax.training.signals import STOPPED

# Parts of the soak that are compared: after warm-up, and at the end.
AFTER, END = (0.1, 0.25), (0.85, 1.0)
LIMIT = 0.02
# A new training, for this share of the time after the soak: whether the machine
# is slower than it was, or the training. Its warm-up ends at this share of it.
NEW, WARM = 0.1, 0.5
INTERVAL = 1.0  # seconds
# glibc gives back what was freed, so that what is kept is seen: two heaps for
# all threads, and thresholds that don't rise with what was once allocated.
HEAP = {
  "MALLOC_ARENA_MAX": "2",
  "MALLOC_TRIM_THRESHOLD_": "131072",
  "MALLOC_MMAP_THRESHOLD_": "131072",
}


class Samples(NamedTuple):
  """What was seen, in columns.

  Attributes:
    seconds: of the soak, when memory was looked at.
    memory: resident, in bytes, of the training with its children.
    lap_seconds: of the soak, when a lap of steps was written.
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


class Change(NamedTuple):
  """A number after warm-up and at the end, and how it changed.

  Attributes:
    after: median after warm-up.
    end: median at the end.
    share: `end / after - 1`.
  """

  after: float
  end: float
  share: float


def change(
  seconds: Sequence[float], values: Sequence[float], *, whole: float
) -> Change:
  """Medians of the two parts of a soak of `whole` seconds.

  >>> change([15, 20, 90, 95], [2.0, 2.0, 2.0, 4.0], whole=100)
  Change(after=2.0, end=3.0, share=0.5)
  """
  at = np.asarray(seconds, np.float64) / whole
  column = np.asarray(values, np.float64)
  after, end = (
    float(np.median(part)) if (part := column[(at >= low) & (at <= high)]).size
    else math.nan
    for low, high in (AFTER, END)
  )  # fmt: skip
  return Change(after, end, end / after - 1)


def soak(
  job: Job, folder: Path, *, minutes: float, say: Callable[[str], None]
) -> dict[str, Any]:
  """Trains for some minutes and samples memory and steps meanwhile.

  Args:
    job: a training that is longer.
    folder: of the run and of what it says.
    minutes: how long, from its first line of metrics.
    say: is told once a minute.

  Returns:
    What the file of results holds.

  Raises:
    UserError: the training can't be right.
    RuntimeError: it ended by itself.
  """
  samples, code = _watched(job, folder, "run", minutes=minutes, say=say)
  say("a new training, to compare its steps with")
  fresh, _ = _watched(job, folder, "new", minutes=NEW * minutes, say=say)
  return results(samples, minutes=minutes, code=code, new=settled(fresh))


def _watched(
  job: Job, folder: Path, name: str, *, minutes: float, say: Callable[..., None]
) -> tuple[Samples, int]:
  """Samples of a training, and the exit code with which it was stopped."""
  workdir = folder / name
  # What the run says lies where it always did.
  log = folder / ("soak.log" if name == "run" else f"{name}.log")
  samples = Samples([], [], [], [], [], [], [])
  with started(job.command(workdir), log, job, **HEAP) as child:
    metrics = workdir / "metrics.jsonl"
    while not metrics.exists() or not metrics.stat().st_size:
      if child.process.poll() is not None:
        said = child.wait()
        if said.code == 2:
          raise UserError(last_line(said).removeprefix("error: "))
        raise RuntimeError(f"the training didn't begin: {last_line(said)}")
      time.sleep(0.1)
    began = time.monotonic()
    with metrics.open() as lines:
      while (now := time.monotonic() - began) < 60 * minutes:
        if child.process.poll() is not None:
          raise RuntimeError(
            f"the training ended after {now / 60:.1f} minutes: "
            f"{last_line(child.wait())}"
          )
        if _whole_minute(samples, now):
          say(_line(samples, now))
        samples.seconds.append(now)
        samples.memory.append(resident(child.process.pid))
        read_laps(lines, now, samples)
        time.sleep(INTERVAL)
    child.process.send_signal(signal.SIGTERM)
    ended = child.wait(120)
  return samples, ended.code


def settled(samples: Samples) -> float:
  """The median time of a step after warm-up, in seconds; NaN without one."""
  laps = samples.lap_time[int(WARM * len(samples.lap_time)) :]
  return float(np.median(laps)) if laps else math.nan


def results(
  samples: Samples, *, minutes: float, code: int, new: float = math.nan
) -> dict[str, Any]:
  """What is compared, and all of the samples.

  A step that takes longer than after warm-up is no problem where it takes as
  long in a new training, started right after: then it's the machine.

  Args:
    samples: of the soak.
    minutes: how long it was.
    code: exit code of the training.
    new: seconds of a step of that new training; NaN where there was none.
  """
  memory = change(samples.seconds, samples.memory, whole=60 * minutes)
  steps = change(samples.lap_seconds, samples.lap_time, whole=60 * minutes)
  against_new = Change(new, steps.end, steps.end / new - 1)
  judged = [("memory", memory), ("time of a step", steps)]
  if abs(against_new.share) <= LIMIT:
    judged.pop()
  problems = [
    f"{name} changed by {x.share:+.1%}, expected at most {LIMIT:.0%}"
    for name, x in judged
    if not abs(x.share) <= LIMIT
  ]
  if code != STOPPED:
    problems.append(f"exit code {code}, expected {STOPPED}")
  return {
    "minutes": minutes,
    "steps": max(samples.lap_step, default=0),
    "evaluations": len(samples.evaluations),
    "checkpoints": len(samples.checkpoints),
    "after": AFTER,
    "end": END,
    "memory": memory._asdict(),
    "step": steps._asdict(),
    "step_against_new": against_new._asdict(),
    "problems": problems,
    "samples": samples._asdict(),
  }


def resident(pid: int) -> float:
  """Resident memory of a process and its children, in bytes; NaN if gone."""
  try:
    process = psutil.Process(pid)
    family = (process, *process.children(recursive=True))
    return float(sum(member.memory_info().rss for member in family))
  except psutil.Error:
    return math.nan


def read_laps(lines: IO[str], now: float, samples: Samples) -> None:
  """Reads what was written since the last time; a torn line waits."""
  while True:
    place = lines.tell()
    line = lines.readline()
    if not line.endswith("\n"):
      lines.seek(place)
      return
    row = json.loads(line)
    if "loss" in row:
      if not samples.lap_time or row["step"] > samples.lap_step[-1]:
        samples.lap_seconds.append(now)
        samples.lap_step.append(row["step"])
        samples.lap_time.append(row["seconds/step"] + row["seconds/input"])
    elif any(name.startswith("eval/") for name in row):
      samples.evaluations.append(now)
    elif "seconds/checkpoint" in row:
      samples.checkpoints.append(now)


def describe(found: dict[str, Any]) -> str:
  """The outcome as a table."""
  rows = [
    ["", "after warm-up", "at the end", "change"],
    ["---", "---:", "---:", "---:"],
  ]
  for name, unit, scale, key in (
    ("resident memory", "MB", 1e6, "memory"),
    ("time of a step", "ms", 1e-3, "step"),
    ("beside a new training's step", "ms", 1e-3, "step_against_new"),
  ):
    x = found[key]
    if math.isnan(x["share"]) and key == "step_against_new":
      continue
    rows.append(
      [
        f"{name} ({unit})",
        f"{x['after'] / scale:,.1f}",
        f"{x['end'] / scale:,.1f}",
        f"{x['share']:+.2%}",
      ]
    )
  lines = "\n".join("| " + " | ".join(row) + " |" for row in rows)
  return (
    f"{found['minutes']:g} minutes, {found['steps']:,} steps, "
    f"{found['evaluations']} evaluations, {found['checkpoints']} checkpoints; "
    f"medians of {AFTER[0]:.0%} to {AFTER[1]:.0%} and of {END[0]:.0%} to "
    f"{END[1]:.0%} of the time:\n\n{lines}\n\n"
    + ("; ".join(found["problems"]) or f"within {LIMIT:.0%}")
  )


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
