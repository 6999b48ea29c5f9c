"""The margin loss of mined pairs, by arithmetic and by listed triplets."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import digits
from tests import batches, reference
from tripletjax.losses import mined_margin_loss
from tripletjax.miners import MINERS
from tripletjax.miners.calling import call_miner
from tripletjax.miners.listing import list_triplets
from tripletjax.training import objective
from tripletjax.types import Embeddings, Triplets

# One of each kind of selection: a band, drawn and found for each pair, a list.
KINDS = ("all", "distance_weighted", "semi_hard", "batch_hard", "n_hardest")


@pytest.mark.parametrize(
  "name",
  [
    *KINDS[:2],
    *(pytest.param(name, marks=pytest.mark.slow) for name in KINDS[2:]),
  ],
)
def test_each_triplet_costs_its_two_pairs(name):
  embeddings, labels = batches.random_batch(0)
  key = jax.random.key(3)
  x = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
  d = reference.DISTANCES["euclidean"](x.astype("f8"), x.astype("f8"))
  masks = reference.masks(labels)
  selection = call_miner(
    MINERS[name],
    jnp.asarray(d, jnp.float32),
    *map(jnp.asarray, masks),
    margin=0.2,
    key=jax.vmap(jax.random.fold_in, (None, 0))(key, jnp.arange(12)),
    embeddings=Embeddings(jnp.asarray(x), jnp.asarray(x)),
  )
  triplets = list_triplets(d.astype("f4"), *masks, selection)
  assert len(triplets) > 10
  terms = []
  for a, p, n in triplets:
    terms += [max(0.2 + d[a, p] - 1.2, 0.0), max(0.2 - d[a, n] + 1.2, 0.0)]
  loss, statistics = mined_margin_loss(
    jnp.asarray(x), labels, miner=name, distance="euclidean", key=key
  )
  active = sum(term > 0 for term in terms)
  np.testing.assert_allclose(loss, sum(terms) / active, rtol=1e-5)
  assert int(statistics["selected_triplets"]) == 2 * len(triplets)
  assert int(statistics["active_triplets"]) == active


def test_a_pair_counts_as_often_as_it_is_in_a_triplet():
  def twice_the_same(distances, positive_mask, negative_mask, *, margin, key):
    del distances, positive_mask, negative_mask, margin, key
    a, p, n = jnp.array([0, 0]), jnp.array([1, 1]), jnp.array([2, 3])
    return Triplets(a, p, n, jnp.array([True, True]))

  points = jnp.array([[0.0], [1.5], [0.25], [0.5]])

  def loss(points, beta):
    return mined_margin_loss(
      points,
      jnp.array([0, 0, 1, 1]),
      miner=twice_the_same,
      margin=0.25,
      beta=beta,
      distance="euclidean",
      reduction="sum",
    )[0]

  value, (by_points, by_beta) = jax.value_and_grad(loss, (0, 1))(points, 1.0)
  # (0, 1) twice: .25 + 1.5 - 1. (0, 2): .25 - .25 + 1; (0, 3): .25 - .5 + 1.
  np.testing.assert_allclose(value, 2 * 0.75 + 1.0 + 0.75)
  # Pulled to 1 twice, pushed from 2 and 3 once; beta: -1 twice, +1 twice.
  np.testing.assert_allclose(by_points[:, 0], [0, 2, -1, -1], atol=1e-6)
  np.testing.assert_allclose(by_beta, 0, atol=1e-6)


@pytest.mark.parametrize("miner", ["batch_hard", "all"])
def test_a_config_names_its_miner_and_its_beta_is_learned(miner):
  config = digits.get_config("smoke")
  config.loss.update(name="mined_margin", miner=miner, distance="euclidean")
  objective.check_config(config)
  embeddings, labels = batches.random_batch(1)
  learned = objective.loss_parameters(config)
  assert learned == {"beta": 1.2}
  loss_fn = objective.make_loss(config, next_after=1, margin_steps=1)
  found, _ = loss_fn(
    jnp.asarray(embeddings),
    labels,
    margin=jnp.float32(0.3),
    step=jnp.int32(0),
    key=jax.random.key(0),
    beta=jnp.float32(0.7),
  )
  expected, _ = mined_margin_loss(
    embeddings,
    labels,
    miner=miner,
    margin=0.3,
    beta=0.7,
    distance="euclidean",
  )
  np.testing.assert_allclose(found, expected, rtol=1e-6)
