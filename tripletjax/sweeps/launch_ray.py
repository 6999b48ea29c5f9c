"""Jobs as tasks of Ray: on this machine, or on a cluster that runs already."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator, Sequence
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
from tripletjax.sweeps.stops import stop_file


def run_ray(
  jobs: Sequence[Job], *, how: How, changed: ChangedFn
) -> dict[str, int]:
  """Runs jobs as tasks of Ray; see jobs.Launcher.

  Where the variable RAY_ADDRESS names a cluster they run there, else on one
  that is started on this machine and ends with this process. `how.options` are
  those of `ray.remote`, such as num_cpus and num_gpus; without num_cpus the
  jobs share the cluster's cores equally.
  """
  needs_linux("ray")
  needs_package("ray", "ray", "ray")
  import ray

  with _cluster(ray), stop_file(how.folder) as (stop, say_stop):
    task = _task(ray, how)

    def start(job: Job, place: int) -> Any:
      return task.remote(guarded(job, stop=stop))

    def exit_code(reference: Any) -> int | None:
      if not ray.wait([reference], timeout=0)[0]:
        return None
      try:
        return ray.get(reference)
      except ray.exceptions.RayError:
        return 1  # the machine or Ray's worker is gone, its command with it

    return run_all(
      jobs,
      at_once=how.at_once,
      changed=changed,
      start=start,
      exit_code=exit_code,
      stop=lambda references, name: say_stop(name),
      pause=0.2,
    )


def _task(ray: Any, how: How) -> Any:
  """The function that runs a command on the cluster."""
  cores = int(ray.cluster_resources().get("CPU", 1))
  # Not tried again by Ray: a job that dies is a failure that is shown.
  options = {
    "num_cpus": max(1, cores // how.at_once),
    "max_retries": 0,
    **how.options,
  }
  try:
    return ray.remote(**options)(_call)
  except (ValueError, TypeError) as error:
    raise UserError(f"--launcher_options: {printable(str(error))}") from error


def _call(command: list[str]) -> int:
  return subprocess.call(command)


@contextlib.contextmanager
def _cluster(ray: Any) -> Iterator[None]:
  address = os.environ.get("RAY_ADDRESS")
  try:
    ray.init(
      address=address,
      include_dashboard=None if address else False,
      log_to_driver=False,
      logging_level="ERROR",
    )
  except (ConnectionError, ValueError, RuntimeError) as error:
    said = printable(str(error))
    raise UserError(f"--launcher: ray can't be started: {said}") from error
  try:
    yield
  finally:
    ray.shutdown()
