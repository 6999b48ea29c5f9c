"""Conditions on the gap against conditions on the distance, float by float."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tripletjax.gaps import just_below, last_within

GAPS = [0.2, 0.0, 0.1, -0.3, 1.0, 1e-3, 7e-7, np.nextafter(np.float32(0.2), 0)]
found = jax.jit(last_within)


def distances(seed):
  """Of usual sizes, of all sizes, with ties, and such that sums cancel."""
  rng = np.random.default_rng(seed)
  return np.concatenate(
    [
      rng.uniform(-1, 4, 2000),
      rng.normal(size=2000) * 10.0 ** rng.integers(-6, 7, 2000),
      np.round(rng.uniform(0, 4, 500), 1),
      np.exp2(rng.integers(-9, 9, 500)),
      rng.uniform(-0.2001, -0.1999, 1000),
    ]
  ).astype(np.float32)


@pytest.mark.parametrize("gap", GAPS)
def test_it_is_within_and_the_next_distance_is_not(gap):
  near, gap = distances(int(1e7 * abs(gap))), np.float32(gap)
  last = np.asarray(found(near, gap))
  assert (last - near <= gap).all()
  beyond = np.nextafter(last, np.float32(np.inf))
  assert (beyond - near > gap).all()


def test_ends_of_the_numbers():
  largest = np.finfo(np.float32).max

  def last(near, gap):
    return float(found(jnp.float32(near), jnp.float32(gap)))

  assert last(0, np.inf) == np.inf
  assert last(largest, largest) == largest
  # From a positive at infinity every finite distance is nearer.
  assert last(np.inf, 0.2) == largest
  for near, gap in ((np.nan, 0.2), (0.5, np.nan), (-np.inf, 0.2)):
    assert np.isnan(last(near, gap))


def test_just_below():
  near = jnp.float32(0.25)
  below = just_below(0.25, near.dtype)
  assert below < near
  assert jnp.nextafter(below, jnp.inf) == near
  # Numbers that aren't normal may count as 0, which isn't below 0.
  assert just_below(0.0, near.dtype) == -jnp.finfo(jnp.float32).tiny
