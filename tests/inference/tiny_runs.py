"""The folder of a finished run, without the training: a network at random."""

import json

import jax
import numpy as np

from configs import glyphs
from tripletjax import checkpoint
from tripletjax.training import parallel
from tripletjax.training.network import make_model

STEP = 20


def variables_of(config, shape, seed=0):
  """Parameters and statistics of a config's network, none at its default."""
  model = make_model(config, axis_name=parallel.AXIS)
  images = jax.ShapeDtypeStruct((1, *shape), "float32")
  shapes = jax.eval_shape(
    lambda key, images: model.init(key, images, train=False),
    jax.random.key(0),
    images,
  )
  rng = np.random.default_rng(seed)

  def draw(path, leaf):
    name = path[-1].key
    if name in ("scale", "var", "power"):
      return rng.uniform(0.5, 1.5, leaf.shape).astype(np.float32)
    fan_in = max(int(np.prod(leaf.shape[:-1])), 1)
    return (rng.normal(size=leaf.shape) / fan_in**0.5).astype(np.float32)

  return jax.tree_util.tree_map_with_path(draw, shapes)


def tiny_config(**model):
  config = glyphs.get_config("smoke")
  config.model.features = (4, 8)
  config.model.dimension = 6
  config.model.update(model)
  return config


def make_run(folder, config=None, shape=(12, 10, 1), summary=None):
  """Writes a run; returns its variables."""
  config = tiny_config() if config is None else config
  variables = variables_of(config, shape)
  folder.mkdir(parents=True)
  (folder / "config.json").write_text(config.to_json())
  data = {"image_shape": shape, "images": 30, "identities": 5}
  (folder / "data.json").write_text(json.dumps(data))
  if summary is not None:
    (folder / "summary.json").write_text(json.dumps(summary))
  state = {
    "params": {**variables["params"]},
    "batch_stats": variables.get("batch_stats", {}),
  }
  with checkpoint.open_checkpoints(folder / "checkpoints", keep=1) as saved:
    checkpoint.save_checkpoint(saved, STEP, {"state": state}, {})
  return variables
