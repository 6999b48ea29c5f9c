"""Drills of two processes that train together: one of them is killed."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from pathlib import Path

import psutil

from tripletjax.drills.comparing import differences
from tripletjax.drills.lab import Lab, last_line, resumable, steps_of
from tripletjax.drills.moments import look
from tripletjax.drills.running import Aim, disturb, run, started
from tripletjax.training.launcher import free_port

# Of JAX's coordination service: how long an end may stay unnoticed, in seconds.
HEARTBEAT = 100.0


def member(
  launcher: int, number: int, *, gone: Collection[int] = ()
) -> Callable[[], int | None]:
  """Finds the process with a number below a launcher, once it is there.

  Args:
    launcher: its process id.
    number: what `--process_id` says.
    gone: process ids that aren't meant: of an earlier start.
  """

  def find() -> int | None:
    for pid in members(launcher):
      try:
        words = psutil.Process(pid).cmdline()
      except psutil.Error:
        continue
      if pid not in gone and f"--process_id={number}" in words:
        return pid
    return None

  return find


def members(launcher: int) -> list[int]:
  """Process ids of all that a launcher has started, and that are alive."""
  try:
    return [child.pid for child in psutil.Process(launcher).children()]
  except psutil.Error:
    return []


def one_of_two(lab: Lab) -> list[str]:
  """Either of two processes is killed; the launcher starts both again."""
  untouched = _untouched(lab)
  workdir = lab.folder / "one-of-two"
  save = sorted(lab.marks.saves)[0]
  gone: list[int] = []
  with started(
    lab.job.launch(workdir, "--restarts=2"), lab.log(workdir.name), lab.job
  ) as launcher:
    for number in (1, 0):
      moment = disturb(
        launcher, workdir, lab.marks, Aim("step", save, 0),
        before=look(workdir),
        pid=member(launcher.process.pid, number, gone=gone),
        act=lambda pid: psutil.Process(pid).kill(),
      )  # fmt: skip
      if moment is None:
        launcher.process.terminate()
        return [
          f"no step to kill process {number} in: {last_line(launcher.wait(60))}"
        ]
      began = time.monotonic()
      gone += members(launcher.process.pid)
      while any(_alive(pid) for pid in gone):
        if time.monotonic() - began > HEARTBEAT:
          return [f"process {1 - number} outlived process {number}"]
        time.sleep(0.01)
      lab.say(
        f"one-of-two: process {number} killed after step {moment.step}; "
        f"both gone after {time.monotonic() - began:.1f} s"
      )
    ended = launcher.wait()
  lab.say(f"one-of-two: started again, from step {ended.resumed}")
  if ended.code:
    return [f"exit code {ended.code}: {last_line(ended)}"]
  return differences(untouched, workdir)


def _untouched(lab: Lab) -> Path:
  """The folder of two processes that were never touched; trained once."""
  workdir = lab.folder / "two-untouched"
  if not (workdir / "summary.json").exists():
    ended = run(lab.job.launch(workdir), lab.log(workdir.name), lab.job)
    lab.say(f"{workdir.name}: {ended.seconds:.0f} s")
    if ended.code:
      raise RuntimeError(f"two processes: {last_line(ended)}")
  return workdir


def without_launcher(lab: Lab) -> list[str]:
  """One of two processes is killed; the other ends by itself."""
  problems = []
  for number in (1, 0):
    workdir = lab.folder / f"without-launcher-{number}"
    seconds, code = _survivor(lab, workdir, number)
    lab.say(
      f"{workdir.name}: process {number} killed; the other ended with exit "
      f"code {code} after {seconds:.1f} s"
    )
    newest = max(steps_of(workdir), default=0)
    if seconds > HEARTBEAT:
      problems.append(f"process {1 - number} lived for {seconds:.0f} s")
    if code == 0:
      problems.append(f"process {1 - number} ended with exit code 0")
    ended = run(lab.job.launch(workdir), lab.log(workdir.name), lab.job)
    problems += resumable(ended, newest)
    problems += differences(_untouched(lab), workdir)
  return problems


def _survivor(lab: Lab, workdir: Path, number: int) -> tuple[float, int]:
  """Seconds that the other process lives on, and its exit code."""
  together = (f"--coordinator=127.0.0.1:{free_port()}", "--num_processes=2")
  commands = [
    lab.job.command(workdir, *together, f"--process_id={each}")
    for each in range(2)
  ]
  with (
    started(commands[0], lab.log(workdir.name), lab.job) as first,
    started(commands[1], lab.log(workdir.name), lab.job) as second,
  ):
    victim, other = (first, second) if number == 0 else (second, first)
    disturb(
      first, workdir, lab.marks, Aim("step", sorted(lab.marks.saves)[0], 0),
      before=look(workdir), pid=lambda: victim.process.pid,
    )  # fmt: skip
    began = time.monotonic()
    ended = other.wait(HEARTBEAT + 20)
    return time.monotonic() - began, ended.code


def _alive(pid: int) -> bool:
  try:
    return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
  except psutil.Error:
    return False
