"""Counts and searches in rows against NumPy, at widths that need padding."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.emitters import NEW_EMITTERS
from tripletjax import folds, searches

WIDTHS = [1, 12, 32, 100]


def problem(width, seed=0):
  """Values with ties and NaN, thresholds with NaN and one beyond all."""
  rng = np.random.default_rng(seed)
  values = np.round(rng.normal(size=(5, width)), 1).astype(np.float32)
  values[rng.random(values.shape) < 0.2] = np.nan
  thresholds = np.round(rng.normal(size=(5, 3)), 1).astype(np.float32)
  thresholds[0, 0], thresholds[1, 1], thresholds[2] = np.nan, 9, -9
  values[3] = np.nan
  return jnp.asarray(values), jnp.asarray(thresholds)


def above(value, threshold):
  return value > threshold


@pytest.mark.parametrize("width", WIDTHS)
def test_counts(width):
  values, thresholds = map(np.asarray, problem(width))
  holds = values[:, :, None] > thresholds[:, None, :]
  arguments = (*problem(width), above)
  assert (folds.count_where(*arguments) == holds.sum(axis=1)).all()
  assert (folds.count_thresholds(*arguments) == holds.sum(axis=2)).all()
  where = np.isnan(values)
  assert (folds.row_count(jnp.asarray(where)) == where.sum(axis=1)).all()
  filled = np.nan_to_num(values)
  np.testing.assert_allclose(
    folds.row_sum(jnp.asarray(filled)), filled.sum(axis=1), rtol=1e-5, atol=1e-6
  )


@pytest.mark.parametrize("width", WIDTHS)
def test_the_smallest_above_a_threshold_is_the_first_of_equals(width):
  values, thresholds = map(np.asarray, problem(width))
  column, found = folds.first_smallest_above(*problem(width))
  for row in range(5):
    for s in range(3):
      beyond = np.flatnonzero(values[row] > thresholds[row, s])
      assert found[row, s] == (len(beyond) > 0)
      expected = min(beyond, key=lambda c: (values[row, c], c), default=0)
      assert column[row, s] == expected
  column, found = folds.first_smallest(jnp.asarray(values))
  for row in range(5):
    there = np.flatnonzero(~np.isnan(values[row]))
    assert found[row] == (len(there) > 0)
    assert column[row] == min(
      there, key=lambda c: (values[row, c], c), default=0
    )


def test_an_infinite_distance_is_a_value_and_the_two_zeros_are_one():
  inf, nan = jnp.inf, jnp.nan
  values = jnp.array([[nan, inf, inf], [nan, nan, nan], [nan, 0.0, -0.0]])
  column, found = folds.first_smallest(values)
  assert column.tolist() == [1, 0, 1]
  assert found.tolist() == [True, False, True]


@pytest.mark.parametrize("number", [0, 1, 3])
@pytest.mark.parametrize("width", WIDTHS)
def test_the_nth_is_in_the_order_of_columns(width, number):
  values, thresholds = map(np.asarray, problem(width))
  column, count = searches.nth_where(
    searches.segments(jnp.asarray(values)),
    jnp.asarray(thresholds),
    lambda count: jnp.minimum(number, jnp.maximum(count - 1, 0)),
    above,
  )
  where = values > thresholds[:, :1]
  nth = searches.nth_true(jnp.asarray(where), jnp.full((5, 1), number))
  for row in range(5):
    for s in range(3):
      there = np.flatnonzero(values[row] > thresholds[row, s])
      assert count[row, s] == len(there)
      expected = there[min(number, len(there) - 1)] if len(there) else 0
      assert column[row, s] == expected
    there = np.flatnonzero(where[row])
    assert nth[row, 0] == (there[number] if number < len(there) else 0)


@pytest.mark.parametrize("width", WIDTHS)
def test_a_weighted_choice_is_the_inverse_of_the_cumulative_weights(width):
  rng = np.random.default_rng(1)
  # Whole numbers, so that sums are exact in any order.
  weights = rng.integers(0, 4, (5, width)).astype(np.float32)
  weights[3] = 0
  weights[0, 0] = 1
  share = np.linspace(0, 0.99, 9, dtype=np.float32)[None].repeat(5, 0)
  choose = searches.weighted_choice(jnp.asarray(weights))
  column, found = choose(jnp.asarray(share))
  for row in range(5):
    total = weights[row].sum()
    assert (np.asarray(found[row]) == (total > 0)).all()
    if total:
      ends = np.cumsum(weights[row])
      expected = np.searchsorted(ends, share[row] * total, side="right")
      np.testing.assert_array_equal(column[row], expected)


def test_integers_keep_the_order_of_floats():
  values = np.array(
    [np.nan, np.inf, 3.5, 1e-40, 0.0, -0.0, -1e-40, -2.0, -np.inf], np.float32
  )
  keys = np.asarray(folds.ordered(jnp.asarray(values)))
  assert (np.diff(keys.astype(np.int64)) <= 0).all()
  assert keys[4] == keys[5]
  assert keys[0] > keys[1] > keys[2] > keys[4] > keys[7] > keys[8]


def test_the_fold_is_not_a_cube():
  # Measured: what XLA makes of `min(where(v > t, v, inf))` is 16 times slower,
  # and a broadcast sum over [A, R, s] holds the cube.
  values = jax.ShapeDtypeStruct((64, 1024), jnp.float32)
  thresholds = jax.ShapeDtypeStruct((64, 8), jnp.float32)
  compiled = jax.jit(folds.first_smallest_above).lower(values, thresholds)
  size = compiled.compile(NEW_EMITTERS).memory_analysis().temp_size_in_bytes
  assert size <= 2 * 4 * 64 * 1024
