"""Masks against the slow oracle, and their errors."""

import jax.numpy as jnp
import numpy as np
import pytest

from tests import reference
from tripletjax import pair_masks


def test_equals_the_slow_oracle():
  rng = np.random.default_rng(0)
  for _ in range(5):
    labels = rng.integers(0, 4, 12)
    ids = rng.integers(0, 9, 12)  # some examples stand in the batch twice
    where = rng.random(12) < 0.8
    expected = reference.masks(labels, ids, where)
    actual = pair_masks(
      jnp.asarray(labels, jnp.int32),
      ids=jnp.asarray(ids, jnp.int32),
      where=where,
    )
    np.testing.assert_array_equal(actual.positive, expected[0])
    np.testing.assert_array_equal(actual.negative, expected[1])


def test_rows_of_the_square_masks_are_the_rectangular_ones():
  labels, ids = jnp.array([0, 1, 0, 1, 2]), jnp.arange(5)
  square = pair_masks(labels)
  rows = pair_masks(labels[1:3], labels, ids=ids[1:3], reference_ids=ids)
  np.testing.assert_array_equal(rows.positive, square.positive[1:3])
  np.testing.assert_array_equal(rows.negative, square.negative[1:3])


def test_references_without_ids_hold_no_self_pairs():
  masks = pair_masks(jnp.array([0, 1]), jnp.array([0, 1]))
  assert masks.positive.tolist() == [[True, False], [False, True]]


@pytest.mark.parametrize(
  ("arguments", "keywords", "error", "message"),
  [
    ((np.ones(2),), {}, TypeError, "labels to be integer, got float"),
    ((np.ones((2, 2), int),), {}, ValueError, "labels of shape"),
    ((np.ones(2, int),), {"ids": np.ones(3, int)}, ValueError, "ids of shape"),
    ((np.ones(2, int),), {"where": np.ones(2, int)}, TypeError, "boolean"),
    (
      (np.ones(2, int), np.ones(2, int)),
      {"ids": np.ones(2, int)},
      ValueError,
      "only one of them",
    ),
    (
      (np.ones(2, int),),
      {"reference_ids": np.ones(2, int)},
      ValueError,
      "reference_labels",
    ),
  ],
)
def test_errors(arguments, keywords, error, message):
  with pytest.raises(error, match=message):
    pair_masks(*arguments, **keywords)
