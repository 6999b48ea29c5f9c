"""Which miner, at which margin? 4 margins x 4 miners x 3 seeds on the glyphs.

Learned on Latin and Greek, selected on Cyrillic, tested once on Armenian,
Georgian and Lao, which are not looked at before.

    python -m experiments.sweep --sweep=configs/sweeps/margin_by_miner.py

Time: 48 cells of 150 steps, under 12 minutes on two CPU cores.
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
  return grid.sweep(
    config="configs/glyphs.py" + (":smoke" if smoke else ""),
    changes=changes,
    cells=grid.product(
      grid.axis(
        "loss.miner",
        ["semi_hard", "batch_hard"]
        if smoke
        else ["random", "semi_hard", "random_semi_hard", "batch_hard"],
      ),
      grid.axis("loss.margin", [0.2] if smoke else [0.05, 0.1, 0.2, 0.4]),
      grid.axis("seed", range(2 if smoke else 3)),
    ),
    baseline={"loss.miner": "semi_hard", "loss.margin": 0.2},
    metric="map@r",
    test_split="armenian+georgian+lao",
    budget="6 steps" if smoke else "150 steps",
  )
