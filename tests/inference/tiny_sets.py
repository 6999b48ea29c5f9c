"""A prepared set of noise, a folder of it, and a run that embeds it."""

import numpy as np
import prepared_sets
from tiny_runs import make_run, tiny_config

SHAPE = (12, 10, 1)
IDENTITIES = 8
EACH = 5


def pixels(number):
  """Image `number` of an identity: its own noise on that of the identity."""
  identity = np.random.default_rng(1000 + number // EACH)
  own = np.random.default_rng(number)
  base = identity.integers(0, 256, SHAPE[:2])
  return ((3 * base + own.integers(0, 256, SHAPE[:2])) // 4).astype(np.uint8)


def write_noise(data_dir, name="noise"):
  """Splits train and test of a set, which have the same images."""
  examples = [
    {
      "image": prepared_sets.encode(pixels(number)),
      "label": f"p{number // EACH}",
      "group": "g",
      "path": f"p{number // EACH}/{number}.png",
    }
    for number in range(IDENTITIES * EACH)
  ]
  prepared_sets.write_set(data_dir, name, {"train": examples, "test": examples})


def write_images(root):
  """The same images as a folder, by identity."""
  for number in range(IDENTITIES * EACH):
    path = root / f"p{number // EACH}" / f"{number:02}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(prepared_sets.encode(pixels(number)))
  return root


def noise_config(**changes):
  """Of a run on that set; `changes` are of `config.data`."""
  config = tiny_config()
  config.data.name = "noise"
  config.data.train_split = "train"
  config.data.eval_split = "test"
  config.data.update(changes)
  config.evaluation.batch_size = 16
  return config


def noise_run(folder, shape=SHAPE, **changes):
  """A run that embeds it, with its weights at random."""
  make_run(folder, noise_config(**changes), shape=shape)
  return folder
