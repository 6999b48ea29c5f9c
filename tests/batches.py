"""Small batches that the law tests share, easy ones and awkward ones."""

import numpy as np


def random_batch(seed, count=12, classes=4, dimension=5):
  """Embeddings without ties, and unbalanced labels."""
  rng = np.random.default_rng(seed)
  embeddings = rng.normal(size=(count, dimension)).astype(np.float32)
  return embeddings / 2, rng.integers(0, classes, count).astype(np.int32)


def awkward_batches():
  """Name -> (embeddings, labels): the edge cases of the definitions."""
  points, labels = random_batch(7)
  twins = points.copy()
  twins[1:] = points[0]
  twins[6:] = points[6]
  return {
    "duplicates": (twins, labels),
    "zeros": (np.zeros_like(points), labels),
    "one identity": (points, np.zeros_like(labels)),
    "one image each": (points, np.arange(len(labels), dtype=np.int32)),
    "one pair": (points, np.minimum(np.arange(12), 10).astype(np.int32)),
  }
