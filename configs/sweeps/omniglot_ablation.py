"""What is each part of the Omniglot recipe worth? One is left out at a time.

Trained on four of the five alphabets of `small1`, measured on the fifth: five
replicates, each with another alphabet held out and another seed, the same in
all arms, so that differences are taken in pairs. The other file isn't looked
at. All arms see as many images, a twelfth of the config's.

    python -m experiments.sweep --sweep=configs/sweeps/omniglot_ablation.py
    python -m experiments.report --workdir=RUN

`:losses` compares the recipe's triplets with other losses. `:network` compares
the recipe's network with the one before it, in tasks that compare means;
`:before` are 17 changes to the recipe before it: that network, means, margin
0.2, warps twice as strong. What they taught: docs/results.md.

Views, which cost no training, are compared on finished runs
(`experiments.evaluate --views --view_temperature`; docs/results.md).
"""

NETWORK_BEFORE = {
  "model.name": "convnet",
  "model.pooling": "",
  "model.dimension": 128,
}
STRONG_WARPS = {
  "augment.identity_rotation": 30.0,
  "augment.identity_scale": 0.4,
  "augment.identity_shear": 0.5,
  "augment.identity_elastic": 0.09,
}
BY_MEANS = {"evaluation.view_temperature": 0.0}
BEFORE = {
  **NETWORK_BEFORE,
  **STRONG_WARPS,
  **BY_MEANS,
  "loss.margin": 0.2,
}
NO_WARP = {
  "augment.identity_rotation": 0.0,
  "augment.identity_scale": 0.0,
  "augment.identity_shear": 0.0,
  "augment.identity_elastic": 0.0,
}
ARMS = {
  "recipe": {},
  "no warps": NO_WARP,
  "no turns": {"augment.rotation_classes": False},
  "margin 0.2": {"loss.margin": 0.2},
  "SupCon": {"loss.name": "sup_con"},
  "warps twice as strong": STRONG_WARPS,
  "no averaged weights": {"optimizer.ema": 0.0},
  "no elastic": {"augment.elastic": 0.0},
}
ARMS_BEFORE = {
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
LOSSES = {
  "triplets": {"loss.name": "triplet"},
  "NT-Xent, t = 0.05": {
    "loss.name": "nt_xent",
    "loss.nt_xent.temperature": 0.05,
  },
  "NT-Xent, t = 0.1": {
    "loss.name": "nt_xent",
    "loss.nt_xent.temperature": 0.1,
  },
  "SupCon, t = 0.05": {
    "loss.name": "sup_con",
    "loss.sup_con.temperature": 0.05,
  },
  "multi-similarity": {"loss.name": "multi_similarity"},
}
# Variant -> arms, and what is changed in all of them.
SWEEPS: dict[str, tuple[dict, dict]] = {
  "": (ARMS, {}),
  "before": (ARMS_BEFORE, BEFORE),
  "network": (NETWORKS, BY_MEANS),
  "losses": (LOSSES, {}),
  "smoke": ({name: ARMS[name] for name in ("recipe", "no warps")}, {}),
}


def get_sweep(grid, variant=""):
  """The sweep; see above for the variants; `:smoke` is for tests."""
  if variant not in SWEEPS:
    known = ", ".join(f'"{name}"' for name in SWEEPS)
    raise ValueError(f'expected variant {known}, got "{variant}"')
  smoke = variant == "smoke"
  count = 2 if smoke else 5
  arms, changes = SWEEPS[variant]
  return grid.sweep(
    config="configs/omniglot_small.py" + (":smoke" if smoke else ""),
    changes={
      **changes,
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
    baseline={"recipe": next(iter(arms))},
    metric="one_shot_error",
    budget="6 steps" if smoke else "64000 examples",
  )
