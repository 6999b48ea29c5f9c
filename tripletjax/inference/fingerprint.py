"""Which network it was, for what is kept of one: a gallery, a threshold."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from tripletjax.training.finished import MODEL_DEFAULTS, FinishedRun

# Fields of `config.model` that change nothing in a finished network.
_OF_TRAINING = (
  "dropout",
  "norm_frozen",
  "pretrained",
  "pretrained_ignore",
  "remat",
)


def fingerprint_of(run: FinishedRun, image_shape: tuple[int, int, int]) -> str:
  """Changes with whatever changes an embedding of an image, or a distance.

  Args:
    run: with its weights.
    image_shape: `(H, W, C)` that images are brought to.
  """
  config = run.config
  digest = hashlib.blake2b(digest_size=16)
  asked = [_network(config), image_shape, config.loss.distance]
  asked.append(config.data.invert)
  if config.data.frame:
    asked.append(config.data.frame)
  digest.update(json.dumps(asked, sort_keys=True).encode())
  weights = {"params": run.params, "batch_stats": run.batch_stats}
  for path, leaf in jax.tree_util.tree_leaves_with_path(weights):
    digest.update(f"{jax.tree_util.keystr(path)} {leaf.shape}".encode())
    digest.update(np.ascontiguousarray(leaf).tobytes())
  return digest.hexdigest()


def _network(config: ConfigDict) -> dict[str, Any]:
  """What makes an embedding of an image, beside the weights."""
  # Fields that are as runs of before had them are left out: when another field
  # comes, a network stays the same.
  fields = {
    name: value
    for name, value in config.model.items()
    if name not in _OF_TRAINING and value != MODEL_DEFAULTS.get(name)
  }
  if config.evaluation.views > 1:
    fields["views"] = config.evaluation.views
    fields["augment"] = config.augment.to_dict()
  return fields
