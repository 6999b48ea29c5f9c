"""Trains all cells of a grid: margins x miners x seeds, a program a group.

python -m experiments.sweep --sweep=configs/sweeps/margin_by_miner.py
python -m experiments.sweep --sweep=configs/sweeps/dialects.py --dry_run
python -m experiments.sweep --sweep=FILE --set=train.duration='50 steps'
python -m experiments.report --workdir=runs/margin_by_miner-<time>

Started again with the same --workdir it goes on where it was, however it ended.
Exit code 1 if a cell failed, 75 after SIGTERM or Ctrl-C.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from absl import flags

from experiments import app

SWEEP = flags.DEFINE_string(
  "sweep", None, "File of configs/sweeps/; a variant by FILE.py:smoke."
)
SET = flags.DEFINE_multi_string(
  "set", [], "field=value, for all cells; may be given several times."
)
WORKDIR = flags.DEFINE_string(
  "workdir", None, "Folder; runs/<sweep>-<time> if None. A sweep there goes on."
)
DATA_DIR = flags.DEFINE_string(
  "data_dir", "data", "Folder of the prepared data sets."
)
DRY_RUN = flags.DEFINE_bool(
  "dry_run", False, "Print cells, groups and an estimate of time; train none."
)
WAY = flags.DEFINE_enum(
  "way",
  "auto",
  ["auto", "together", "in_turn"],
  "Cells of a group side by side under vmap, or one after another; auto "
  "measures a few steps of both.",
)
MEMBERS = flags.DEFINE_integer(
  "members", 16, "The most cells side by side.", lower_bound=1
)
LAUNCHER = flags.DEFINE_string(
  "launcher", "here", "here, processes, slurm, submitit or ray."
)
JOBS = flags.DEFINE_integer("jobs", 1, "Groups at a time.", lower_bound=1)
LAUNCHER_OPTIONS = flags.DEFINE_string(
  "launcher_options",
  "",
  "For slurm, submitit and ray: timeout_min=600,slurm_partition=gpu",
)
RETRY_FAILED = flags.DEFINE_bool(
  "retry_failed", False, "Train cells again that failed or diverged."
)
GROUP = flags.DEFINE_integer(
  "group", None, "Train this group of the sweep in --workdir, as a job does."
)


def main(argv: Sequence[str]) -> None:
  """Plans, trains and writes the tables."""
  del argv
  from experiments.sweeping import run_job, run_sweep

  values: dict[str, Any] = {
    "data_dir": Path(DATA_DIR.value),
    "way": WAY.value,
    "members": MEMBERS.value,
  }
  if GROUP.value is not None:
    if WORKDIR.value is None:
      app.fail("--workdir: expected the folder of a sweep with --group")
    sys.exit(run_job(Path(WORKDIR.value), GROUP.value, values))
  if SWEEP.value is None:
    app.fail("--sweep: expected a file such as configs/sweeps/dialects.py")
  code = run_sweep(
    SWEEP.value,
    WORKDIR.value,
    overrides=SET.value,
    values=values,
    dry_run=DRY_RUN.value,
    orders={
      "launcher": LAUNCHER.value,
      "jobs": JOBS.value,
      "launcher_options": LAUNCHER_OPTIONS.value,
      "retry_failed": RETRY_FAILED.value,
    },
  )
  sys.exit(code)


if __name__ == "__main__":
  app.run(main)
