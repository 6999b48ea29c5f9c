"""The race: this project against PyTorch with pytorch-metric-learning.

pip install -e '.[peers]'
python -m experiments.race --output=race.json
python -m experiments.race --output=race.json --seeds=1 --only=glyphs/32x8/all

Nothing else should run on the machine. Runs that are in --output already aren't
made again, so that the race goes on where it was stopped. Omniglot has to be
prepared (configs/omniglot.py).
"""

from __future__ import annotations

import functools
import json
from collections.abc import Sequence
from pathlib import Path

from absl import flags

from experiments import app
from experiments.suites import say

OUTPUT = flags.DEFINE_string(
  "output", None, "File of all runs, as JSON.", required=True
)
ONLY = flags.DEFINE_list(
  "only", [], "Trainings, such as glyphs/32x8/facenet; the usual ones if none."
)
SEEDS = flags.DEFINE_integer(
  "seeds", 5, "Seeds of each training.", lower_bound=0
)
STEPS = flags.DEFINE_integer(
  "steps", 0, "Of a training; as its batch is large when 0.", lower_bound=0
)
TIMED = flags.DEFINE_bool(
  "timed", True, "The time of a step too, of all batches and losses."
)
DEVICES = flags.DEFINE_integer(
  "devices", 0, "JAX's; 0 is one for each core of a CPU.", lower_bound=0
)
DATA_DIR = flags.DEFINE_string(
  "data_dir", "data", "Folder of the prepared data sets."
)
PAGE = flags.DEFINE_string(
  "page", None, "Markdown file whose section of the race is written anew."
)


def main(argv: Sequence[str]) -> None:
  """Runs what is missing and prints the tables."""
  del argv
  from configs import glyphs, omniglot
  from tripletjax.benchmark import race, race_cells, race_layers
  from tripletjax.benchmark.race_tables import HEADING, race_report
  from tripletjax.report.sections import page_of, rewrite
  from tripletjax.writers import write_json

  output = Path(OUTPUT.value)
  if not output.absolute().parent.is_dir():
    app.fail(f"--output: there is no folder {str(output.parent)!r}")
  page = page_of("page", PAGE.value)
  try:
    held = json.loads(output.read_text()) if output.exists() else {"runs": []}
    runs, layers = held["runs"], held.get("layers")
  except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
    app.fail(f"--output: {output} is no file of a race: {error!r}")
  cells = [race_cells.parse_cell(text) for text in ONLY.value]
  results = race.measure_race(
    {"glyphs": glyphs.get_config(), "omniglot": omniglot.get_config()},
    race.make_jobs(
      cells or race_cells.TRAINED,
      race_cells.TIMED if TIMED.value else (),
      seeds=SEEDS.value,
    ),
    steps=STEPS.value,
    devices=DEVICES.value,
    data_dir=DATA_DIR.value,
    say=say,
    runs=runs,
    save=functools.partial(write_json, output),
  )
  if layers or TIMED.value:
    results["layers"] = layers or race_layers.measure_layers(256)
  write_json(output, results)
  report = race_report(results)
  rewrite(page, HEADING, report)
  print(report)


if __name__ == "__main__":
  app.run(main)
