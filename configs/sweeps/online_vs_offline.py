"""Is it worth embedding the whole set to mine it? 4 ways x 3 seeds, on glyphs.

Random triplets, semi-hard ones of the batch (online), batches of identities
that are confused, and triplets of the whole set (offline, mined four times).
All are given as many steps; what mining costs besides is in `costs.csv`. A
batch has 96 images, or 32 explicit triplets.

    python -m experiments.sweep --sweep=configs/sweeps/online_vs_offline.py
"""


def get_sweep(grid, variant=""):
  """The sweep; `:smoke` is four cells of a few steps for tests."""
  if variant not in ("", "smoke"):
    raise ValueError(f'expected variant "" or "smoke", got "{variant}"')
  smoke = variant == "smoke"
  changes = {
    "data.train_split": "latin+greek",
    "data.eval_split": "cyrillic",
    "mining.every": "25 percent",
    "evaluation.every": "100 percent",
    "checkpoint.every": "50 percent",
    "checkpoint.keep": 1,
  }
  if smoke:
    changes |= {"batch.identities": 6, "batch.images": 4}
  else:
    changes |= {
      "batch.identities": 12,
      "batch.images": 8,
      "model.features": (16, 32, 64),
    }
  return grid.sweep(
    config="configs/glyphs.py" + (":smoke" if smoke else ""),
    changes=changes,
    cells=grid.product(
      grid.axis(
        "mining.name",
        ["online", "random", "offline_batches", "offline_triplets"],
      ),
      grid.axis("seed", range(1 if smoke else 3)),
    ),
    baseline={"mining.name": "online"},
    metric="map@r",
    test_split="armenian+georgian+lao",
    budget="8 steps" if smoke else "150 steps",
  )
