"""Optimizers, schedules, clipping, accumulation and averages: by arithmetic."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from configs import digits
from tripletjax import UserError
from tripletjax.models import ConvNet
from tripletjax.training import objective
from tripletjax.training.optimizer import (
  OPTIMIZERS,
  SCHEDULES,
  make_optimizer,
  make_schedule,
)
from tripletjax.training.state import create_state, evaluated, with_average


@pytest.fixture(autouse=True)
def standard_promotion():
  # Optax's schedules multiply an int32 step.
  with jax.numpy_dtype_promotion("standard"):
    yield


def config(**fields):
  made = digits.get_config("smoke")
  made.optimizer.update(fields)
  objective.check_config(made)
  return made


def optimizer(total=100, warmup=0, **fields):
  return make_optimizer(
    config(**fields), total_steps=total, warmup_steps=warmup
  )


def plain_sgd(**fields):
  start = {
    "name": "sgd",
    "momentum": 0.0,
    "weight_decay": 0.0,
    "schedule": "constant",
    "learning_rate": 1.0,
  }
  return optimizer(**{**start, **fields})


def walk(optimizer, gradients, start):
  """All parameters that gradients lead to, the start among them."""
  params, state = start, optimizer.init(start)
  found = [start]
  for gradient in gradients:
    updates, state = optimizer.update(gradient, state, params)
    params = optax.apply_updates(params, updates)
    found.append(params)
  return np.array(found)


def test_the_default_is_adamw_with_warm_up_and_cosine_decay_bit_for_bit():
  rng = np.random.default_rng(0)
  gradients = [jnp.asarray(x) for x in rng.normal(size=(6, 3)).astype("f4")]
  start = jnp.array([1.0, -2.0, 3.0])
  schedule = optax.warmup_cosine_decay_schedule(0.0, 4e-3, 2, 6)
  np.testing.assert_array_equal(
    walk(optimizer(total=6, warmup=2), gradients, start),
    walk(optax.adamw(schedule, eps=1e-8, weight_decay=1e-4), gradients, start),
  )


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_comes_down_a_bowl(name):
  rate = {"adagrad": 0.3, "lars": 10.0}.get(name, 0.03)
  made = optimizer(name=name, learning_rate=rate, total=200, weight_decay=0.0)
  start = jnp.array([1.0, -2.0])

  def step(carry, _):
    params, state = carry
    updates, state = made.update(2 * params, state, params)
    return (optax.apply_updates(params, updates), state), None

  (end, _), _ = jax.lax.scan(step, (start, made.init(start)), length=200)
  assert float(jnp.sum(end**2)) < 0.05 * float(jnp.sum(start**2))


@pytest.mark.parametrize(
  ("name", "half_way", "at_end"),
  [
    ("constant", 2.0, 2.0),
    ("linear", 1.1, 0.2),
    ("cosine", 1.1, 0.2),
    ("exponential", 2.0 * 0.1**0.5, 0.2),
  ],
)
def test_a_schedule_warms_up_and_comes_to_its_end(name, half_way, at_end):
  made = config(schedule=name, learning_rate=2.0, end=0.1)
  rate = make_schedule(made, total_steps=50, warmup_steps=10)
  found = [float(rate(step)) for step in (0, 5, 10, 30, 50, 60)]
  expected = [0, 1, 2, half_way, at_end, at_end]
  np.testing.assert_allclose(found, expected, rtol=1e-5)


@pytest.mark.parametrize(
  ("name", "expected"),
  [
    # From step 30 on 20 steps are left, of which 10 are half.
    ("constant", [1, 2, 2, 2, 2, 2]),
    ("linear", [1, 2, 2, 1.1, 0.2, 0.2]),
    ("exponential", [1, 2, 2, 2 * 0.1**0.5, 0.2, 0.2]),
    ("cosine", [1, 2, 2, 1.1, 0.2, 0.2]),
  ],
)
def test_the_peak_is_kept_until_the_decay_begins(name, expected):
  made = config(schedule=name, learning_rate=2.0, end=0.1)
  rate = make_schedule(made, total_steps=50, warmup_steps=10, decay_start=30)
  found = [float(rate(step)) for step in (5, 10, 29, 40, 50, 60)]
  if name in ("linear", "exponential", "cosine"):
    assert float(rate(31)) < 2
  np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_a_decay_does_not_begin_before_the_warm_up_is_over():
  made = config(schedule="linear", learning_rate=2.0)
  rate = make_schedule(made, total_steps=50, warmup_steps=10, decay_start=5)
  np.testing.assert_allclose([float(rate(s)) for s in (5, 10, 30)], [1, 2, 1])


def test_a_staircase_has_stairs_of_one_length():
  # Wu et al.: halved after 12, 14, 16 and 18 of 20 epochs, here of 5 steps.
  made = config(schedule="staircase", learning_rate=1.0, end=0.5**4, drops=4)
  rate = make_schedule(made, total_steps=100, warmup_steps=0, decay_start=50)
  found = [float(rate(step)) for step in (0, 59, 60, 69, 70, 80, 90, 99, 150)]
  halvings = [0, 0, 1, 1, 2, 3, 4, 4, 4]
  np.testing.assert_allclose(found, 0.5 ** np.array(halvings), rtol=1e-5)


def test_a_staircase_of_more_drops_than_steps_comes_to_its_end():
  made = config(schedule="staircase", learning_rate=1.0, end=0.01, drops=9)
  rate = make_schedule(made, total_steps=3, warmup_steps=0)
  np.testing.assert_allclose(float(rate(3)), 0.01, rtol=1e-5)


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_schedule_without_warm_up_begins_at_the_peak(name):
  made = config(schedule=name, learning_rate=2.0, end=0.5)
  rate = make_schedule(made, total_steps=50, warmup_steps=0)
  np.testing.assert_allclose(float(rate(0)), 2.0, rtol=1e-6)


def test_sgd_and_its_weight_decay_and_momentum():
  start = jnp.array([1.0, -2.0])
  gradient = jnp.array([0.5, 0.25])
  found = walk(plain_sgd(weight_decay=0.1), [gradient], start)
  np.testing.assert_allclose(found[1], [1 - 0.6, -2 - 0.05], rtol=1e-6)
  found = walk(plain_sgd(momentum=0.5), [gradient, gradient], start)
  np.testing.assert_allclose(found[2], [1 - 1.25, -2 - 0.625], rtol=1e-6)


def test_a_long_gradient_is_clipped_and_a_short_one_is_not():
  gradients = [jnp.array([3.0, 4.0]), jnp.array([0.3, 0.4])]
  found = walk(plain_sgd(clip=1.0), gradients, jnp.zeros(2))
  np.testing.assert_allclose(found[1:], [[-0.6, -0.8], [-0.9, -1.2]], rtol=1e-6)


def test_accumulated_gradients_are_averaged_clipped_and_counted_in_steps():
  gradients = [jnp.array([x]) for x in (1.0, 3.0, 2.0, 6.0)]
  found = walk(plain_sgd(accumulate=2), gradients, jnp.zeros(1))
  np.testing.assert_allclose(found[:, 0], [0, 0, -2, -2, -6], rtol=1e-6)
  # The mean is clipped, not each: (1 + 3) / 2 -> 1.5.
  found = walk(plain_sgd(accumulate=2, clip=1.5), gradients[:2], jnp.zeros(1))
  np.testing.assert_allclose(found[:, 0], [0, 0, -1.5], rtol=1e-6)
  # The second update is at step 2 of 4: half of the rate.
  falling = plain_sgd(accumulate=2, schedule="linear", total=4)
  found = walk(falling, gradients, jnp.zeros(1))
  np.testing.assert_allclose(found[:, 0], [0, 0, -2, -2, -4], rtol=1e-6)


@pytest.mark.parametrize("decay", [0.5, 0.999])
def test_the_average_weighs_each_step_by_its_age(decay):
  state = create_state(
    ConvNet(features=(4,), dimension=2),
    optax.identity(),
    image_shape=(4, 4, 1),
    key=jax.random.key(0),
    averaged=True,
  )
  step = jax.jit(lambda state: with_average(state, decay))
  seen = []
  for number in range(1, 5):
    state = state.replace(
      step=number,
      params=jax.tree.map(lambda x: x + 1.0, state.params),
      batch_stats=jax.tree.map(lambda x: x * 2.0, state.batch_stats),
    )
    state = step(state)
    seen.append(jax.tree.map(np.asarray, (state.params, state.batch_stats)))
  weights = [decay**age for age in (3, 2, 1, 0)]

  def expected(*values):
    pairs = zip(weights, values, strict=True)
    return sum(w * x for w, x in pairs) / sum(weights)

  found = evaluated(state)
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5),
    (found["params"], found["batch_stats"]),
    jax.tree.map(expected, *seen),
  )


def test_without_an_average_the_weights_are_as_they_are():
  state = create_state(
    ConvNet(features=(4,), dimension=2),
    optax.identity(),
    image_shape=(4, 4, 1),
    key=jax.random.key(0),
  )
  assert with_average(state, 0.0) is state
  assert evaluated(state)["params"] is state.params


@pytest.mark.parametrize(
  ("fields", "message"),
  [
    ({"name": "adm"}, "optimizer.name: expected one of adamw, nadamw"),
    ({"schedule": "step"}, "optimizer.schedule: expected one of cosine"),
    ({"momentum": 1.0}, "optimizer.momentum: expected 0 or more and less"),
    ({"beta2": -0.1}, "optimizer.beta2: expected 0 or more and less"),
    ({"ema": 1.0}, "optimizer.ema: expected 0 or more and less than 1"),
    ({"accumulate": 0}, "optimizer.accumulate: expected 1 batch or more"),
    ({"clip": -1.0}, "optimizer.clip: expected 0 or more"),
    ({"end": 1.5}, "optimizer.end: expected 0 to 1"),
    ({"schedule": "exponential"}, "optimizer.end: expected more than 0"),
    ({"schedule": "staircase"}, "optimizer.end: expected more than 0"),
    ({"drops": 0}, "optimizer.drops: expected 1 drop or more, got 0"),
  ],
)
def test_what_cannot_be_right_is_named(fields, message):
  with pytest.raises(UserError, match=message):
    config(**fields)
