"""Many identities, or many images of each? Batches of 128 images, on glyphs.

P identities of K images, P x K = 128 in all, for two miners and three seeds:
with K = 2 there is one positive for each anchor, with K = 16 there are 15.

    python -m experiments.sweep --sweep=configs/sweeps/batch_shape.py
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
    changes |= {"model.features": (16, 32, 64)}
  shapes = grid.zip(
    grid.axis("batch.identities", [8, 4] if smoke else [64, 32, 16, 8]),
    grid.axis("batch.images", [2, 4] if smoke else [2, 4, 8, 16]),
  )
  return grid.sweep(
    config="configs/glyphs.py" + (":smoke" if smoke else ""),
    changes=changes,
    cells=grid.product(
      shapes,
      grid.axis("loss.miner", ["semi_hard", "batch_hard"]),
      grid.axis("seed", range(1 if smoke else 3)),
    ),
    baseline={
      "batch.identities": 4 if smoke else 16,
      "loss.miner": "semi_hard",
    },
    metric="map@r",
    test_split="armenian+georgian+lao",
    budget="6 steps" if smoke else "150 steps",
  )
