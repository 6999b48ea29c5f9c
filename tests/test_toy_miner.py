"""Adding a miner: a function, a line in MINERS, an oracle; the rest follows."""

import jax.numpy as jnp
import numpy as np
import pytest

from tests import reference, test_miners
from tests.losses import test_mined
from tripletjax import MINERS
from tripletjax.benchmark.cases import known_losses
from tripletjax.folds import first_smallest
from tripletjax.training import objective
from tripletjax.types import EachPositive


def farthest_negative(
  distances, positive_mask, negative_mask, *, margin, key=None
):
  """For each positive pair the anchor's farthest negative."""
  farthest, found = first_smallest(
    jnp.where(negative_mask, -distances, jnp.nan)
  )
  return EachPositive(
    lambda slots: (
      jnp.broadcast_to(farthest[:, None], slots.column.shape),
      jnp.broadcast_to(found[:, None], slots.column.shape),
    )
  )


def oracle(d, positive, negative, margin, points=None):
  groups = []
  for a, p in reference.pairs(positive):
    negatives = np.flatnonzero(negative[a])
    if len(negatives):
      far = min(negatives, key=lambda n: (-d[a, n], n))
      groups.append([(a, p, int(far))])
  return groups


@pytest.fixture(autouse=True)
def toy(monkeypatch):
  monkeypatch.setitem(MINERS, "toy", farthest_negative)
  monkeypatch.setitem(reference.MINERS, "toy", oracle)


def four_devices_equal_one(miner):
  test_mined.test_four_devices_equal_one_in_value_gradient_and_counts(
    miner, "pmap"
  )


@pytest.mark.parametrize(
  "law",
  [
    test_miners.test_a_row_depends_on_nothing_but_itself,
    test_miners.test_masking_equals_deletion,
    test_miners.test_the_order_of_the_batch_changes_nothing,
    test_miners.test_nothing_is_selected_where_nothing_is_valid,
    test_miners.test_jit_equals_eager,
    test_miners.test_vmap_equals_a_loop_over_batches_margins_and_keys,
    test_miners.test_a_listing_is_what_is_selected,
    test_mined.test_equals_the_slow_oracle,
    test_mined.test_gradient_equals_finite_differences,
    test_mined.test_a_nan_that_is_not_padding_is_never_hidden,
    four_devices_equal_one,
  ],
  ids=lambda law: law.__name__,
)
def test_the_laws_hold_for_it(law):
  law("toy")


def test_it_equals_its_oracle():
  test_miners.test_equals_the_slow_oracle("toy", 0)


def test_blocks_of_it_equal_the_whole(monkeypatch):
  test_mined.test_blocks_of_rows_equal_the_whole("toy", monkeypatch)


def test_the_config_and_the_benchmark_know_it():
  assert "toy" in objective.CHOICES["loss.miner"]
  assert "toy" in known_losses()
