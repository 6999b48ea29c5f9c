"""Kills, starves and damages short trainings; all must end as if untouched.

python -m experiments.drill --kills=20 --seed=0
python -m experiments.drill --only=sigterm,disk_full
python -m experiments.drill --config=configs/digits.py:smoke --only=kills
python -m experiments.drill --soak=60

A table, and exit code 1 if anything differs. All drills took 20 minutes on two
busy cores. --soak trains for so many minutes instead, with turns beside a
second training (1.4 times the minutes in all), and draws the time of a step and
the resident memory.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from absl import flags

from experiments import app

ROOT = Path(__file__).parent.parent
app.define_config("glyphs.py")
flags.adopt_module_key_flags(app)
KILLS = flags.DEFINE_integer("kills", 20, "How many.", lower_bound=1)
SEED = flags.DEFINE_integer("seed", 0, "Of moments and damages.")
ONLY = flags.DEFINE_list(
  "only",
  [],
  "Names: kills, sigterm, sigint, disk_full, read_only, flipped, missing, "
  "all_damaged, stale_lock, two_trainings, clock_back, one_of_two, "
  "without_launcher.",
)
SOAK = flags.DEFINE_float("soak", 0, "Minutes.", lower_bound=0)
WORKDIR = flags.DEFINE_string(
  "workdir", None, "A new folder of all runs; runs/drill-<time> unless given."
)
DATA_DIR = flags.DEFINE_string(
  "data_dir", "data", "Folder of the prepared data sets."
)
OUTPUT = flags.DEFINE_string("output", None, "File of all results, as JSON.")


def main(argv: Sequence[str]) -> None:
  """Holds the drills and prints the table."""
  del argv
  # Imported here, so that --help and a wrong flag answer at once.
  from tripletjax.drills import catalog

  if OUTPUT.value and not Path(OUTPUT.value).absolute().parent.is_dir():
    app.fail(f"--output: there is no folder {str(Path(OUTPUT.value).parent)!r}")
  for name in ONLY.value:
    if name not in catalog.DRILLS:
      app.fail(
        f"--only: expected some of {', '.join(catalog.DRILLS)}, got {name!r}"
      )
  folder = Path(WORKDIR.value or catalog.default_folder(soak=SOAK.value > 0))
  if folder.exists():
    app.fail(f"--workdir: {folder} is there; expected a folder that isn't")
  sys.exit((_soak if SOAK.value else _drill)(folder))


def _drill(folder: Path) -> int:
  from tripletjax.drills import catalog
  from tripletjax.drills.jobs import short_job
  from tripletjax.drills.lab import make_lab
  from tripletjax.writers import write_json

  job = short_job(sys.argv[1:], DATA_DIR.value, folder, ROOT)
  lab = make_lab(job, folder, seed=SEED.value, say=_say)
  results = catalog.hold(lab, ONLY.value or catalog.DRILLS, count=KILLS.value)
  if OUTPUT.value:
    write_json(Path(OUTPUT.value), catalog.as_json(lab, results))
  _say(f"\nseed {SEED.value}, {folder}:\n\n{catalog.table(results)}")
  return 1 if results.problems else 0


def _soak(folder: Path) -> int:
  from tripletjax.drills import soak
  from tripletjax.drills.jobs import long_job
  from tripletjax.report.soak import save_soak
  from tripletjax.writers import write_json

  job = long_job(sys.argv[1:], DATA_DIR.value, folder, ROOT)
  found = soak.soak(job, folder, minutes=SOAK.value, say=_say)
  write_json(Path(OUTPUT.value or folder / "soak.json"), found)
  picture = save_soak(found, folder / "soak.png")
  _say(f"\n{soak.describe(found)}\n\n{picture}")
  return 1 if found["problems"] else 0


def _say(line: str) -> None:
  print(line, flush=True)


if __name__ == "__main__":
  app.run(main)
