"""Every miner and loss with a cross-batch memory: D devices equal one."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from configs import digits
from tripletjax import LOSSES, MINERS
from tripletjax.models import ConvNet
from tripletjax.training import objective, parallel
from tripletjax.training.state import create_state
from tripletjax.training.step import make_train_step

RATE = 0.05
SIZE = 20  # of the memory: no multiple of a batch of 16
KEY = jax.random.key(7)


@pytest.fixture(autouse=True)
def standard_promotion():
  # Optax's schedules multiply an int32 step.
  with jax.numpy_dtype_promotion("standard"):
    yield


@pytest.fixture(autouse=True)
def few_programs():
  yield
  jax.clear_caches()


def batch(seed):
  """16 pictures of 4 identities, of 8 that there are: ids come again."""
  rng = np.random.default_rng(seed)
  identities = np.sort(rng.permutation(8)[:4])
  ids = identities[:, None] * 5 + np.stack(
    [np.sort(rng.permutation(5)[:4]) for _ in identities]
  )
  return {
    "image": rng.integers(0, 256, (16, 8, 8, 1)).astype(np.uint8),
    "label": np.repeat(identities, 4).astype(np.int32),
    "id": ids.reshape(-1).astype(np.int32),
  }


def config_of(loss, miner):
  config = digits.get_config("smoke")
  config.loss.update(name=loss, miner=miner)
  # By the hinge, easy triplets cost nothing and would test nothing.
  config.loss.update(margin=0.5, soft=True, distance="euclidean")
  # It multiplies rounding errors: with 256 gradients differ by 1.3e-4, with 16
  # by 1.6e-5.
  config.loss.circle.gamma = 4.0
  return config


def step_on(config, count, chunk=0):
  step = make_train_step(
    objective.make_loss(config, next_after=0, margin_steps=1),
    lambda images, *keys: images,
    axis_name=parallel.AXIS,
    chunk=chunk,
  )
  devices = parallel.local_devices()[:count]
  run = parallel.data_parallel(step, devices, replicated=(2, 3))

  def move(state, seed):
    return parallel.first(
      run(
        parallel.replicate(state, devices),
        parallel.shard(batch(seed), count),
        KEY,
        {"loss": {"margin": jnp.float32(0.5)}},
      )
    )

  return move


def fresh_state(config, norm):
  # By SGD, so that the step is the gradient, and slowly: in a space that has
  # collapsed negatives are as near as each other, and rounding chooses.
  return create_state(
    ConvNet(features=(4,), dimension=4, norm=norm, axis_name=parallel.AXIS),
    optax.sgd(RATE),
    image_shape=(8, 8, 1),
    key=jax.random.key(0),
    loss_parameters=objective.loss_parameters(config),
    memory_shape=(SIZE, 4),
  )


# The entropy of all singular values, the smallest of which are rounding; and by
# rounding one of some thousand triplets is on the other side of a boundary.
SHARES = ("easy_share", "semi_hard_share", "hard_share", "active_share")
LOOSER = {"effective_rank": 1e-4, **dict.fromkeys(SHARES, 1e-3)}
CASES = [
  *(("triplet", miner) for miner in MINERS),
  *((loss, "all") for loss in LOSSES if loss != "triplet"),
]


@pytest.mark.slow
@pytest.mark.parametrize(
  ("loss", "miner", "norm", "count", "chunk"),
  [
    *(pytest.param(*case, "batch", 8, 0, id="-".join(case)) for case in CASES),
    *(
      pytest.param(*case, "group", 4, 2, id="-".join((*case, "in-chunks")))
      for case in CASES
      if "_positive_" not in case[1]  # one function, most of it above
    ),
  ],
)
def test_devices_with_a_memory_equal_one(loss, miner, norm, count, chunk):
  config = config_of(loss, miner)
  one, many = step_on(config, 1), step_on(config, count, chunk)
  state, costs = fresh_state(config, norm), []
  # From the same state each time: rounding grows over a training.
  for i in range(4):
    (after, expected), (shared, found) = one(state, i), many(state, i)
    for name, value in expected.items():
      np.testing.assert_allclose(
        found[name],
        value,
        rtol=LOOSER.get(name, 1e-5),
        atol=1e-5,
        err_msg=f"{name}, step {i}",
      )
    scale = max(1.0, float(expected["gradient_norm"]))
    for part, atol in (
      ("params", 1e-5 * RATE * scale),
      ("batch_stats", 1e-5 * RATE * scale),
      ("memory", 2e-6),
    ):
      jax.tree.map(
        functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=atol),
        getattr(shared, part),
        getattr(after, part),
      )
    costs.append(float(expected["gradient_norm"]))
    state = after
  assert max(costs) > 1e-3
  assert state.memory.filled == SIZE
