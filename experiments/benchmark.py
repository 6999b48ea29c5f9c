"""Measures speed and memory beside a floor, and beside other libraries.

python -m experiments.benchmark --suite=losses
python -m experiments.benchmark --suite=losses --sizes=256,12x4 --only=all
python -m experiments.benchmark --suite=losses --nopeers --everything
python -m experiments.benchmark --suite=input
python -m experiments.benchmark --suite=evaluation --sizes=6000x10,10x1000
python -m experiments.benchmark --suite=scaling --only=all,semi_hard
python -m experiments.benchmark --suite=caching --only=convnet,resnet,faces
python -m experiments.benchmark --suite=sweep --sizes=4,8 --only=convnet
python -m experiments.benchmark --suite=inference --only=convnet,search
python -m experiments.benchmark --suite=heap

The losses take about 20 minutes on two cores, 5 with --nopeers, the input 5;
nothing else should run there.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from absl import flags

from experiments import app
from experiments.suites import SUITES, Options

SUITE = flags.DEFINE_enum("suite", "losses", list(SUITES), "What to measure.")
SIZES = flags.DEFINE_list(
  "sizes",
  [],
  "Identities x images, such as 32x8; of losses also 256, 1024, 1800, 4096 or "
  "8192, which are measured when nothing is said. Of sweep: numbers of cells. "
  "Of inference: images of a gallery x queries.",
)
REPEATS = flags.DEFINE_integer(
  "repeats", 7, "Number of samples of which the median counts.", lower_bound=1
)
ONLY = flags.DEFINE_list(
  "only",
  [],
  "Names of losses: miners of the triplet loss, or other losses. Of input: "
  "omniglot, faces, index. Of evaluation: map@r, recall@1, all scores, pairs. "
  "Of caching: convnet, resnet, faces, facenet. Of sweep: convnet, resnet, "
  "wide.",
)
EVERYTHING = flags.DEFINE_bool(
  "everything", False, "Every miner and loss, not only those with a limit."
)
WITH_PEERS = flags.DEFINE_bool(
  "peers",
  True,
  "Other libraries too, where they are installed: pip install -e '.[peers]'.",
)
PEER_PYTHON = flags.DEFINE_string(
  "peer_python",
  "",
  "Another Python, for the peers that this one lacks: TensorFlow Addons.",
)
OUTPUT = flags.DEFINE_string("output", None, "File of all numbers, as JSON.")


def main(argv: Sequence[str]) -> None:
  """Measures one suite and prints its tables."""
  del argv
  # Imported here, so that --help and a wrong flag answer at once.
  from tripletjax.writers import write_json

  if OUTPUT.value and not Path(OUTPUT.value).absolute().parent.is_dir():
    app.fail(f"--output: there is no folder {str(Path(OUTPUT.value).parent)!r}")
  if PEER_PYTHON.value and not shutil.which(PEER_PYTHON.value):
    app.fail(f"--peer_python: there is no program {PEER_PYTHON.value!r}")
  results, report = SUITES[SUITE.value](
    Options(
      sizes=SIZES.value,
      only=ONLY.value,
      everything=EVERYTHING.value,
      repeats=REPEATS.value,
      peers=WITH_PEERS.value,
      other_python=PEER_PYTHON.value,
    )
  )
  if OUTPUT.value:
    write_json(Path(OUTPUT.value), results)
  print(report)


if __name__ == "__main__":
  # As a program that calls the library has it; the suite `heap` compares.
  app.run(main, keeps_freed=False)
