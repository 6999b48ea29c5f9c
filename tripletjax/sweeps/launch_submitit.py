"""Jobs by submitit: through Slurm's queue, or on this machine."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tripletjax.errors import UserError, printable
from tripletjax.sweeps.jobs import (
  ChangedFn,
  How,
  Job,
  guarded,
  needs_linux,
  needs_package,
  run_all,
)
from tripletjax.sweeps.stops import alive_file, stop_file
from tripletjax.training.signals import STOPPED

# Minutes of a local job: submitit's own limit would be 2.
LONG = 60 * 24 * 365
# Minutes of a job in Slurm where nothing is said; what isn't ready is started
# again from its checkpoint.
HOURS = 60 * 4
# Seconds before the end of its time in which a job saves.
NOTICE = 120
# How often a job whose time was over is started again.
AGAIN = 50
# Seconds between questions to Slurm, and for which a job may be unknown to it
# before its result is seen on the shared file system.
ASK, UNKNOWN = 10.0, 60.0


def run_submitit(
  jobs: Sequence[Job], *, how: How, changed: ChangedFn
) -> dict[str, int]:
  """Runs jobs by submitit's local executor; see jobs.Launcher.

  They end with this process, as submitit's own wouldn't.
  """
  needs_linux("submitit")
  needs_package("submitit", "submitit", "slurm")
  with (
    alive_file(how.folder) as alive,
    stop_file(how.folder) as (stop, say_stop),
  ):
    # A folder of its own: local jobs are named by the numbers of processes,
    # which come again.
    folder = how.folder / "submitit" / alive[1][:12]
    options = {"timeout_min": LONG, **how.options}
    executor = _executor(folder, "local", options)
    return run_all(
      jobs,
      at_once=how.at_once,
      changed=changed,
      start=lambda job, place: executor.submit(
        subprocess.call, guarded(job, stop=stop, alive=alive)
      ),
      exit_code=lambda handle: result(handle) if handle.done() else None,
      stop=lambda handles, name: say_stop(name),
      pause=0.2,
    )


def run_slurm(
  jobs: Sequence[Job], *, how: How, changed: ChangedFn
) -> dict[str, int]:
  """Runs jobs in Slurm's queue; see jobs.Launcher.

  They outlive this process: started again with the same folder, it finds those
  that wait or run by their names and goes on with them. One whose time is over
  has saved before, and is submitted again.
  """
  needs_linux("slurm")
  needs_package("slurm", "submitit", "slurm")
  if not shutil.which("sbatch") or not shutil.which("squeue"):
    raise UserError(
      "--launcher: slurm needs sbatch and squeue on this machine; choose "
      "processes elsewhere"
    )
  import submitit

  folder = how.folder / "submitit"
  executor = _executor(folder, "slurm", slurm_options(how.options))
  queue = Queue(how.folder)
  cancelled: set[str] = set()
  with stop_file(how.folder) as (stop, say_stop):

    def start(job: Job, place: int) -> Any:
      number = queue.number(job.name)
      if number:
        return submitit.SlurmJob(folder=folder, job_id=number, tasks=[0])
      executor.update_parameters(name=queue.label(job.name))
      try:
        return executor.submit(subprocess.call, guarded(job, stop=stop))
      except submitit.core.utils.FailedJobError as error:
        raise UserError(
          f"--launcher: slurm: {printable(str(error).strip()[-300:])}"
        ) from error

    def end(handles: Sequence[Any], name: str) -> None:
      say_stop(name)
      for handle in handles:
        if queue.state(handle.job_id) == "PENDING":
          handle.cancel(check=False)
          cancelled.add(handle.job_id)

    return run_all(
      jobs,
      at_once=how.at_once,
      changed=changed,
      start=start,
      exit_code=lambda handle: (
        STOPPED if handle.job_id in cancelled else _exit_code(handle, queue)
      ),
      stop=end,
      again=AGAIN,
      pause=0.5,
    )


def slurm_options(options: Mapping[str, str | int]) -> dict[str, Any]:
  """What Slurm is asked for, with a SIGTERM before the time is over.

  >>> slurm_options({"slurm_partition": "gpu"})["slurm_partition"]
  'gpu'
  """
  return {
    "timeout_min": HOURS,
    # Not submitit's SIGUSR2, which would end a training without a checkpoint.
    "slurm_additional_parameters": {"signal": f"TERM@{NOTICE}"},
    **options,
  }


class Queue:
  """Slurm's queue as seen by one folder's launcher."""

  def __init__(self, folder: Path) -> None:
    self._mark = hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:10]
    self._asked = 0.0
    self._rows: list[list[str]] = []
    self._unknown: dict[str, float] = {}

  def label(self, name: str) -> str:
    """The job's name in the queue: of this folder alone."""
    return f"{name}-{self._mark}"

  def number(self, name: str) -> str:
    """Slurm's number of a job that waits or runs; "" where there is none."""
    label = self.label(name)
    return next((row[0] for row in self._ask(0) if row[2] == label), "")

  def state(self, number: str) -> str:
    """PENDING, RUNNING, ...; "" of one that isn't in the queue."""
    return next((row[1] for row in self._ask(0) if row[0] == number), "")

  def lost(self, number: str) -> bool:
    """Whether it has been out of the queue for so long that it won't end."""
    if any(row[0] == number for row in self._ask(ASK)):
      self._unknown.pop(number, None)
      return False
    since = self._unknown.setdefault(number, time.monotonic())
    return time.monotonic() - since > UNKNOWN

  def _ask(self, pause: float) -> list[list[str]]:
    if time.monotonic() - self._asked >= pause or not self._asked:
      said = subprocess.run(
        ["squeue", "--noheader", "--me", "--format=%i|%T|%j"],
        capture_output=True,
        text=True,
      )
      # While Slurm doesn't answer what it said before stays.
      if said.returncode == 0:
        rows = [line.split("|", 2) for line in said.stdout.splitlines()]
        self._rows = [row for row in rows if len(row) == 3]
        self._asked = time.monotonic()
    return self._rows


def _exit_code(handle: Any, queue: Queue) -> int | None:
  # Not handle.done(), which asks the accounting that not every Slurm has.
  if handle.paths.result_pickle.exists():
    return result(handle)
  return 1 if queue.lost(handle.job_id) else None


def result(handle: Any) -> int:
  """The exit code of a job of submitit that has ended.

  Returns:
    1 where submitit knows none: its own process was killed.
  """
  try:
    code = handle.result()
  except Exception:
    return 1
  return code if code >= 0 else 128 - code


def _executor(folder: Path, cluster: str, options: Mapping[str, Any]) -> Any:
  import submitit

  executor = submitit.AutoExecutor(folder=folder.absolute(), cluster=cluster)
  try:
    executor.update_parameters(**options)
  except (ValueError, TypeError, NameError) as error:
    said = printable(str(error))[:200]
    raise UserError(f"--launcher_options: {said}") from error
  return executor
