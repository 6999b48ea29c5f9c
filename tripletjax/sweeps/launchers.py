"""The launchers by name: where the jobs of a sweep run."""

from __future__ import annotations

from collections.abc import Sequence

from tripletjax.errors import UserError
from tripletjax.sweeps.jobs import ChangedFn, How, Job, Launcher, state_of
from tripletjax.sweeps.launch_processes import run_processes
from tripletjax.sweeps.launch_ray import run_ray
from tripletjax.sweeps.launch_submitit import run_slurm, run_submitit
from tripletjax.training.signals import STOPPED, asked_to_stop

__all__ = ["LAUNCHERS", "How", "Job", "check_launcher", "launch", "run_here"]


def launch(
  launcher: str,
  jobs: Sequence[Job],
  *,
  how: How,
  changed: ChangedFn = lambda name, state, exit_code: None,
) -> dict[str, int]:
  """Runs independent jobs, at most `how.at_once` at a time.

  Args:
    launcher: a name in LAUNCHERS.
    jobs: the jobs; their names differ.
    how: places, folder, options.
    changed: is told, in this thread, as jobs start and end.

  Returns:
    Name -> exit code: 0 done, 2 a user's mistake, 75 stopped as asked, also for
    those that weren't started since a stop was asked for, 128 + n killed by
    signal n, others failed.

  Raises:
    UserError: the launcher is unknown, can't be used here, or an option is
      wrong.
  """
  check_launcher(launcher)
  if how.at_once < 1:
    raise UserError(f"--jobs: expected 1 or more, got {how.at_once}")
  names = [job.name for job in jobs]
  if len(set(names)) < len(names):
    raise ValueError(f"expected jobs of different names, got {names}")
  return LAUNCHERS[launcher](jobs, how=how, changed=changed)


def check_launcher(launcher: str) -> None:
  """Raises a `UserError` for a name that isn't in LAUNCHERS."""
  if launcher not in LAUNCHERS:
    raise UserError(
      f"--launcher: expected one of {', '.join(LAUNCHERS)}, got {launcher!r}"
    )


def run_here(
  jobs: Sequence[Job], *, how: How, changed: ChangedFn
) -> dict[str, int]:
  """Runs jobs in this process, one after another; see jobs.Launcher.

  `how.run` is called with each name and answers with an exit code, 75 when it
  heard a signal; then, and after a signal between two jobs, no more are run.
  """
  if how.run is None:
    raise ValueError("expected how.run for the launcher 'here', got None")
  codes: dict[str, int] = {}
  with asked_to_stop() as asked:
    for job in jobs:
      if asked():
        break
      changed(job.name, "running", None)
      codes[job.name] = code = how.run(job.name)
      changed(job.name, state_of(code), code)
      if code == STOPPED:
        break
  return {job.name: codes.get(job.name, STOPPED) for job in jobs}


LAUNCHERS: dict[str, Launcher] = {
  "here": run_here,
  "processes": run_processes,
  "slurm": run_slurm,
  "submitit": run_submitit,
  "ray": run_ray,
}
