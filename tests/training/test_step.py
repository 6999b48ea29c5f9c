"""The per-device step: D devices equal one, one compilation, donation."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from tripletjax import mined_triplet_loss
from tripletjax.data.augment import EXAMPLES, augment
from tripletjax.models import ConvNet
from tripletjax.training import parallel
from tripletjax.training.state import create_state
from tripletjax.training.step import make_train_step

KEY = jax.random.key(5)


def numbers(margin):
  return {"loss": {"margin": jnp.float32(margin)}}


def batch(seed=0):
  """16 pictures of 8 identities; one of them stands there twice."""
  rng = np.random.default_rng(seed)
  ids = np.arange(16, dtype=np.int32)
  ids[3] = ids[2]
  return {
    "image": rng.integers(0, 256, (16, 8, 8, 1)).astype(np.uint8),
    "label": np.arange(16, dtype=np.int32) // 2,
    "id": ids,
  }


# One of each kind of selection; `tests/losses/test_mined.py` has every miner on
# four devices.
CHOSEN = {"affine": EXAMPLES["affine"]}
MINERS = ["all", "all_easy", "batch_hard", "semi_hard", "random_semi_hard"]


@functools.cache
def step_on(count, miner="all", backend="pmap"):
  devices = parallel.local_devices()[:count]

  def loss_fn(embeddings, labels, *, step, **keywords):
    # By the hinge, easy triplets cost nothing and would test nothing.
    soft = miner == "all_easy"
    return mined_triplet_loss(
      embeddings, labels, miner=miner, soft=soft, **keywords
    )

  step = make_train_step(
    loss_fn,
    functools.partial(augment, chosen=CHOSEN),
    axis_name=parallel.AXIS,
  )
  return devices, parallel.data_parallel(
    step, devices, replicated=(2, 3), donate=(0,), backend=backend
  )


@functools.cache
def fresh_state(learning_rate=1.0):
  # SGD with a learning rate of 1: the step is the gradient.
  return create_state(
    ConvNet(features=(4, 8), dimension=4, axis_name=parallel.AXIS),
    optax.sgd(learning_rate),
    image_shape=(8, 8, 1),
    key=jax.random.key(0),
  )


def run(count, miner="all", steps=1, margin=0.5, state=None, backend="pmap"):
  devices, step = step_on(count, miner, backend)
  state = parallel.replicate(fresh_state() if state is None else state, devices)
  rows = []
  for i in range(steps):
    shards = parallel.shard(batch(i), count)
    state, metrics = step(state, shards, KEY, numbers(margin))
    rows.append(parallel.first(metrics))
  return parallel.first(state), rows


FAST = [
  (8, "pmap", "all"),
  (1, "shard_map", "all"),
  (2, "shard_map", "batch_hard"),
  (4, "shard_map", "semi_hard"),
  (8, "shard_map", "random_semi_hard"),
]
SLOW = [
  case
  for case in itertools.product((2, 4, 8), parallel.BACKENDS, MINERS)
  if case not in FAST
]


@pytest.mark.parametrize(
  ("count", "backend", "miner"),
  [*FAST, *(pytest.param(*case, marks=pytest.mark.slow) for case in SLOW)],
)
def test_devices_equal_one_at_every_step_of_a_training(count, backend, miner):
  state = fresh_state()
  for i in range(5):
    results = []
    for devices, step in (
      step_on(1, miner),
      step_on(count, miner, backend),
    ):
      count = len(devices)
      results.append(
        parallel.first(
          step(
            parallel.replicate(state, devices),
            parallel.shard(batch(i), count),
            KEY,
            numbers(0.5),
          )
        )
      )
    (state, expected), (shared, metrics) = results
    assert expected["loss"] > 0
    for name, value in expected.items():
      np.testing.assert_allclose(
        metrics[name], value, rtol=1e-5, atol=1e-6, err_msg=name
      )
    # The learning rate is 1: parameters move by the gradient.
    jax.tree.map(
      lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5),
      (shared.params, shared.batch_stats),
      (state.params, state.batch_stats),
    )


def test_the_step_moves_by_the_gradient_of_the_mean_over_the_whole_batch():
  # Against plain autodiff on one device: no axis, no augmentation, no pmap.
  step = make_train_step(
    mined_triplet_loss_all,
    lambda images, *keys: images,
    axis_name=parallel.AXIS,
  )
  devices = parallel.local_devices()[:4]
  state = fresh_state()
  images = jnp.asarray(batch()["image"]).astype(jnp.float32) / 255
  plain = ConvNet(features=(4, 8), dimension=4)

  def loss(params):
    embeddings, _ = plain.apply(
      {"params": params, "batch_stats": state.batch_stats},
      images,
      train=True,
      mutable=["batch_stats"],
    )
    return mined_triplet_loss(
      embeddings,
      batch()["label"],
      ids=batch()["id"],
      miner="all",
      margin=jnp.float32(0.5),
    )[0]

  expected = jax.jit(jax.grad(loss))(state.params)
  before = jax.tree.map(np.asarray, state.params)
  after, _ = parallel.data_parallel(step, devices, replicated=(2, 3))(
    parallel.replicate(state, devices),
    parallel.shard(batch(), 4),
    KEY,
    numbers(0.5),
  )
  jax.tree.map(
    lambda old, new, gradient: np.testing.assert_allclose(
      old - new, gradient, rtol=1e-4, atol=1e-5
    ),
    before,
    parallel.first(after.params),
    expected,
  )


def mined_triplet_loss_all(*arguments, step, **keywords):
  del step
  return mined_triplet_loss(*arguments, miner="all", **keywords)


@pytest.mark.parametrize("backend", parallel.BACKENDS)
def test_one_compilation_serves_all_steps_and_every_margin(backend):
  compilations = []

  def listen(event, duration, **_):
    if "backend_compile" in event:
      compilations.append((event, duration))

  run(2, backend=backend)
  jax.monitoring.register_event_duration_secs_listener(listen)
  try:
    for margin in (0.1, 0.2, 0.4):
      run(2, steps=2, margin=margin, backend=backend)
    assert compilations == []
    jax.jit(lambda x: x + jnp.float32(0.123))(1.0)  # the listener does listen
    assert compilations
  finally:
    jax.monitoring.clear_event_listeners()


@pytest.mark.parametrize("backend", parallel.BACKENDS)
def test_the_state_is_donated(backend):
  devices, step = step_on(2, "all", backend)
  state = parallel.replicate(fresh_state(), devices)
  leaf = jax.tree.leaves(state.params)[0]
  step(state, parallel.shard(batch(), 2), KEY, numbers(0.2))
  assert leaf.is_deleted()


def test_the_step_draws_by_its_number_and_the_base_key():
  _, first = run(1, "random_semi_hard", steps=2)
  _, again = run(1, "random_semi_hard", steps=2)
  assert [row["loss"] for row in first] == [row["loss"] for row in again]
  same_batch = fresh_state(learning_rate=0.0)
  _, rows = run(1, "all", state=same_batch)
  later = same_batch.replace(step=same_batch.step + 1)
  _, later_rows = run(1, "all", state=later)
  assert rows[0]["loss"] != later_rows[0]["loss"]  # other augmentations


def test_a_nan_in_the_weights_is_a_nan_in_the_loss():
  state = fresh_state()
  state = state.replace(params=jax.tree.map(lambda x: x * np.nan, state.params))
  _, (metrics,) = run(1, "semi_hard", state=state)
  assert np.isnan(metrics["loss"])
