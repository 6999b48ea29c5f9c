"""Trains the results again and compares them with what is stored.

python -m experiments.reproduce --quick
python -m experiments.reproduce --quick --only=glyphs,facenet

Prints a table; the exit code is 1 where a number is beyond its tolerance. What
isn't there (Omniglot, PyTorch for the race) is said to be skipped.
--store_seeds=3 stores what that many seeds give, in place of comparing, and
--page=docs/results.md writes what is stored.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from absl import flags

from experiments import app
from experiments.config_files import config_of
from experiments.suites import say

STORED = Path(__file__).parent.parent / "docs" / "results" / "reproduce.json"
QUICK = flags.DEFINE_bool(
  "quick", False, "Short forms of all trainings, under 15 minutes."
)
ONLY = flags.DEFINE_list("only", [], "Names of checks; all of them if none.")
FILE = flags.DEFINE_string("stored", str(STORED), "The file of stored numbers.")
SEEDS = flags.DEFINE_integer(
  "store_seeds", None, "Store the results of so many seeds.", lower_bound=2
)
PAGE = flags.DEFINE_string(
  "page", None, "Markdown file whose section of stored numbers is written anew."
)
DATA_DIR = flags.DEFINE_string(
  "data_dir", "data", "Folder of the prepared data sets."
)


def main(argv: Sequence[str]) -> None:
  """Trains, compares, prints the table."""
  del argv
  from tripletjax.benchmark import reproduce
  from tripletjax.report.sections import page_of, rewrite

  page = page_of("page", PAGE.value)
  path, form = Path(FILE.value), "quick" if QUICK.value else "full"
  try:
    stored = json.loads(path.read_text()) if path.exists() else {}
    held = dict(stored.get(form, {}))
  except (OSError, ValueError, AttributeError, TypeError) as error:
    app.fail(f"--stored: {path} can't be read: {error}")
  if not SEEDS.value and not held:
    app.fail(f"--stored: {path} holds nothing of the {form} form")
  start = time.perf_counter()

  def found(seed: int) -> Any:
    return reproduce.reproduce(
      config_of,
      quick=QUICK.value,
      only=ONLY.value,
      seed=seed,
      data_dir=DATA_DIR.value,
      say=say,
    )

  if SEEDS.value:
    from tripletjax.writers import write_json

    seeds = [found(seed) for seed in range(SEEDS.value)]
    held |= reproduce.to_store(seeds)
    write_json(path, {**stored, form: held})
    print(path)
  if page:
    section = reproduce.stored_section(held, quick=QUICK.value)
    rewrite(page, reproduce.HEADING, section)
  if SEEDS.value or page:
    return
  rows = reproduce.compare(found(0), held)
  rows = [row for row in rows if not ONLY.value or row.check in ONLY.value]
  print(reproduce.rows_table(rows))
  missed = sum(row.missed for row in rows)
  minutes = (time.perf_counter() - start) / 60
  print(f"\n{missed or 'None'} missed; {minutes:.1f} minutes.")
  sys.exit(1 if missed else 0)


if __name__ == "__main__":
  app.run(main)
