"""Statistics beside the loss, from their definitions."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests import batches, reference
from tripletjax import mined_triplet_loss
from tripletjax.losses import rows
from tripletjax.losses.statistics import effective_rank

MARGIN = 0.8


def evaluate(embeddings, labels, **keywords):
  function = functools.partial(
    mined_triplet_loss,
    **{"miner": "all_semi_hard", "margin": MARGIN} | keywords,
  )
  return jax.jit(lambda x: function(x, labels))(jnp.asarray(embeddings))


def expected(embeddings, labels, where):
  """All of them by NumPy, in float64."""
  x = embeddings.astype(np.float64)
  d = reference.squared_euclidean(x, x)
  positive, negative = reference.masks(labels, where=where)
  triplets = [t for (t,) in reference.all_triplets(d, positive, negative, None)]
  gap = np.array([d[a, n] - d[a, p] for a, p, n in triplets])
  chosen = (gap > 0) & (gap <= MARGIN)
  anchors = {a for (a, _, _), c in zip(triplets, chosen, strict=True) if c}
  singular = np.linalg.svd(x[where], compute_uv=False)
  share = singular / singular.sum()
  edges = np.linspace(-2, 2, 17) * MARGIN
  return {
    "valid_triplets": len(triplets),
    "selected_triplets": chosen.sum(),
    "active_triplets": (chosen & (gap < MARGIN)).sum(),
    "active_share": (chosen & (gap < MARGIN)).sum() / chosen.sum(),
    "easy_share": (gap > MARGIN).mean(),
    "semi_hard_share": chosen.mean(),
    "hard_share": (gap <= 0).mean(),
    "idle_anchors": 1 - len(anchors) / where.sum(),
    "positive_distance": d[positive].mean(),
    "negative_distance": d[negative].mean(),
    "mean_distance": d[positive | negative].mean(),
    "gap_histogram": np.histogram(gap, [-np.inf, *edges, np.inf])[0],
    "gap_edges": edges,
    "loss_at_margin": False,
    "collapsed": False,
    "embedding_norm": np.linalg.norm(x[where], axis=1).mean(),
    "effective_rank": np.exp(-(share * np.log(share)).sum()),
  }


@pytest.mark.parametrize("where", [np.ones(12, bool), np.arange(12) != 4])
def test_statistics_equal_their_definitions(where):
  embeddings, labels = batches.random_batch(1)
  _, found = evaluate(embeddings, labels, where=where)
  wanted = expected(embeddings, labels, where)
  assert set(found) == set(wanted)
  for name, value in wanted.items():
    np.testing.assert_allclose(found[name], value, rtol=1e-4, err_msg=name)


def test_statistics_of_blocks_and_of_devices_are_those_of_the_whole(
  monkeypatch,
):
  embeddings, labels = batches.random_batch(2, count=24, classes=5)
  _, whole = evaluate(embeddings, labels)
  monkeypatch.setattr(rows, "WHOLE", 0)
  monkeypatch.setattr(rows, "BLOCKS", ((8, 2**20),))
  _, in_blocks = evaluate(embeddings, labels)
  on_devices = jax.pmap(
    lambda x, y: mined_triplet_loss(
      x, y, miner="all_semi_hard", margin=MARGIN, axis_name="d"
    )[1],
    axis_name="d",
  )(embeddings.reshape(4, 6, -1), labels.reshape(4, 6))
  for name, value in whole.items():
    np.testing.assert_allclose(in_blocks[name], value, rtol=1e-5, err_msg=name)
    for row in on_devices[name]:
      np.testing.assert_allclose(row, value, rtol=1e-5, err_msg=name)


def test_a_collapse_shows_in_every_measure():
  labels = np.arange(12, dtype=np.int32) // 3
  loss, found = evaluate(np.ones((12, 4), np.float32), labels, miner="all")
  np.testing.assert_allclose(loss, MARGIN, rtol=1e-5)
  assert found["collapsed"]
  assert found["loss_at_margin"]
  np.testing.assert_allclose(found["effective_rank"], 1, rtol=1e-3)
  assert found["mean_distance"] == 0
  assert found["hard_share"] == 1
  assert found["embedding_norm"] == 2


def test_the_soft_loss_of_a_collapse_is_at_what_a_gap_of_zero_costs():
  labels = np.arange(12, dtype=np.int32) // 3
  _, found = evaluate(
    np.ones((12, 4), np.float32), labels, miner="all", margin=0.0, soft=True
  )
  assert found["loss_at_margin"]


@pytest.mark.parametrize(
  ("points", "rank"),
  [
    (np.eye(4), 4),
    (np.ones((4, 3)), 1),
    (np.zeros((4, 3)), 1),
    # Singular values 2 and 1: entropy of (2/3, 1/3).
    (np.diag([2.0, 1.0]), 3 / 2 ** (2 / 3)),
  ],
)
def test_effective_rank_by_hand(points, rank):
  x = jnp.asarray(points, jnp.float32)
  np.testing.assert_allclose(effective_rank(x.T @ x), rank, rtol=1e-3)
  np.testing.assert_allclose(effective_rank(x @ x.T), rank, rtol=1e-3)


@pytest.mark.parametrize("devices", [1, 2])
@pytest.mark.parametrize("dimension", [7, 8, 9, 40])
def test_effective_rank_of_fewer_rows_than_dimensions(devices, dimension):
  embeddings, labels = batches.random_batch(3, count=8, dimension=dimension)
  found = jax.pmap(
    lambda x, y: mined_triplet_loss(x, y, axis_name="d")[1]["effective_rank"],
    axis_name="d",
  )(embeddings.reshape(devices, -1, dimension), labels.reshape(devices, -1))
  share = np.linalg.svd(np.asarray(embeddings, np.float64), compute_uv=False)
  share /= share.sum()
  wanted = np.exp(-(share * np.log(share)).sum())
  np.testing.assert_allclose(found, wanted, rtol=1e-4)


def test_statistics_that_are_not_used_cost_nothing():
  embeddings, labels = batches.random_batch(0, count=64, dimension=8)

  def flops(keep):
    compiled = jax.jit(
      lambda x: keep(mined_triplet_loss(x, labels, miner="batch_hard"))
    )
    return compiled.lower(embeddings).compile().cost_analysis()["flops"]

  without = flops(lambda result: result[0])
  cheap = flops(lambda result: (result[0], result[1]["selected_triplets"]))
  everything = flops(lambda result: result)
  assert without < 0.7 * everything
  assert cheap < 1.2 * without


def test_statistics_of_precomputed_distances_know_no_embeddings():
  embeddings, labels = batches.random_batch(1)
  d = reference.squared_euclidean(embeddings, embeddings).astype(np.float32)
  _, found = evaluate(d, labels, distance="precomputed")
  _, of_embeddings = evaluate(embeddings, labels)
  assert set(of_embeddings) - set(found) == {
    "embedding_norm",
    "effective_rank",
  }
  for name, value in found.items():
    np.testing.assert_allclose(value, of_embeddings[name], rtol=1e-4)


@pytest.mark.parametrize(
  ("spread", "collapsed"), [(0.04, True), (0.06, False), (1.0, False)]
)
def test_collapsed_is_a_mean_near_the_smallest_distance(spread, collapsed):
  # Four points on a line, a step apart: of the squared distances 1, 4, 9 of the
  # six pairs the smallest is 1 and the mean (3 * 1 + 2 * 4 + 9) / 6 = 10 / 3.
  labels = np.array([0, 0, 1, 1], np.int32)
  step = np.sqrt(spread * MARGIN / (10 / 3 - 1))
  points = np.arange(4, dtype=np.float32)[:, None] * np.float32(step)
  _, found = evaluate(points, labels, miner="all")
  assert found["collapsed"] == collapsed
