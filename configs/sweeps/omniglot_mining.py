"""Which miner, and which margin, for Omniglot with little data? 6 arms x 3.

Trained on four of the five alphabets of `small1`, measured on the fifth: three
replicates, each with another alphabet held out and another seed. The other file
isn't looked at. A third of the config's steps.

    python -m experiments.sweep --sweep=configs/sweeps/omniglot_mining.py
"""

ARMS = {
  "semi-hard 0.1": {"loss.margin": 0.1},
  "semi-hard 0.2": {},
  "semi-hard 0.4": {"loss.margin": 0.4},
  "random semi-hard 0.2": {"loss.miner": "random_semi_hard"},
  "all 0.2": {"loss.miner": "all"},
  "batch-hard, soft": {
    "loss.miner": "batch_hard",
    "loss.soft": True,
    "loss.margin": 0.0,
    "loss.distance": "euclidean",
  },
}


def get_sweep(grid, variant=""):
  """The sweep; `:smoke` is four cells of a few steps for tests."""
  if variant not in ("", "smoke"):
    raise ValueError(f'expected variant "" or "smoke", got "{variant}"')
  smoke = variant == "smoke"
  arms = ARMS
  if smoke:
    arms = {name: ARMS[name] for name in ("semi-hard 0.2", "all 0.2")}
  count = 2 if smoke else 3
  return grid.sweep(
    config="configs/omniglot_small.py" + (":smoke" if smoke else ""),
    changes={
      "data.eval_split": "",
      "data.split_by": "group",
      "data.split_folds": 2 if smoke else 5,
      "checkpoint.every": "100 percent",
      "checkpoint.keep": 1,
    },
    cells=grid.product(
      grid.arms("mining", arms),
      grid.zip(
        grid.axis("data.split_fold", range(count)),
        grid.axis("seed", range(count)),
      ),
    ),
    baseline={"mining": "semi-hard 0.2"},
    metric="one_shot_error",
    budget="6 steps" if smoke else "500 steps",
  )
