"""Trains an embedding by triplets and measures it on unseen identities.

python -m experiments.train
python -m experiments.train --config=configs/digits.py --config.loss.margin=0.3
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from absl import flags

from experiments import app

COORDINATOR = flags.DEFINE_string(
  "coordinator",
  None,
  "host:port of the first of several processes; Slurm, Open MPI and "
  "experiments.launch need no flags.",
)
NUM_PROCESSES = flags.DEFINE_integer("num_processes", None, "How many.")
PROCESS_ID = flags.DEFINE_integer("process_id", None, "Which one, from 0.")
CONFIG = app.define_config("glyphs.py")
flags.adopt_module_key_flags(app)
WORKDIR = flags.DEFINE_string(
  "workdir",
  None,
  "Folder of the run; runs/<config>-<time> unless given. A run that was "
  "interrupted there goes on.",
)
DATA_DIR = flags.DEFINE_string(
  "data_dir", "data", "Folder of the prepared data sets."
)
RESUME = flags.DEFINE_bool(
  "resume",
  False,
  "Go on with the run in --workdir, or with the newest of this config; an "
  "error if there is none.",
)
PROFILE_STEPS = flags.DEFINE_string(
  "profile_steps",
  None,
  "First and last step of a trace, such as 10,20, in <workdir>/profile: for "
  "TensorBoard and Perfetto.",
)


def main(argv: Sequence[str]) -> None:
  """Trains, prints the table and draws the pictures."""
  del argv
  # Imported here, so that --help and a wrong flag answer at once.
  from tripletjax.training.processes import together

  meeting = (COORDINATOR.value, NUM_PROCESSES.value, PROCESS_ID.value)
  with together(*meeting) as is_first:
    _train(is_first)


def _train(is_first: bool) -> None:
  from tripletjax.report.pictures import draw_pictures
  from tripletjax.report.tables import summary_table
  from tripletjax.training.loop import train_and_evaluate
  from tripletjax.training.run_folder import find_run
  from tripletjax.training.splits import describe_part
  from tripletjax.training.timing import parse_steps

  name = app.config_name()
  workdir = Path(
    WORKDIR.value or f"runs/{name}-{time.strftime('%Y%m%d-%H%M%S')}"
  )
  if RESUME.value:
    workdir = find_run(WORKDIR.value, name)
  steps = PROFILE_STEPS.value
  summary = train_and_evaluate(
    CONFIG.value,
    workdir,
    data_dir=DATA_DIR.value,
    profile_steps=None if steps is None else parse_steps(steps),
    say=print if is_first else lambda line: None,
  )
  if not is_first:
    return
  asked = describe_part(CONFIG.value, "eval")
  print(f"\n{asked}, after {summary['seconds']:.0f} s:\n")
  print(summary_table(summary))
  print()
  for file in ("config.json", "metrics.jsonl", "summary.json"):
    print(workdir / file)
  for folder in ("tensorboard", "checkpoints"):
    print(f"{workdir / folder}/")
  for picture in draw_pictures(workdir):
    print(picture)


if __name__ == "__main__":
  app.run(main)
