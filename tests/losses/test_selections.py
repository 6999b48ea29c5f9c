"""Bands and other selections: exact in value, gradient and counts."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests import batches, reference
from tripletjax import GapBand, pair_masks, pairwise_distance
from tripletjax.losses import selection_totals
from tripletjax.types import EachPositive, Triplets

MARGIN = 0.8


def check(selection, d, labels, triplets, soft=False):
  """Value, counts and gradients against a list of triplets."""
  values, gradient = reference.loss_and_gradient(d, triplets, MARGIN, soft)

  def loss(d, margin):
    totals = selection_totals(
      d, pair_masks(labels), selection, margin=margin, soft=soft
    )
    return jnp.sum(totals.loss), totals

  (value, totals), (by_d, by_margin) = jax.value_and_grad(
    loss, argnums=(0, 1), has_aux=True
  )(jnp.asarray(d), jnp.float32(MARGIN))
  np.testing.assert_allclose(value, values.sum(), rtol=1e-5, atol=1e-6)
  np.testing.assert_allclose(by_d, gradient, rtol=1e-5, atol=1e-5)
  slopes = sum(
    1 / (1 + np.exp(-(d[a, p] - d[a, n] + MARGIN)))
    if soft
    else float(d[a, p] - d[a, n] + MARGIN > 0)
    for a, p, n in triplets
  )
  np.testing.assert_allclose(by_margin, slopes, rtol=1e-5)
  for row in range(len(d)):
    own = [v for v, t in zip(values, triplets, strict=True) if t[0] == row]
    np.testing.assert_allclose(totals.loss[row], sum(own), rtol=1e-4, atol=1e-5)
    assert totals.selected[row] == len(own)
    assert int(totals.active[row]) == sum(v > 0 for v in own)


@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize(
  ("low", "high"),
  [(-np.inf, np.inf), (-np.inf, 0.0), (0.0, MARGIN), (0.2, 0.5), (1.0, np.inf)],
)
def test_bands_are_exact_in_value_gradient_and_counts(seed, low, high, soft):
  embeddings, labels = batches.random_batch(seed)
  d = np.asarray(pairwise_distance(embeddings))
  positive, negative = reference.masks(labels)
  triplets = [
    (a, p, n)
    for ((a, p, n),) in reference.all_triplets(d, positive, negative, None)
    if low < d[a, n] - d[a, p] <= high
  ]
  check(GapBand(float(low), float(high)), d, labels, triplets, soft)


def test_a_band_with_a_condition_takes_what_it_keeps():
  embeddings, labels = batches.random_batch(3)
  d = np.asarray(pairwise_distance(embeddings))
  positive, negative = reference.masks(labels)
  odd = jnp.arange(12) % 2 == 1
  triplets = [
    (a, p, n)
    for ((a, p, n),) in reference.all_triplets(d, positive, negative, None)
    if n % 2 and p > 3 and d[a, n] - d[a, p] <= 0.5
  ]
  band = GapBand(-np.inf, 0.5, lambda slots: odd[None, :] & (slots.column > 3))
  check(band, d, labels, triplets)


def test_triplets_in_any_order_are_counted_at_their_anchors():
  embeddings, labels = batches.random_batch(4)
  d = np.asarray(pairwise_distance(embeddings))
  positive, negative = reference.masks(labels)
  every = [t for (t,) in reference.all_triplets(d, positive, negative, None)]
  chosen = np.random.default_rng(0).permutation(every)[:9]
  a, p, n = chosen.T
  where = np.arange(9) != 2
  selection = Triplets(*map(jnp.asarray, (a, p, n, where)))
  check(selection, d, labels, [tuple(t) for t in chosen[where]])


@pytest.mark.parametrize("soft", [False, True])
def test_one_negative_for_each_positive(soft):
  embeddings, labels = batches.random_batch(5, count=30, classes=2)
  d = np.asarray(pairwise_distance(embeddings))
  positive, negative = reference.masks(labels)
  first = negative.argmax(axis=1)
  triplets = [
    (a, p, int(first[a])) for a, p in reference.pairs(positive) if p % 3
  ]
  selection = EachPositive(
    lambda slots: (
      jnp.broadcast_to(jnp.asarray(first)[:, None], slots.column.shape),
      slots.column % 3 != 0,
    )
  )
  check(selection, d, labels, triplets, soft)
