"""One product at the end against products in each block."""

import jax
import numpy as np
import pytest

from tests import batches
from tripletjax import LOSSES
from tripletjax.losses import blocks, rows

LOSS = {
  "all": ("triplet", {"miner": "all", "margin": 0.3}),
  "batch_hard": ("triplet", {"miner": "batch_hard", "margin": 0.3}),
  "margin": ("margin", {"beta": 0.7}),
  "multi_similarity": ("multi_similarity", {}),
}


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
  monkeypatch.setattr(rows, "WHOLE", 0)
  monkeypatch.setattr(rows, "ROWS", 8)


@pytest.fixture
def ways(monkeypatch):
  """Which way each evaluation has gone."""
  gone = []
  for name in ("in_blocks", "by_distances"):
    way = getattr(rows, name)

    def noted(*arguments, name=name, way=way):
      gone.append(name)
      return way(*arguments)

    monkeypatch.setattr(rows, name, noted)
  return gone


def slopes(name, distance, **more):
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
  ("name", "distance"),
  [
    ("all", "squared_euclidean"),
    ("all", "cosine"),
    ("margin", "dot"),
    ("multi_similarity", "cosine"),
  ],
)
def test_both_ways_give_the_same(name, distance, ways, monkeypatch):
  found = slopes(name, distance)
  monkeypatch.setattr(blocks, "OWN", 20)
  expected = slopes(name, distance)
  assert ways == ["by_distances", "in_blocks"]
  assert np.any(expected[1][0])
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-5, atol=1e-6),
    found,
    expected,
  )


@pytest.mark.parametrize(
  ("name", "distance", "why"),
  [
    ("all", "euclidean", "the gradient needs the distances"),
    ("all", lambda x, y: -x @ y.T, "a function may be lopsided"),
    ("batch_hard", "squared_euclidean", "no gradient by the matrix"),
  ],
)
def test_other_losses_take_products_in_each_block(name, distance, why, ways):
  del why
  slopes(name, distance)
  assert ways == ["in_blocks"]


def test_references_of_their_own_take_products_in_each_block(ways):
  references, labels = batches.random_batch(9, count=10, classes=5)
  slopes(
    "all",
    "squared_euclidean",
    references=references,
    reference_labels=labels,
  )
  assert ways == ["in_blocks"]
