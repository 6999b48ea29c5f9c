"""Laws over every entry of `REDUCTIONS`."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests import reference
from tripletjax.reductions import REDUCTIONS, Totals, reduce_totals, total

NAMES = list(REDUCTIONS)
VALUES = np.array([0.5, 0.0, 2.0, 0.25, 0.0, 1.0], np.float32)
WHERE = np.array([True, True, False, True, True, True])


@pytest.mark.parametrize("name", NAMES)
def test_equals_the_slow_oracle(name):
  actual = reduce_totals(total(jnp.asarray(VALUES), jnp.asarray(WHERE)), name)
  np.testing.assert_allclose(
    actual,
    reference.reduce(
      VALUES[WHERE], name, pairs=WHERE.sum(), anchors=WHERE.sum()
    ),
  )


@pytest.mark.parametrize("name", NAMES)
def test_totals_of_the_parts_reduce_to_the_whole(name):
  parts = [total(jnp.asarray(part)) for part in (VALUES[:2], VALUES[2:])]
  added = Totals(*(a + b for a, b in zip(*parts, strict=True)))
  np.testing.assert_allclose(
    reduce_totals(added, name), reduce_totals(total(jnp.asarray(VALUES)), name)
  )


@pytest.mark.parametrize("name", NAMES)
def test_devices_reduce_to_the_whole(name):
  values = jnp.asarray(VALUES).reshape(2, 3)
  on_devices = jax.pmap(
    lambda v: reduce_totals(total(v), name, axis_name="devices"),
    axis_name="devices",
  )(values)
  np.testing.assert_allclose(
    on_devices, [reduce_totals(total(values), name)] * 2
  )


@pytest.mark.parametrize("name", NAMES)
def test_nothing_reduces_to_zero_with_a_zero_gradient(name):
  def loss(values):
    return reduce_totals(total(values, jnp.zeros(3, bool)), name)

  value, gradient = jax.value_and_grad(loss)(jnp.ones(3))
  assert value == 0
  assert gradient.tolist() == [0, 0, 0]


@pytest.mark.parametrize("name", NAMES)
def test_a_nan_is_hidden_only_where_it_is_masked(name):
  values = jnp.array([1.0, jnp.nan])
  assert jnp.isnan(reduce_totals(total(values), name))
  assert reduce_totals(total(values, jnp.array([True, False])), name) == 1


def test_an_unknown_name_lists_the_valid_ones():
  with pytest.raises(ValueError, match="none, sum, mean, mean_active"):
    reduce_totals(total(jnp.ones(2)), "median")
