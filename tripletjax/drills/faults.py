"""Drills of one process: signals, damage, locks, clocks."""

from __future__ import annotations

import os
import random
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path

from tripletjax.drills.comparing import differences
from tripletjax.drills.lab import Lab, last_line, refused, resumable, steps_of
from tripletjax.drills.moments import look
from tripletjax.drills.running import Aim, disturb, run, started
from tripletjax.training.signals import STOPPED

DAY = 86400.0
# Python imports it at its start: from some moment on, it is yesterday.
YESTERDAY = """
import time
_begin, _true, _true_ns = time.monotonic(), time.time, time.time_ns
def _back(): return {day} if time.monotonic() - _begin > {after} else 0
time.time = lambda: _true() - _back()
time.time_ns = lambda: _true_ns() - int(_back() * 1e9)
"""


def asked_to_stop(lab: Lab, number: int) -> list[str]:
  """A signal in a step: the training ends with its own code, and goes on."""
  workdir = lab.folder / signal.Signals(number).name.lower()

  def ask(pid: int) -> None:
    os.kill(pid, number)
    os.kill(pid, signal.SIGCONT)

  aim = Aim("step", lab.random(workdir.name).randint(1, lab.marks.last // 2), 0)
  with started(
    lab.job.command(workdir), lab.log(workdir.name), lab.job
  ) as child:
    moment = disturb(
      child, workdir, lab.marks, aim, before=look(workdir), act=ask
    )
    ended = child.wait(60)
  if moment is None:
    return [f"no step beyond {aim.ahead} came: {last_line(ended)}"]
  problems = []
  if ended.code != STOPPED:
    problems.append(f"exit code {ended.code}, expected {STOPPED}")
  if "Traceback" in ended.out:
    problems.append(f"a trace: {last_line(ended)}")
  at = max(steps_of(workdir), default=0)
  lab.say(
    f"{workdir.name}: after step {moment.step}; exit code {ended.code}, "
    f"checkpoint of step {at}"
  )
  # At most the lap that was under way.
  limit = min(step for step in lab.marks.blocks if step > moment.step)
  if not moment.step <= at <= limit:
    problems.append(f"asked after step {moment.step}, saved step {at}")
  problems += resumable(lab.run(workdir), at)
  return problems + differences(lab.reference, workdir)


def sigterm(lab: Lab) -> list[str]:
  """SIGTERM, as a cluster sends it."""
  return asked_to_stop(lab, signal.SIGTERM)


def sigint(lab: Lab) -> list[str]:
  """SIGINT, as Ctrl-C sends it."""
  return asked_to_stop(lab, signal.SIGINT)


def flip(path: Path, generator: random.Random, *, count: int = 8) -> None:
  """Changes some bytes of a file, in place; every bit of them."""
  data = bytearray(path.read_bytes())
  for place in generator.sample(range(len(data)), min(count, len(data))):
    data[place] ^= 0xFF
  path.write_bytes(data)


def damaged_files(folder: Path, generator: random.Random) -> list[Path]:
  """Files of a checkpoint to damage: the largest, and one of the others."""
  files = sorted(
    (path for path in folder.rglob("*") if path.is_file()),
    key=lambda path: (-path.stat().st_size, str(path)),
  )
  others = [path for path in files[1:] if path.stat().st_size]
  return [files[0], generator.choice(others)]


def _damage(
  lab: Lab, name: str, harm: Callable[[Path, random.Random], None]
) -> list[str]:
  generator = lab.random(name)
  begun = lab.folder / f"{name}-begun"
  lab.killed(begun)
  newest = steps_of(begun)[-1]
  previous = steps_of(begun)[-2]
  problems = []
  files = damaged_files(begun / "checkpoints" / str(newest), generator)
  for number, file in enumerate(files, start=1):
    workdir = lab.folder / f"{name}-{number}"
    shutil.copytree(begun, workdir)
    harm(workdir / file.relative_to(begun), generator)
    place = str(file.relative_to(begun))
    lab.say(f"{name}: {place}")
    ended = lab.run(workdir)
    found = differences(lab.reference, workdir) if not ended.code else []
    found += resumable(ended, previous)
    if f"checkpoint {newest}" not in ended.out or "damaged" not in ended.out:
      found.append(f"nothing was said of checkpoint {newest}")
    problems += [f"{place}: {problem}" for problem in found]
  return problems


def flipped(lab: Lab) -> list[str]:
  """Flipped bytes in files of the newest checkpoint."""
  return _damage(lab, "flipped", flip)


def missing(lab: Lab) -> list[str]:
  """A missing file of the newest checkpoint."""
  return _damage(lab, "missing", lambda path, generator: path.unlink())


def all_damaged(lab: Lab) -> list[str]:
  """Flipped bytes in every checkpoint: the training begins again."""
  workdir = lab.folder / "all-damaged"
  lab.killed(workdir)
  generator = lab.random("all-damaged")
  for step in steps_of(workdir):
    flip(
      damaged_files(workdir / "checkpoints" / str(step), generator)[0],
      generator,
    )
  problems = resumable(lab.run(workdir), 0)
  return problems + differences(lab.reference, workdir)


def stale_lock(lab: Lab) -> list[str]:
  """A lock whose owner was killed, and whose number another process has."""
  workdir = lab.folder / "stale-lock"
  with started(
    lab.job.command(workdir), lab.log(workdir.name), lab.job
  ) as child:
    disturb(
      child, workdir, lab.marks,
      Aim("step", sorted(lab.marks.saves)[0], 0), before=look(workdir),
    )  # fmt: skip
    owner = child.process.pid
  locks = [path for path in workdir.glob("*lock*") if path.is_file()]
  if not locks:
    return ["no file *lock* in the folder of a training that was killed"]
  for path in locks:
    text = path.read_text().replace(str(owner), str(os.getpid()))
    path.write_text(text)
    lab.say(f"stale-lock: {path.name} says {' '.join(text.split())!r}")
  return lab.ends_equal(workdir)


def two_trainings(lab: Lab) -> list[str]:
  """A second training in the folder of one that is alive is refused."""
  workdir = lab.folder / "two-trainings"
  problems: list[str] = []

  def second(pid: int) -> None:
    # The first stands still meanwhile: it can't end too early.
    ended = run(lab.job.command(workdir), lab.log("second"), lab.job)
    lab.say(f"two-trainings: the second says {last_line(ended)!r}")
    problems.extend(refused(ended, str(workdir)))
    os.kill(pid, signal.SIGCONT)

  with started(
    lab.job.command(workdir), lab.log(workdir.name), lab.job
  ) as child:
    moment = disturb(
      child, workdir, lab.marks, Aim("step", 1, 0), before=look(workdir),
      act=second,
    )  # fmt: skip
    first = child.wait()
  if moment is None or first.code:
    return [*problems, f"the first: exit code {first.code}: {last_line(first)}"]
  return problems + differences(lab.reference, workdir)


def clock_back(lab: Lab) -> list[str]:
  """The clock is set back by a day, between two starts and in the second.

  No right to set it is needed: all files are dated tomorrow, and Python's
  `time.time` goes back a day in the middle of the training.
  """
  workdir = lab.folder / "clock-back"
  lab.killed(workdir)
  tomorrow = time.time() + DAY
  for path in (workdir, *workdir.rglob("*")):
    os.utime(path, (tomorrow, tomorrow))
  patch = lab.folder / "yesterday"
  patch.mkdir(exist_ok=True)
  (patch / "sitecustomize.py").write_text(
    YESTERDAY.format(day=DAY, after=lab.seconds / 2)
  )
  return lab.ends_equal(
    workdir, PYTHONPATH=os.pathsep.join([str(patch), str(lab.job.root)])
  )
