"""What ours and other libraries compute on the same data, beside each other.

python -m experiments.agreement
python -m experiments.agreement --identities=45 --images=4 --dimension=64
python -m experiments.agreement --suite=metrics
"""

from __future__ import annotations

from collections.abc import Sequence

from absl import flags

from experiments import app
from experiments.agree_losses import losses
from experiments.agree_metrics import metrics

SUITES = {"losses": losses, "metrics": metrics}
SUITE = flags.DEFINE_enum(
  "suite", "losses", list(SUITES), "The triplet losses, or the metrics."
)
IDENTITIES = flags.DEFINE_integer(
  "identities", 8, "Number of identities.", lower_bound=2
)
IMAGES = flags.DEFINE_integer(
  "images", 5, "Embeddings of each identity.", lower_bound=2
)
DIMENSION = flags.DEFINE_integer(
  "dimension", 16, "Dimension of the embeddings.", lower_bound=1
)
SEED = flags.DEFINE_integer(
  "seed", 0, "Of the data and of the draws.", lower_bound=0
)
WITH_PEERS = flags.DEFINE_bool(
  "peers",
  True,
  "The libraries' own too: pip install 'tripletjax[peers]'.",
)


def main(argv: Sequence[str]) -> None:
  """Prints the table of a suite."""
  del argv
  SUITES[SUITE.value](
    identities=IDENTITIES.value,
    images=IMAGES.value,
    dimension=DIMENSION.value,
    seed=SEED.value,
    peers=WITH_PEERS.value,
  )


if __name__ == "__main__":
  app.run(main)
