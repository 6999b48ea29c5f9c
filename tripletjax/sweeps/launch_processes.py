"""Jobs as processes of this machine, each on cores of its own."""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence

from tripletjax.sweeps.jobs import (
  ChangedFn,
  How,
  Job,
  guarded,
  needs_linux,
  run_all,
)

# How many threads libraries start: OpenMP's, the BLAS libraries', and XLA's
# (NPROC: xla/pjrt/utils.cc, DefaultThreadPoolSize).
THREADS = (
  "OMP_NUM_THREADS",
  "OPENBLAS_NUM_THREADS",
  "MKL_NUM_THREADS",
  "NPROC",
)
# Of the part of a GPU's memory that JAX takes at its start.
MEMORY = "XLA_PYTHON_CLIENT_MEM_FRACTION"


def run_processes(
  jobs: Sequence[Job], *, how: How, changed: ChangedFn
) -> dict[str, int]:
  """Runs jobs as local processes; see jobs.Launcher.

  Each process may run on its share of the cores only, as Linux counts what this
  process may use. All of them end with this process, however it ends.
  """
  needs_linux("processes")
  shares = shares_of_cores(sorted(os.sched_getaffinity(0)), how.at_once)
  with _ended() as processes:

    def start(job: Job, place: int) -> subprocess.Popen[bytes]:
      cores = shares[place]
      env = environment(len(cores), how.at_once, os.environ)
      process = subprocess.Popen(guarded(job, cores=cores, env=env))
      processes.append(process)
      return process

    return run_all(
      jobs,
      at_once=how.at_once,
      changed=changed,
      start=start,
      exit_code=_exit_code,
      stop=_stop,
    )


def shares_of_cores(cores: Sequence[int], places: int) -> list[list[int]]:
  """Divides cores; where there are too few, places share them in turn.

  >>> shares_of_cores([0, 1, 2, 3, 4], 2)
  [[0, 1, 2], [3, 4]]
  >>> shares_of_cores([4, 6], 3)
  [[4], [6], [4]]
  """
  if places >= len(cores):
    return [[cores[place % len(cores)]] for place in range(places)]
  least, more = divmod(len(cores), places)
  ends = [(place * least + min(place, more)) for place in range(places + 1)]
  return [list(cores[a:b]) for a, b in itertools.pairwise(ends)]


def environment(
  cores: int, places: int, own: Mapping[str, str]
) -> dict[str, str]:
  """Variables that keep a job to its share.

  Args:
    cores: of this job.
    places: of jobs at the same time.
    own: this process's; what a user has set about memory stays.
  """
  env = {name: str(cores) for name in THREADS}
  if places > 1 and MEMORY not in own:
    env[MEMORY] = f"{0.9 / places:.3f}"
  return env


def _exit_code(process: subprocess.Popen[bytes]) -> int | None:
  code = process.poll()
  return code if code is None or code >= 0 else 128 - code


def _stop(processes: Sequence[subprocess.Popen[bytes]], name: str) -> None:
  for process in processes:
    process.send_signal(signal.Signals[name])


@contextlib.contextmanager
def _ended() -> Iterator[list[subprocess.Popen[bytes]]]:
  """Kills those that still run when an exception ends the launcher."""
  processes: list[subprocess.Popen[bytes]] = []
  try:
    yield processes
  finally:
    for process in processes:
      process.send_signal(signal.SIGHUP)  # the guard kills its job
    for process in processes:
      # Under nohup a guard that just starts ignores it: it is told again.
      while _still_runs(process):
        process.send_signal(signal.SIGHUP)


def _still_runs(process: subprocess.Popen[bytes]) -> bool:
  try:
    process.wait(timeout=0.5)
  except subprocess.TimeoutExpired:
    return True
  return False
