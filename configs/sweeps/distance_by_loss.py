"""Which loss, in which distance? 4 losses x 3 distances x 3 seeds, on glyphs.

Each loss at the margin or temperature of its own default; the embedding is on
the unit sphere, where the three distances order pairs alike but weigh them
differently.

    python -m experiments.sweep --sweep=configs/sweeps/distance_by_loss.py
"""


def get_sweep(grid, variant=""):
  """The sweep; `:smoke` is four cells of a few steps for tests."""
  if variant not in ("", "smoke"):
    raise ValueError(f'expected variant "" or "smoke", got "{variant}"')
  smoke = variant == "smoke"
  changes = {
    "data.train_split": "latin+greek",
    "data.eval_split": "cyrillic",
    "evaluation.every": "100 percent",
    "checkpoint.every": "50 percent",
    "checkpoint.keep": 1,
  }
  if not smoke:
    changes |= {
      "batch.identities": 16,
      "batch.images": 8,
      "model.features": (16, 32, 64),
    }
  losses = {
    "triplet": {"loss.name": "triplet", "loss.margin": 0.2},
    "nt_xent": {"loss.name": "nt_xent", "loss.nt_xent.temperature": 0.1},
    "contrastive": {"loss.name": "contrastive", "loss.margin": 1.0},
    "multi_similarity": {"loss.name": "multi_similarity"},
  }
  distances = ["squared_euclidean", "euclidean", "cosine"]
  if smoke:
    losses = {name: losses[name] for name in ("triplet", "nt_xent")}
    distances = distances[1:]
  return grid.sweep(
    config="configs/glyphs.py" + (":smoke" if smoke else ""),
    changes=changes,
    cells=grid.product(
      grid.arms("loss", losses),
      grid.axis("loss.distance", distances),
      grid.axis("seed", range(1 if smoke else 3)),
    ),
    baseline={"loss": "triplet", "loss.distance": "euclidean"},
    metric="map@r",
    test_split="armenian+georgian+lao",
    budget="6 steps" if smoke else "150 steps",
  )
