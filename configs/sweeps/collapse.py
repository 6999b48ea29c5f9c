"""Why does the hardest negative collapse the network, and when? On glyphs.

3 margins x 5 miners x normalised or not x batches of 32 and 128 x 3 seeds.
What collapses is seen step by step in each run's `metrics.jsonl`; the network
is measured at the end, on Georgian and Lao, which are few. Nothing stops at a
collapse, which is what is looked for; a loss that isn't finite ends its cell.

    python -m experiments.sweep --sweep=configs/sweeps/collapse.py

Time: 180 cells of 150 steps in 20 programs, under 30 minutes on two CPU cores.
"""


def get_sweep(grid, variant=""):
  """The sweep; `:smoke` is eight cells of a few steps for tests."""
  if variant not in ("", "smoke"):
    raise ValueError(f'expected variant "" or "smoke", got "{variant}"')
  smoke = variant == "smoke"
  changes = {
    "data.train_split": "latin+greek",
    "data.eval_split": "georgian+lao",
    "train.on_collapse": "ignore",
    "evaluation.every": "100 percent",
    "checkpoint.every": "100 percent",
    "checkpoint.keep": 1,
  }
  if not smoke:
    changes |= {"model.features": (16, 32, 64)}
  miners = [
    "random",
    "semi_hard",
    "random_semi_hard",
    "batch_hard",
    "hardest_negative",
  ]
  batches = {
    "8x4": {"batch.identities": 8, "batch.images": 4},
    "16x8": {"batch.identities": 16, "batch.images": 8},
  }
  if smoke:
    miners = ["semi_hard", "hardest_negative"]
    batches = {
      "2x2": {"batch.identities": 2, "batch.images": 2},
      "4x4": {"batch.identities": 4, "batch.images": 4},
    }
  return grid.sweep(
    config="configs/glyphs.py" + (":smoke" if smoke else ""),
    changes=changes,
    cells=grid.product(
      grid.axis("loss.miner", miners),
      grid.axis("model.normalize", [True, False]),
      grid.arms("batch", batches),
      grid.axis("loss.margin", [0.2] if smoke else [0.05, 0.2, 1.0]),
      grid.axis("seed", range(1 if smoke else 3)),
    ),
    baseline={
      "loss.miner": "semi_hard",
      "model.normalize": True,
      "batch": "4x4" if smoke else "16x8",
      "loss.margin": 0.2,
    },
    metric="map@r",
    budget="6 steps" if smoke else "150 steps",
  )
