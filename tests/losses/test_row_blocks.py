"""A batch in blocks of rows against the same batch in one."""

import jax
import numpy as np
import pytest

from tests import batches
from tripletjax import LOSSES
from tripletjax.losses import rows

LOSS = {
  "all": ("triplet", {"miner": "all", "margin": 0.3}),
  "batch_hard": ("triplet", {"miner": "batch_hard", "margin": 0.3}),
  "margin": ("margin", {"beta": 0.7}),
  "multi_similarity": ("multi_similarity", {}),
}
REFERENCES = batches.random_batch(9, count=10, classes=5)


def slopes(name, distance, **more):
  """Value, and gradient by the embeddings and by what the loss could learn."""
  # Identities of unequal sizes, so that rows change places; a row of padding.
  embeddings, labels = batches.random_batch(8, count=21, classes=5)
  loss, keywords = LOSS[name]
  numbers = {k: v for k, v in keywords.items() if isinstance(v, float)}
  others = {k: v for k, v in keywords.items() if isinstance(v, str)}

  def of(embeddings, numbers):
    return LOSSES[loss](
      embeddings,
      labels,
      distance=distance,
      where=np.arange(21) != 3,
      **others,
      **numbers,
      **more,
    )[0]

  return jax.jit(jax.value_and_grad(of, (0, 1)))(embeddings, numbers)


@pytest.mark.parametrize(
  ("name", "distance", "more"),
  [
    ("all", "squared_euclidean", {}),
    ("all", "euclidean", {}),
    ("all", lambda x, y: -x @ y.T, {}),
    ("batch_hard", "squared_euclidean", {}),
    ("margin", "dot", {}),
    ("multi_similarity", "cosine", {}),
    (
      "all",
      "cosine",
      {"references": REFERENCES[0], "reference_labels": REFERENCES[1]},
    ),
  ],
)
def test_blocks_give_what_the_whole_gives(name, distance, more, monkeypatch):
  expected = slopes(name, distance, **more)
  seen = []
  in_blocks = rows.in_blocks

  def noted(evaluate, anchors, references, parameters, blocks):
    seen.append(blocks.real.shape)
    return in_blocks(evaluate, anchors, references, parameters, blocks)

  monkeypatch.setattr(rows, "in_blocks", noted)
  monkeypatch.setattr(rows, "WHOLE", 0)
  monkeypatch.setattr(rows, "BLOCKS", ((8, 2**20),))
  found = slopes(name, distance, **more)
  assert seen == [(3, 8)]  # 21 rows
  assert np.any(expected[1][0])
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-5, atol=1e-6),
    found,
    expected,
  )
