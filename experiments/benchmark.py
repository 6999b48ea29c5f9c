"""Measures speed and memory beside a floor, and beside other libraries.

python -m experiments.benchmark --suite=losses
python -m experiments.benchmark --suite=losses --sizes=256,12x4 --only=all
python -m experiments.benchmark --suite=losses --nopeers --everything

Takes about 20 minutes on two cores, 5 with --nopeers; nothing else should run
there.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from absl import flags

from experiments import app

SUITE = flags.DEFINE_enum("suite", "losses", ["losses"], "What to measure.")
SIZES = flags.DEFINE_list(
  "sizes",
  "256,1024,1800,4096,8192",
  "Batches: one of these, or identities x images, such as 32x8.",
)
REPEATS = flags.DEFINE_integer(
  "repeats", 7, "Number of samples of which the median counts.", lower_bound=1
)
ONLY = flags.DEFINE_list(
  "only", [], "Names of losses: miners of the triplet loss, or other losses."
)
EVERYTHING = flags.DEFINE_bool(
  "everything", False, "Every miner and loss, not only those with a limit."
)
WITH_PEERS = flags.DEFINE_bool(
  "peers",
  True,
  "Other libraries too, where they are installed: pip install -e '.[peers]'.",
)
OUTPUT = flags.DEFINE_string("output", None, "File of all numbers, as JSON.")


def main(argv: Sequence[str]) -> None:
  """Measures one suite and prints its tables."""
  del argv
  # Imported here, so that --help and a wrong flag answer at once.
  from tripletjax.benchmark.cases import make_cases
  from tripletjax.benchmark.data import parse_size
  from tripletjax.benchmark.losses import measure_losses
  from tripletjax.benchmark.tables import losses_report
  from tripletjax.writers import write_json

  if OUTPUT.value and not Path(OUTPUT.value).absolute().parent.is_dir():
    app.fail(f"--output: there is no folder {str(Path(OUTPUT.value).parent)!r}")
  results = measure_losses(
    [parse_size(text) for text in SIZES.value],
    make_cases(ONLY.value, everything=EVERYTHING.value),
    repeats=REPEATS.value,
    peers=WITH_PEERS.value,
    say=lambda line: print(line, file=sys.stderr, flush=True),
  )
  if OUTPUT.value:
    write_json(Path(OUTPUT.value), results)
  print(losses_report(results))


if __name__ == "__main__":
  app.run(main)
