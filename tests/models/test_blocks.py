"""The maximum over 2 x 2, by loops."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tripletjax.models.blocks import half_max


@pytest.mark.parametrize("side", [(4, 6), (5, 4), (3, 1), (1, 1), (1, 5)])
def test_the_maximum_and_its_gradient(side):
  rng = np.random.default_rng(0)
  # Few different numbers, so that there are ties.
  x = rng.integers(0, 3, (2, *side, 3)).astype(np.float32)
  down, across = (min(2, size) for size in side)
  expected = np.zeros((2, side[0] // down, side[1] // across, 3), np.float32)
  gradient = np.zeros_like(x)
  for b, i, j, c in np.ndindex(*expected.shape):
    # The first of a column, then of a row.
    best = None
    for column in range(across):
      for row in range(down):
        place = (b, i * down + row, j * across + column, c)
        if best is None or x[place] > x[best]:
          best = place
    expected[b, i, j, c] = x[best]
    gradient[best] += 1 + b
  weights = np.ones_like(expected) * np.array([1, 2])[:, None, None, None]
  found, pull = jax.vjp(jax.jit(half_max), x)
  np.testing.assert_array_equal(found, expected)
  np.testing.assert_array_equal(
    pull(jnp.asarray(weights, jnp.float32))[0], gradient
  )


def test_a_nan_stays():
  for place in np.ndindex(2, 2):
    x = np.zeros((1, 2, 2, 1), np.float32)
    x[0, place[0], place[1]] = np.nan
    assert np.isnan(half_max(jnp.asarray(x))).all()
