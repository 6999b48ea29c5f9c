"""What each library's triplet loss is on one batch, by ours and by theirs."""

from __future__ import annotations

from typing import Any

HEADER = ["dialect", "value", "selected", "active"]
OF_PEERS = ["peer", "its value", "difference", "of gradients"]


def losses(
  *, identities: int, images: int, dimension: int, seed: int, peers: bool
) -> None:
  """Prints the table of dialects.

  Args:
    identities: of the batch.
    images: of each identity.
    dimension: of the embeddings.
    seed: of the batch and of the draws.
    peers: the libraries' own values too.
  """
  import jax
  import numpy as np

  from tripletjax import DIALECTS, mined_triplet_loss
  from tripletjax.benchmark.tables import table

  rng = np.random.default_rng(seed)
  labels = np.repeat(np.arange(identities, dtype=np.int32), images)
  centres = rng.normal(size=(identities, dimension))
  noise = rng.normal(size=(len(labels), dimension))
  embeddings = (centres[labels] + noise).astype(np.float32)

  def loss_fn(embeddings: jax.Array, dialect: Any, key: jax.Array) -> tuple:
    loss, stats = mined_triplet_loss(embeddings, labels, key=key, **dialect)
    return loss, (stats["selected_triplets"], stats["active_triplets"])

  # One program: what the dialects share is compiled once.
  @jax.jit
  def evaluate(embeddings: jax.Array, key: jax.Array) -> dict[str, tuple]:
    slopes = jax.value_and_grad(loss_fn, has_aux=True)
    both = slopes if peers else lambda *args: (loss_fn(*args), None)
    return {name: both(embeddings, d, key) for name, d in DIALECTS.items()}

  found = jax.device_get(evaluate(embeddings, jax.random.key(seed)))
  rows = [HEADER + OF_PEERS * peers]
  for name, dialect in DIALECTS.items():
    (value, counts), gradient = found[name]
    row = [name, f"{value:.6f}", *(f"{count:.0f}" for count in counts)]
    if peers:
      batch = (embeddings, labels, dialect["margin"])
      row += _beside(name, batch, float(value), gradient)
    rows.append(row)
  print(
    f"{identities} identities x {images}, {dimension} dimensions, "
    f"seed {seed}; peers compute in float64\n"
  )
  print(table(rows[0], rows[1:]))
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
