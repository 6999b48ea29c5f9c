"""Trains in several processes on this machine.

python -m experiments.launch --processes=2 -- --config=configs/digits.py

What follows `--` are flags of `experiments.train`. The processes share each
batch, and give what one gives; the first one prints and writes. When one fails
the others are ended, and its exit code is this command's.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from absl import flags

from experiments import app

PROCESSES = flags.DEFINE_integer(
  "processes", 2, "How many processes.", lower_bound=1
)


def main(argv: Sequence[str]) -> None:
  """Starts the processes and waits for them."""
  del argv
  from tripletjax.training.launcher import launch

  command = ["-m", "experiments.train", *_TRAIN_FLAGS]
  sys.exit(launch(command, processes=PROCESSES.value))


_TRAIN_FLAGS: list[str] = []


if __name__ == "__main__":
  if "--" in sys.argv:
    at = sys.argv.index("--")
    _TRAIN_FLAGS += sys.argv[at + 1 :]
    del sys.argv[at:]
  app.run(main)
