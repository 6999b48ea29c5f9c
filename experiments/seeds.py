"""Trains one config with several seeds; prints means with 95 % intervals.

python -m experiments.seeds --config=configs/glyphs.py --seeds=5
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path

from absl import flags

from experiments import app

CONFIG = app.define_config("glyphs.py")
flags.adopt_module_key_flags(app)
SEEDS = flags.DEFINE_integer(
  "seeds",
  5,
  "Number of seeds: config.seed, config.seed + 1, ...",
  lower_bound=2,
)
WORKDIR = flags.DEFINE_string(
  "workdir",
  None,
  "Folder of the runs; runs/<config>-seeds-<time> unless given. A seed that "
  "finished there isn't trained again.",
)
DATA_DIR = flags.DEFINE_string(
  "data_dir", "data", "Folder of the prepared data sets."
)


def main(argv: Sequence[str]) -> None:
  """Trains each seed, in turn, and prints the table."""
  del argv
  from tripletjax.report.tables import seeds_numbers, seeds_table
  from tripletjax.sweeps.folder import versions
  from tripletjax.training.loop import train_and_evaluate
  from tripletjax.writers import write_json, write_text

  name = f"{app.config_name()}-seeds-{time.strftime('%Y%m%d-%H%M%S')}"
  workdir = Path(WORKDIR.value or f"runs/{name}")
  summaries = []
  first = CONFIG.value.seed
  for seed in range(first, first + SEEDS.value):
    config = CONFIG.value.copy_and_resolve_references()
    config.seed = seed
    folder = workdir / f"seed-{seed}"
    if not (folder / "summary.json").exists():
      print(f"\nseed {seed}: {folder}")
      train_and_evaluate(config, folder, data_dir=DATA_DIR.value, say=print)
    try:
      summaries.append(json.loads((folder / "summary.json").read_text()))
      summaries[-1]["seconds"], summaries[-1]["trained"].keys()
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
      app.fail(
        f"--workdir: {folder / 'summary.json'} can't be read: {error}; remove "
        "it, and the seed is trained to its end again"
      )
  table = seeds_table(summaries)
  write_text(workdir / "table.md", table + "\n")
  seconds = [summary["seconds"] for summary in summaries]
  print(f"\n{SEEDS.value} seeds, mean and 95 % interval (Student's t);")
  print(f"training took {min(seconds):.0f} to {max(seconds):.0f} s a seed:\n")
  print(table)
  results = {
    "config": json.loads(CONFIG.value.to_json()),
    "seeds": list(range(first, first + SEEDS.value)),
    "seconds": seconds,
    "versions": versions(),
    **seeds_numbers(summaries),
  }
  write_json(workdir / "results.json", results)
  print(f"\n{workdir / 'table.md'}\n{workdir / 'results.json'}")


if __name__ == "__main__":
  app.run(main)
