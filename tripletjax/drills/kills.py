"""The drill of kills: a training is killed at random moments till it ends."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tripletjax.drills.comparing import differences
from tripletjax.drills.moments import KINDS, Marks, look
from tripletjax.drills.running import Aim, Job, disturb, started

# What is aimed at, in turn; "any" is a time, whatever goes on then.
AIMS = ("step", "save", "evaluation", "metrics", "any")
# Moments that don't come, for one that does; so that nothing goes on forever.
MISSES = 2


class Kill(NamedTuple):
  """A kill that landed.

  Attributes:
    aim: what was aimed at.
    kind: what the training was doing, one of moments.KINDS.
    step: the last one written.
    start: the step from which this start went on.
    training: number of the training.
  """

  aim: str
  kind: str
  step: int
  start: int
  training: int


class Trained(NamedTuple):
  """A training that ended, between kills or after them.

  Attributes:
    kills: how many it took.
    code: its exit code.
    problems: in what it differs from the one that was never touched.
  """

  kills: int
  code: int
  problems: list[str]


class Killed(NamedTuple):
  """What came of the drill."""

  kills: list[Kill]
  trainings: list[Trained]
  problems: list[str]


def plan(
  count: int, generator: random.Random, *, last: int, seconds: float
) -> list[Aim]:
  """Moments to kill at: each kind as often, in a random order.

  Args:
    count: how many.
    generator: of all that is random.
    last: the number of steps of the training.
    seconds: that an untouched training takes.
  """
  aims = []
  for number in range(count):
    kind = AIMS[number % len(AIMS)]
    if kind == "any":
      aims.append(Aim(kind, 0, generator.uniform(0, seconds)))
    else:
      ahead = generator.randint(1, max(last // 3, 1))
      late = generator.choice((0.0, generator.uniform(0, 0.05)))
      aims.append(Aim(kind, ahead, late))
  generator.shuffle(aims)
  return aims


def drill_kills(
  job: Job,
  folder: Path,
  *,
  reference: Path,
  marks: Marks,
  seconds: float,
  kills: int,
  seed: int,
  say: Callable[[str], None],
) -> Killed:
  """Kills trainings at random moments; compares each one that ends.

  A training that ends before all kills were spent is compared, and another one
  begun. Each start either is killed, ends a training, or counts as a miss, of
  which there is a bounded number.

  Args:
    job: the training.
    folder: of the trainings and of what they say.
    reference: folder of the one that was never touched.
    marks: its marks.
    seconds: that it took.
    kills: how many.
    seed: of the moments.
    say: is told of each start.
  """
  generator = random.Random(seed)
  aims = plan(kills, generator, last=marks.last, seconds=seconds)
  done = Killed([], [], [])
  misses, number, spent = 0, 0, 0
  while True:
    workdir = folder / f"killed-{len(done.trainings) + 1}"
    number += 1
    aim = aims[0] if aims else None
    before = look(workdir)
    with started(
      job.command(workdir), folder / "logs" / f"start-{number}.log", job
    ) as child:
      moment = None
      if aim is not None:
        moment = disturb(child, workdir, marks, aim, before=before)
      ended = child.wait()
    start = f"start {number}: from step {ended.resumed}"
    if moment is not None and aim is not None:
      aims.pop(0)
      spent += 1
      training = len(done.trainings) + 1
      kill = Kill(aim.kind, *moment, ended.resumed, training)
      done.kills.append(kill)
      where = describe(kill)
      say(f"{start}, kill {len(done.kills)} of {kills} {where}")
      continue
    problems = (
      [f"exit code {ended.code}: {ended.out.strip()[-300:]}"]
      if ended.code
      else differences(reference, workdir)
    )
    done.trainings.append(Trained(spent, ended.code, problems))
    said = "equal" if not problems else "; ".join(problems)
    say(f"{start}, ended after {spent} kills: {said}")
    spent = 0
    if problems or not aims:
      break
    misses += 1
    aims[0] = sooner(aims[0])
    if misses > MISSES * kills:
      done.problems.append(f"{len(aims)} moments never came: {aims[0].kind}")
      break
  return done


def sooner(aim: Aim) -> Aim:
  """The same aim, easier to hit: the training ended before it came."""
  if aim.kind == "any":
    return aim._replace(delay=aim.delay / 2)
  return aim._replace(ahead=1, delay=0.0)


def describe(kill: Kill) -> str:
  """Where it landed, in words."""
  where = {
    "start": "while starting",
    "step": "in a step",
    "metrics": "while writing metrics",
    "evaluation": "in an evaluation",
    "save": "in a save",
    "end": "at the end",
  }[kill.kind]
  return f"{where}, after step {kill.step}"


def kill_rows(done: Killed) -> Iterator[list[str]]:
  """A row of the table for each kind of moment: kills and outcome."""
  for kind in KINDS:
    there = [kill for kill in done.kills if kill.kind == kind]
    if there:
      yield [
        f"killed {describe(there[0]).partition(',')[0]}",
        str(len(there)),
        outcome(done, there),
      ]


def outcome(done: Killed, kills: Sequence[Kill]) -> str:
  """What became of the trainings in which these kills were."""
  trainings = sorted({kill.training for kill in kills})
  ended = [
    done.trainings[number - 1]
    for number in trainings
    if number <= len(done.trainings)
  ]
  wrong = [trained for trained in ended if trained.problems]
  if wrong:
    return f"DIFFERS: {wrong[0].problems[0]}"
  return "equal" if len(ended) == len(trainings) else "didn't end"


def missing_kinds(done: Killed, planned: int) -> list[str]:
  """Kinds that were aimed at, and in which no kill landed."""
  there = {kill.kind for kill in done.kills}
  return [
    f"no kill landed in: {kind}"
    for kind in AIMS[:planned]
    if kind != "any" and kind not in there
  ]


def as_json(done: Killed) -> dict[str, Any]:
  """All of it, for a file."""
  return {
    "kills": [kill._asdict() for kill in done.kills],
    "trainings": [trained._asdict() for trained in done.trainings],
    "problems": done.problems,
  }
