"""What all drills share: a training that was never touched, and a folder."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from tripletjax.drills.comparing import differences, read_rows
from tripletjax.drills.moments import Marks, Moment, look, marks_of
from tripletjax.drills.running import (
  Aim,
  Ended,
  Job,
  disturb,
  run,
  started,
)
from tripletjax.errors import UserError

Say = Callable[[str], None]


class Lab(NamedTuple):
  """Where drills are held.

  Attributes:
    job: the training.
    folder: of all runs and of what they say.
    reference: folder of the run that was never touched.
    marks: its marks.
    seconds: that it took, with all its programs compiled before.
    seed: of what is random.
    say: is told of each start.
  """

  job: Job
  folder: Path
  reference: Path
  marks: Marks
  seconds: float
  seed: int
  say: Say

  def random(self, name: str) -> random.Random:
    """A generator for one drill, whichever others are held."""
    return random.Random(f"{self.seed} {name}")

  def log(self, name: str) -> Path:
    """A new file for what a process says."""
    logs = self.folder / "logs"
    count = len(list(logs.glob(f"{name}-*.log")))
    return logs / f"{name}-{count + 1}.log"

  def killed(self, workdir: Path, *, steps: int = 0) -> Moment:
    """Begins a training, and kills it in a step once `steps` are done.

    Without `steps` at least two checkpoints are there then.
    """
    steps = steps or sorted(self.marks.saves)[1]
    with started(
      self.job.command(workdir), self.log(workdir.name), self.job
    ) as child:
      moment = disturb(
        child, workdir, self.marks, Aim("step", steps, 0), before=look(workdir)
      )
    if moment is None:
      raise RuntimeError(
        f"{workdir.name}: no step beyond {steps} to be killed in"
      )
    self.say(f"{workdir.name}: killed in a step, after step {moment.step}")
    return moment

  def run(self, workdir: Path, **environment: str) -> Ended:
    """A training to its end."""
    ended = run(
      self.job.command(workdir),
      self.log(workdir.name),
      self.job,
      **environment,
    )
    self.say(
      f"{workdir.name}: from step {ended.resumed}, exit code {ended.code} "
      f"after {ended.seconds:.0f} s"
    )
    return ended

  def ends_equal(self, workdir: Path, **environment: str) -> list[str]:
    """Runs a training to its end; in what it differs."""
    ended = self.run(workdir, **environment)
    if ended.code:
      return [f"exit code {ended.code}: {last_line(ended)}"]
    return differences(self.reference, workdir)


def last_line(ended: Ended) -> str:
  """The last thing that a process said."""
  return (ended.out.strip().splitlines() or ["nothing was said"])[-1][:300]


def refused(ended: Ended, *words: str) -> list[str]:
  """What is wrong with the way in which a training was refused.

  It is to end with exit code 2 and one line, with all the words in it.
  """
  if ended.code != 2:
    return [f"exit code {ended.code}, expected 2: {last_line(ended)}"]
  if len(ended.errors) != 1 or "Traceback" in ended.out:
    return [
      f"expected one line that begins with error:, got {ended.out[-300:]}"
    ]
  missing = [word for word in words if word not in ended.errors[0]]
  return [f"no {word!r} in {ended.errors[0]!r}" for word in missing]


def resumable(ended: Ended, step: int) -> list[str]:
  """What is wrong with how a training went on from a step, and ended."""
  problems = []
  if ended.code:
    problems.append(f"exit code {ended.code}: {last_line(ended)}")
  if ended.resumed != step:
    problems.append(f"went on from step {ended.resumed}, expected {step}")
  return problems


def make_lab(job: Job, folder: Path, *, seed: int, say: Say) -> Lab:
  """Trains twice without a touch: to compile all programs, and with them.

  The two must be equal, or no comparison would mean anything.

  Raises:
    UserError: the training can't be right.
    RuntimeError: they don't end, or differ.
  """
  folder = folder.absolute()
  found = []
  for name in ("compiled", "reference"):
    ended = run(
      job.command(folder / name), folder / "logs" / f"{name}.log", job
    )
    if ended.code == 2:
      raise UserError(last_line(ended).removeprefix("error: "))
    if ended.code:
      raise RuntimeError(
        f"the training itself ends with exit code {ended.code}: "
        f"{last_line(ended)}"
      )
    say(f"{name}: a training without a touch, {ended.seconds:.1f} s")
    found.append(ended)
  reference = folder / "reference"
  problems = differences(folder / "compiled", reference)
  if problems:
    raise RuntimeError(f"two trainings without a touch differ: {problems[0]}")
  rows = read_rows(reference / "metrics.jsonl")[0]
  return Lab(
    job, folder, reference, marks_of(rows), found[-1].seconds, seed, say
  )


def steps_of(workdir: Path) -> list[int]:
  """Steps of the checkpoints of a run."""
  return sorted(
    int(path.name)
    for path in (workdir / "checkpoints").glob("[0-9]*")
    if path.name.isdigit()
  )
