"""What is each part of the Omniglot recipe worth? One is left out at a time.

Trained on four of the five alphabets of `small1`, measured on the fifth: five
replicates, each with another alphabet held out and another seed, the same in
all arms, so that differences are taken in pairs. The other file isn't looked
at. All arms see as many images, a twelfth of the config's. The recipe is the
one before this sweep: margin 0.2, warps twice as strong, and one head over all
places of a coarser network (docs/results.md says what it taught).

    python -m experiments.sweep --sweep=configs/sweeps/omniglot_ablation.py
    python -m experiments.report --workdir=RUN

`:network` compares that network in the recipe as it is now.

Views, which cost no training, are compared on finished runs
(`experiments.evaluate --views`; docs/results.md).
"""

NETWORK_BEFORE = {
  "model.name": "convnet",
  "model.pooling": "",
  "model.dimension": 128,
}
BEFORE = {
  **NETWORK_BEFORE,
  "loss.margin": 0.2,
  "augment.identity_rotation": 30.0,
  "augment.identity_scale": 0.4,
  "augment.identity_shear": 0.5,
  "augment.identity_elastic": 0.09,
}
NO_WARP = {
  "augment.identity_rotation": 0.0,
  "augment.identity_scale": 0.0,
  "augment.identity_shear": 0.0,
  "augment.identity_elastic": 0.0,
}
ARMS = {
  "recipe": {},
  # Without a part of it.
  "no frame": {"data.frame": ""},
  "no turns": {"augment.rotation_classes": False},
  "no warps": NO_WARP,
  "no affine": {
    "augment.rotation": 0.0,
    "augment.scale": 0.0,
    "augment.shear": 0.0,
    "augment.translation": 0.0,
  },
  "no elastic": {"augment.elastic": 0.0},
  "no averaged weights": {"optimizer.ema": 0.0},
  "no schedule": {"optimizer.schedule": "constant"},
  # Mined otherwise.
  "margin 0.1": {"loss.margin": 0.1},
  "margin 0.4": {"loss.margin": 0.4},
  "all triplets": {"loss.miner": "all"},
  "batch-hard, soft": {
    "loss.miner": "batch_hard",
    "loss.soft": True,
    "loss.margin": 0.0,
    "loss.distance": "euclidean",
  },
  "SupCon": {"loss.name": "sup_con"},
  "offline batches": {
    "mining.name": "offline_batches",
    "mining.every": "50 steps",
  },
  # With more.
  "40 x 40": {
    "data.image_size": "40",
    "model.features": (32, 64, 128, 128),
  },
  "within alphabets": {"batch.within": "group"},
  "64 x 4": {"batch.identities": 64},
  "memory, no warps": {**NO_WARP, "memory.size": 1024},
}
NETWORKS = {
  "recipe": {},
  "one head over 4 x 4 places": NETWORK_BEFORE,
}


def get_sweep(grid, variant=""):
  """The sweep; `:network` is another one, `:smoke` four cells for tests."""
  if variant not in ("", "network", "smoke"):
    raise ValueError(
      f'expected variant "", "network" or "smoke", got "{variant}"'
    )
  smoke, network = variant == "smoke", variant == "network"
  count = 2 if smoke else 5
  arms = NETWORKS if network else ARMS
  if smoke:
    arms = {name: ARMS[name] for name in ("recipe", "no frame")}
  return grid.sweep(
    config="configs/omniglot_small.py" + (":smoke" if smoke else ""),
    changes={
      **({} if network else BEFORE),
      "data.eval_split": "",
      "data.split_by": "group",
      "data.split_folds": count,
      "checkpoint.every": "100 percent",
      "checkpoint.keep": 1,
    },
    cells=grid.product(
      grid.arms("recipe", arms),
      grid.zip(
        grid.axis("data.split_fold", range(count)),
        grid.axis("seed", range(count)),
      ),
    ),
    baseline={"recipe": "recipe"},
    metric="one_shot_error",
    budget="6 steps" if smoke else "64000 examples",
  )
