"""What each library's triplet loss is on one batch, by ours and by theirs.

python -m experiments.agreement
python -m experiments.agreement --identities=45 --images=4 --dimension=64
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from absl import flags

from experiments import app

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
  "seed", 0, "Of the batch and of the draws.", lower_bound=0
)
WITH_PEERS = flags.DEFINE_bool(
  "peers",
  True,
  "The libraries' own too: pip install 'tripletjax[peers]'.",
)
HEADER = ["dialect", "value", "selected", "active"]
OF_PEERS = ["peer", "its value", "difference", "of gradients"]


def main(argv: Sequence[str]) -> None:
  """Prints the table."""
  del argv
  import jax
  import numpy as np

  from tripletjax import DIALECTS, mined_triplet_loss

  rng = np.random.default_rng(SEED.value)
  labels = np.repeat(np.arange(IDENTITIES.value, dtype=np.int32), IMAGES.value)
  centres = rng.normal(size=(IDENTITIES.value, DIMENSION.value))
  noise = rng.normal(size=(len(labels), DIMENSION.value))
  embeddings = (centres[labels] + noise).astype(np.float32)

  def loss_fn(embeddings: jax.Array, dialect: Any, key: jax.Array) -> tuple:
    loss, stats = mined_triplet_loss(embeddings, labels, key=key, **dialect)
    return loss, (stats["selected_triplets"], stats["active_triplets"])

  # One program: what the dialects share is compiled once.
  @jax.jit
  def evaluate(embeddings: jax.Array, key: jax.Array) -> dict[str, tuple]:
    slopes = jax.value_and_grad(loss_fn, has_aux=True)
    both = slopes if WITH_PEERS.value else lambda *args: (loss_fn(*args), None)
    return {name: both(embeddings, d, key) for name, d in DIALECTS.items()}

  found = jax.device_get(evaluate(embeddings, jax.random.key(SEED.value)))
  rows = [HEADER + OF_PEERS * WITH_PEERS.value]
  for name, dialect in DIALECTS.items():
    (value, counts), gradient = found[name]
    row = [name, f"{value:.6f}", *(f"{count:.0f}" for count in counts)]
    if WITH_PEERS.value:
      batch = (embeddings, labels, dialect["margin"])
      row += _beside(name, batch, float(value), gradient)
    rows.append(row)
  print(
    f"{IDENTITIES.value} identities x {IMAGES.value}, {DIMENSION.value} "
    f"dimensions, seed {SEED.value}; peers compute in float64\n"
  )
  widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
  for row in [rows[0], ["-" * width for width in widths], *rows[1:]]:
    cells = (cell.ljust(w) for cell, w in zip(row, widths, strict=True))
    print("| " + " | ".join(cells) + " |")
  if any("not installed" in row for row in rows):
    print("\npeers: pip install 'tripletjax[peers]'")


def _beside(name: str, batch: tuple, value: float, gradient: Any) -> list[str]:
  """The cells of the peer."""
  from experiments.peers import DRAWS, PEERS, value_and_gradient

  if name not in PEERS:
    return ["draws" if name in DRAWS else "none", "", "", ""]
  try:
    their_value, their_gradient = value_and_gradient(name, *batch)
  except ImportError:
    return [PEERS[name][0], "not installed", "", ""]
  differences = (abs(value - their_value), abs(gradient - their_gradient).max())
  cells = (f"{difference:.1e}" for difference in differences)
  return [PEERS[name][0], f"{their_value:.6f}", *cells]


if __name__ == "__main__":
  app.run(main)
