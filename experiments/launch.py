"""Trains in several processes on this machine.

python -m experiments.launch --processes=2 -- --config=configs/digits.py
python -m experiments.launch --restarts=3 -- --workdir=runs/long

What follows `--` are flags of `experiments.train`. The processes share each
batch, and give what one gives; the first one prints and writes. When one fails
the others are ended, and its exit code is this command's; with --restarts all
are started again first, and go on from the latest checkpoint in --workdir.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence

from absl import flags

from experiments import app

PROCESSES = flags.DEFINE_integer(
  "processes", 2, "How many processes.", lower_bound=1
)
RESTARTS = flags.DEFINE_integer(
  "restarts",
  0,
  "How often all are started again when one fails; needs --workdir.",
  lower_bound=0,
)


def main(argv: Sequence[str]) -> None:
  """Starts the processes and waits for them."""
  del argv
  from tripletjax.training.launcher import launch

  command = ["-m", "experiments.train", *_TRAIN_FLAGS]
  if RESTARTS.value and not any(
    re.match("--?workdir=.", word) for word in _TRAIN_FLAGS
  ):
    app.fail("--restarts: expected --workdir=... behind --, to go on in it")
  sys.exit(
    launch(
      command,
      processes=PROCESSES.value,
      restarts=RESTARTS.value,
      say=lambda line: print(line, file=sys.stderr, flush=True),
    )
  )


_TRAIN_FLAGS: list[str] = []


if __name__ == "__main__":
  if "--" in sys.argv:
    at = sys.argv.index("--")
    _TRAIN_FLAGS += sys.argv[at + 1 :]
    del sys.argv[at:]
  app.run(main)
