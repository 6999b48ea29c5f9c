"""Trains an embedding by triplets and measures it on unseen identities.

python -m experiments.train
python -m experiments.train --config=configs/digits.py --config.loss.margin=0.3

SIGTERM and Ctrl-C end it after a step, with a checkpoint, and exit code 75: the
same --workdir goes on. A second one ends it at once.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from absl import flags

from experiments import app

COORDINATOR = flags.DEFINE_string(
  "coordinator",
  None,
  "host:port of the first process; Slurm, Open MPI and launch need no flags.",
)
NUM_PROCESSES = flags.DEFINE_integer("num_processes", None, "How many.")
PROCESS_ID = flags.DEFINE_integer("process_id", None, "Which one, from 0.")
CONFIG = app.define_config("glyphs.py")
flags.adopt_module_key_flags(app)
WORKDIR = flags.DEFINE_string(
  "workdir", None, "Folder; runs/<config>-<time> if None. A run there goes on."
)
DATA_DIR = flags.DEFINE_string(
  "data_dir", "data", "Folder of the prepared data sets."
)
RESUME = flags.DEFINE_bool(
  "resume",
  False,
  "Go on with the run in --workdir, or the newest one; an error if none is.",
)
KEEP = flags.DEFINE_integer(
  "keep", None, "How many checkpoints stay.", lower_bound=1
)
PROFILE_STEPS = flags.DEFINE_string(
  "profile_steps", None, "Steps such as 10,20 to trace, in <workdir>/profile."
)


def main(argv: Sequence[str]) -> None:
  """Trains, prints the table and draws the pictures."""
  del argv
  # Imported here, so that --help and a wrong flag answer at once.
  from tripletjax.training.processes import together
  from tripletjax.training.signals import STOPPED

  meeting = (COORDINATOR.value, NUM_PROCESSES.value, PROCESS_ID.value)
  with together(*meeting) as is_first:
    stopped = _train(is_first)
  if stopped:
    sys.exit(STOPPED)


def _train(is_first: bool) -> str:
  from tripletjax.report.pictures import draw_pictures
  from tripletjax.report.tables import summary_table
  from tripletjax.training.loop import train_and_evaluate
  from tripletjax.training.run_folder import find_run, new_run
  from tripletjax.training.splits import describe_part
  from tripletjax.training.timing import parse_steps

  name = app.config_name()
  workdir = Path(WORKDIR.value) if WORKDIR.value else new_run(name)
  if RESUME.value:
    workdir = find_run(WORKDIR.value, name)
  CONFIG.value.checkpoint.keep = KEEP.value or CONFIG.value.checkpoint.keep
  steps = PROFILE_STEPS.value
  summary = train_and_evaluate(
    CONFIG.value,
    workdir,
    data_dir=DATA_DIR.value,
    profile_steps=None if steps is None else parse_steps(steps),
    say=print if is_first else lambda line: None,
  )
  stopped = summary.get("stopped", "")
  if stopped and is_first:
    print(f"stopped by {stopped}: go on with --workdir={workdir}")
  if stopped or not is_first:
    return stopped
  asked = describe_part(CONFIG.value, "eval")
  print(f"\n{asked}, after {summary['seconds']:.0f} s:\n")
  print(summary_table(summary))
  files = ("config.json", "metrics.jsonl", "summary.json")
  print("", *(workdir / file for file in files), sep="\n")
  print(f"{workdir / 'tensorboard'}/\n{workdir / 'checkpoints'}/")
  print(*draw_pictures(workdir), sep="\n")
  return ""


if __name__ == "__main__":
  app.run(main)
