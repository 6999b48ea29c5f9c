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


def main(argv: Sequence[str]) -> None:
  """Trains, prints the table and draws the pictures."""
  del argv
  # Imported here, so that --help and a wrong flag answer at once.
  from tripletjax.report.pictures import draw_pictures
  from tripletjax.report.tables import summary_table
  from tripletjax.training.loop import train_and_evaluate
  from tripletjax.training.run_folder import find_run
  from tripletjax.training.splits import describe_part

  name = app.config_name()
  workdir = Path(
    WORKDIR.value or f"runs/{name}-{time.strftime('%Y%m%d-%H%M%S')}"
  )
  if RESUME.value:
    workdir = find_run(WORKDIR.value, name)
  summary = train_and_evaluate(
    CONFIG.value, workdir, data_dir=DATA_DIR.value, say=print
  )
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
