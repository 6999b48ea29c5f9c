"""Trains all cells of a grid: margins x miners x seeds, a program a group.

python -m experiments.sweep --sweep=configs/sweeps/margin_by_miner.py
python -m experiments.sweep --sweep=configs/sweeps/dialects.py --dry_run
python -m experiments.sweep --sweep=FILE --set=train.duration='50 steps'
python -m experiments.sweep --sweep=FILE --search=tpe --trials=20
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
flags.DEFINE_enum(
  "way",
  "auto",
  ["auto", "together", "in_turn"],
  "Cells of a group side by side under vmap, or one after another; auto "
  "measures a few steps of both.",
)
flags.DEFINE_integer(
  "members", 16, "The most cells side by side.", lower_bound=1
)
flags.DEFINE_string(
  "launcher", "here", "here, processes, slurm, submitit or ray."
)
flags.DEFINE_integer("jobs", 1, "Groups at a time.", lower_bound=1)
flags.DEFINE_string(
  "launcher_options",
  "",
  "For slurm, submitit and ray: timeout_min=600,slurm_partition=gpu",
)
flags.DEFINE_bool("retry_failed", False, "Train failed, diverged cells again.")
GROUP = flags.DEFINE_integer(
  "group", None, "Train this group of the sweep in --workdir, as a job does."
)
flags.DEFINE_string("arm", "", "With --group: only its cells of this arm.")
SEARCH = flags.DEFINE_enum(
  "search", None, ["random", "tpe"], "Choose arms by Optuna; all without it."
)
TRIALS = flags.DEFINE_integer("trials", 20, "Arms of a search.", lower_bound=1)
SEARCH_SEED = flags.DEFINE_integer("search_seed", 0, "Its seed.", lower_bound=0)


def main(argv: Sequence[str]) -> None:
  """Plans, trains and writes the tables."""
  del argv
  from experiments.sweeping import run_job, run_sweep

  values = _given("way", "members") | {"data_dir": Path(DATA_DIR.value)}
  if GROUP.value is not None:
    if WORKDIR.value is None:
      app.fail("--workdir: expected the folder of a sweep with --group")
    values |= _given("arm")
    sys.exit(run_job(Path(WORKDIR.value), GROUP.value, values))
  if SWEEP.value is None:
    app.fail("--sweep: expected a file such as configs/sweeps/dialects.py")
  code = run_sweep(
    SWEEP.value,
    WORKDIR.value,
    overrides=SET.value,
    values=values,
    dry_run=DRY_RUN.value,
    orders=_given("launcher", "jobs", "launcher_options", "retry_failed"),
    search=(SEARCH.value or "", TRIALS.value, SEARCH_SEED.value),
  )
  sys.exit(code)


def _given(*names: str) -> dict[str, Any]:
  return {name: flags.FLAGS[name].value for name in names}


if __name__ == "__main__":
  app.run(main)
