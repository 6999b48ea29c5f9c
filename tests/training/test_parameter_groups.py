"""Frozen groups, rates of groups, frozen BatchNorm: by arithmetic."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from configs import digits
from tripletjax import UserError, mined_triplet_loss
from tripletjax.models import ConvNet
from tripletjax.training import objective, parallel
from tripletjax.training.groups import check_groups, only_trained, parse_rates
from tripletjax.training.network import uses_batch
from tripletjax.training.optimizer import OPTIMIZERS, make_optimizer
from tripletjax.training.state import create_state
from tripletjax.training.step import make_train_step

PARAMS = {
  "Conv_0": {"kernel": jnp.array([1.0, -2.0])},
  "Dense_0": {"kernel": jnp.array([3.0]), "bias": jnp.array([0.5])},
}
GRADIENTS = jax.tree.map(lambda x: 0.1 * x + 0.2, PARAMS)


@pytest.fixture(autouse=True)
def standard_promotion():
  # Optax's schedules multiply an int32 step.
  with jax.numpy_dtype_promotion("standard"):
    yield


def config(**fields):
  made = digits.get_config("smoke")
  made.optimizer.update(
    {"schedule": "constant", "learning_rate": 0.1, **fields}
  )
  objective.check_config(made)
  return made


def walk(steps=3, **fields):
  """Parameters after some steps with the same gradients."""
  made = make_optimizer(config(**fields), total_steps=10, warmup_steps=0)
  params, state = PARAMS, made.init(PARAMS)
  for _ in range(steps):
    updates, state = made.update(GRADIENTS, state, params)
    params = optax.apply_updates(params, updates)
  return params, state


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_what_is_frozen_stays_and_the_rest_moves_as_it_did(name):
  fields = {"name": name, "weight_decay": 0.1}
  plain, _ = walk(**fields)
  frozen, state = walk(**fields, freeze="^Conv")
  np.testing.assert_array_equal(
    frozen["Conv_0"]["kernel"], PARAMS["Conv_0"]["kernel"]
  )
  assert not np.array_equal(plain["Conv_0"]["kernel"], [1.0, -2.0])
  for part in ("kernel", "bias"):
    np.testing.assert_array_equal(
      frozen["Dense_0"][part], plain["Dense_0"][part]
    )
  # No moments of what is frozen: nothing has the shape of its kernel.
  assert all(x.shape != (2,) for x in jax.tree.leaves(state))


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_factor_is_one_of_the_learning_rate(name):
  fields = {"name": name, "weight_decay": 0.1, "momentum": 0.5}
  found, _ = walk(2, **fields, rates="kernel=0.25, Dense=3")
  slow, _ = walk(2, **fields | {"learning_rate": 0.1 * 0.25})
  fast, _ = walk(2, **fields | {"learning_rate": 0.1 * 3})
  # Of two patterns the first counts.
  for other, path in (
    (slow, ("Conv_0", "kernel")),
    (slow, ("Dense_0", "kernel")),
    (fast, ("Dense_0", "bias")),
  ):
    ours, theirs, start = (x[path[0]][path[1]] for x in (found, other, PARAMS))
    # The weight decay of the second step sees what the first one did.
    np.testing.assert_allclose(ours, theirs, rtol=1e-5)
    assert np.abs(ours - start).max() > 1e-5


def test_sgd_by_arithmetic():
  fields = {"name": "sgd", "momentum": 0.0, "weight_decay": 0.0}
  found, _ = walk(steps=1, **fields, rates="bias=0.5")
  gradient = 0.1 * 0.5 + 0.2
  np.testing.assert_allclose(
    found["Dense_0"]["bias"], 0.5 - 0.5 * 0.1 * gradient, rtol=1e-6
  )
  np.testing.assert_allclose(
    found["Dense_0"]["kernel"], 3.0 - 0.1 * (0.1 * 3 + 0.2), rtol=1e-6
  )


def test_a_clip_does_not_see_what_is_frozen():
  # In the step the frozen gradients are zero before they get here.
  gradients = only_trained(GRADIENTS, "^Conv")
  np.testing.assert_array_equal(gradients["Conv_0"]["kernel"], 0)
  np.testing.assert_array_equal(
    gradients["Dense_0"]["bias"], GRADIENTS["Dense_0"]["bias"]
  )
  assert only_trained(GRADIENTS, "") is GRADIENTS


def batch():
  rng = np.random.default_rng(0)
  return {
    "image": rng.integers(0, 256, (16, 8, 8, 1)).astype(np.uint8),
    "label": np.arange(16, dtype=np.int32) // 4,
    "id": np.arange(16, dtype=np.int32),
  }


def loss_fn(embeddings, labels, *, step, **keywords):
  return mined_triplet_loss(
    embeddings, labels, miner="all", soft=True, **keywords
  )


def trained(model, *, steps=2, count=1, chunk=0, ema=0.0, **fields):
  """The state before and after, and the last numbers."""
  made = config(name="adamw", **fields)
  optimizer_fn = functools.partial(
    make_optimizer, made, total_steps=10, warmup_steps=0
  )
  state = create_state(
    model,
    optimizer_fn(),
    image_shape=(8, 8, 1),
    key=jax.random.key(0),
    averaged=ema > 0,
  )
  step = make_train_step(
    loss_fn,
    lambda images, *keys: images,
    axis_name=parallel.AXIS,
    chunk=chunk,
    ema=ema,
    norm_frozen=model.norm_frozen,
    freeze=fields.get("freeze", ""),
    optimizer_fn=optimizer_fn,
  )
  devices = parallel.local_devices()[:count]
  run = parallel.data_parallel(step, devices, replicated=(2, 3))
  after = parallel.replicate(state, devices)
  numbers = {
    "loss": {"margin": jnp.float32(0.5)},
    "optimizer": {
      "learning_rate": jnp.float32(0.1),
      "weight_decay": jnp.float32(0.1),
    },
  }
  for _ in range(steps):
    after, metrics = run(
      after, parallel.shard(batch(), count), jax.random.key(1), numbers
    )
  return state, *parallel.first((after, metrics))


def equal(found, expected):
  jax.tree.map(np.testing.assert_array_equal, found, expected)


def test_a_frozen_trunk_stays_in_a_training_bit_for_bit():
  model = ConvNet((4,), 3, axis_name=parallel.AXIS, norm_frozen=True)
  before, after, metrics = trained(
    model, freeze="Conv|BatchNorm", ema=0.9, accumulate=2
  )
  for name in ("Conv_0", "BatchNorm_0"):
    equal(after.params[name], before.params[name])
    equal(after.average["params"][name], before.params[name])
  equal(after.batch_stats, before.batch_stats)
  assert (
    np.abs(
      after.params["Dense_0"]["kernel"] - before.params["Dense_0"]["kernel"]
    ).max()
    > 1e-3
  )
  assert metrics["gradient_norm"] > 0


@functools.cache
def frozen_norm(**fields):
  model = ConvNet((4,), 3, axis_name=parallel.AXIS, norm_frozen=True)
  return trained(model, **fields)


@pytest.mark.parametrize(
  "fields",
  [
    {"count": 2, "chunk": 4},
    pytest.param({"chunk": 4}, marks=pytest.mark.slow),
    pytest.param({"count": 4}, marks=pytest.mark.slow),
  ],
  ids=str,
)
def test_frozen_batch_norm_may_be_trained_in_chunks_and_on_devices(fields):
  before, expected, _ = frozen_norm()
  _, found, _ = frozen_norm(**fields)
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4),
    found.params,
    expected.params,
  )
  moved = (
    expected.params["Conv_0"]["kernel"] - before.params["Conv_0"]["kernel"]
  )
  assert np.abs(moved).max() > 1e-3
  equal(found.batch_stats, before.batch_stats)


def test_gradients_of_what_is_frozen_are_not_computed():
  model = ConvNet((8, 8), 3, norm="group")
  variables = model.init(
    jax.random.key(0), jnp.zeros((1, 16, 16, 1)), train=False
  )

  def flops(freeze):
    def gradients(params, images):
      found = jax.grad(
        lambda p: jnp.sum(model.apply({"params": p}, images, train=True) ** 4)
      )(params)
      return only_trained(found, freeze)

    compiled = jax.jit(gradients).lower(
      variables["params"], jnp.zeros((4, 16, 16, 1))
    )
    return compiled.compile().cost_analysis()["flops"]

  # Forward and the head's alone, beside about three times as much.
  assert flops("Conv|GroupNorm") < 0.6 * flops("")


@pytest.mark.parametrize(
  ("fields", "said"),
  [
    ({"freeze": "("}, "optimizer.freeze: expected a regular expression, got '"),
    ({"rates": "stem"}, "optimizer.rates: expected factors above 0 such as "),
    ({"rates": "stem=x"}, "got 'stem=x'"),
    ({"rates": "stem=0"}, "got 'stem=0'"),
    ({"rates": "stem=nan"}, "got 'stem=nan'"),
    ({"rates": "=2"}, "got '=2'"),
    ({"rates": "a=1,a=2"}, "optimizer.rates: 'a' is there twice"),
    ({"rates": "[=1"}, "optimizer.rates: expected a regular expression"),
  ],
)
def test_what_cannot_be_right_is_named(fields, said):
  with pytest.raises(UserError) as caught:
    config(**fields)
  assert said in str(caught.value)


@pytest.mark.parametrize(
  ("fields", "said"),
  [
    (
      {"freeze": "stem"},
      "optimizer.freeze: 'stem' is in no parameter's path; ",
    ),
    (
      {"rates": "Conv=2, stem=2"},
      "optimizer.rates: 'stem' is in no parameter'",
    ),
    ({"freeze": "_0"}, "optimizer.freeze: '_0' is in every parameter's path"),
  ],
)
def test_a_group_of_none_is_refused(fields, said):
  with pytest.raises(UserError) as caught:
    check_groups(config(**fields), PARAMS)
  assert said in str(caught.value)
  check_groups(config(freeze="Conv", rates="Dense=2"), PARAMS)


def test_rates_are_read():
  assert parse_rates("") == {}
  assert parse_rates(r" ^a/b$=.5 ,(c|d)=2") == {"^a/b$": 0.5, "(c|d)": 2.0}
  # The last sign counts: a pattern may have others.
  assert parse_rates("(?=x)y=2") == {"(?=x)y": 2.0}


@pytest.mark.parametrize(
  ("name", "fields", "uses"),
  [
    ("convnet", {}, True),
    ("convnet", {"norm_frozen": True}, False),
    ("convnet", {"norm": "group"}, False),
    ("vit_s16", {}, False),
    ("vit_s16", {"head": "linear_norm"}, True),
  ],
)
def test_which_networks_need_the_whole_batch(name, fields, uses):
  made = config().model
  made.update({"name": name, **fields})
  assert uses_batch(made) is uses
