"""Every dialect against a slow oracle, and what the dialects differ in."""

import functools
import itertools
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests import dialects_oracle as oracle
from tests.test_commands import command
from tripletjax import DIALECTS, mined_triplet_loss

# Identities of 4 and of different sizes; the last two with single images.
LABELS = (
  np.repeat(np.arange(3), 4),
  np.array([0, 1, 1, 0, 2, 0, 1, 0, 3, 0, 1, 0]),
  np.array([4, 0, 0, 1, 0, 2, 2, 0, 2, 0, 2, 3]),
)
DRAWS = 4000


def batch(number):
  rng = np.random.default_rng(number)
  x = rng.normal(size=(12, 5)).astype(np.float32) / 2
  return x, LABELS[number % len(LABELS)].astype(np.int32)


@functools.cache
def evaluate(name):
  """Value, counts and gradient of a dialect, by embeddings, labels, margin."""

  def loss_fn(x, labels, margin, key):
    dialect = {**DIALECTS[name], "margin": margin}
    loss, stats = mined_triplet_loss(x, labels, key=key, **dialect)
    return loss, (stats["selected_triplets"], stats["active_triplets"])

  value_and_gradient = jax.value_and_grad(loss_fn, has_aux=True)
  if name in oracle.DRAWN:
    value_and_gradient = jax.vmap(value_and_gradient, (None, None, None, 0))
  # Compiled once and run three times: the compiler needn't try hard.
  return jax.jit(
    value_and_gradient,
    compiler_options={"xla_backend_optimization_level": 0},
  )


def ours(name, x, labels, *, margin=None, key=None):
  margin = DIALECTS[name]["margin"] if margin is None else margin
  arguments = (jnp.asarray(x), labels, jnp.float32(margin), key)
  return jax.device_get(evaluate(name)(*arguments))


def costs_nothing_without_a_triplet(name, key=None):
  x, _ = batch(0)
  one_identity = np.zeros(len(x), np.int32)
  (value, counts), gradient = ours(name, x, one_identity, key=key)
  return not (np.any(value) or np.any(counts) or np.any(gradient))


def test_every_dialect_has_an_oracle():
  assert {*oracle.FIXED, *oracle.DRAWN} == {*DIALECTS}


@pytest.mark.parametrize("name", oracle.FIXED)
def test_a_dialect_equals_its_oracle(name):
  for number in range(3):
    x, labels = batch(number)
    (value, counts), gradient = ours(name, x, labels)
    exact = x.astype(np.float64)
    expected = oracle.FIXED[name](exact, labels)
    np.testing.assert_allclose(value, expected.value, rtol=1e-5, atol=1e-6)
    assert counts == (expected.selected, expected.active)
    slopes = oracle.gradient(oracle.FIXED[name], exact, labels)
    np.testing.assert_allclose(gradient, slopes, rtol=1e-4, atol=1e-5)
  assert costs_nothing_without_a_triplet(name)


@pytest.mark.parametrize("name", oracle.DRAWN)
def test_a_dialect_draws_what_its_oracle_says(name):
  keys = jax.random.split(jax.random.key(1), DRAWS)
  for number in range(3):
    x, labels = batch(number)
    (values, (selected, _)), gradients = ours(name, x, labels, key=keys)
    draw = oracle.DRAWN[name](x.astype(np.float64), labels)
    assert len(draw.losses) > 1
    np.testing.assert_array_equal(selected, len(draw.losses))
    low, high = draw.bounds()
    assert np.all((low - 1e-5 <= values) & (values <= high + 1e-5))
    error = np.std(values, ddof=1) / np.sqrt(DRAWS)
    assert error > 0
    assert abs(np.mean(values) - draw.expected()) <= 4 * error
    assert np.isfinite(gradients).all()
  assert costs_nothing_without_a_triplet(name, keys)


@pytest.mark.parametrize("name", oracle.DRAWN)
def test_a_dialect_that_draws_asks_for_a_key(name):
  x, labels = batch(0)
  with pytest.raises(ValueError, match="expected key"):
    jax.eval_shape(lambda x: mined_triplet_loss(x, labels, **DIALECTS[name]), x)


def on_the_sphere(number):
  x, labels = batch(number)
  return oracle.on_the_sphere(x).astype(np.float32), labels


def test_semi_hard_is_not_one_thing():
  # On the unit sphere and with one margin they differ by the mining alone.
  x, labels = on_the_sphere(1)
  value = {
    name: float(ours(name, x, labels, margin=0.2)[0][0])
    for name in (
      "tfa_semi_hard",
      "sentence_transformers_semi_hard",
      "pml_semi_hard",
      "pml_batch_easy_hard",
    )
  }
  assert value.pop("sentence_transformers_semi_hard") == value["tfa_semi_hard"]
  for less, more in itertools.pairwise(sorted(value.values())):
    assert more > 1.1 * less, value


def test_batch_hard_differs_in_whom_it_counts():
  # Two of twelve have an identity of their own: anchors with ap = 0, or none.
  x, labels = on_the_sphere(1)
  (all_anchors, (counted, _)), _ = ours("tfa_hard", x, labels, margin=0.2)
  (of_active, (dropped, _)), _ = ours("pml_batch_hard", x, labels, margin=0.2)
  assert (counted, dropped) == (12, 10)
  assert abs(all_anchors - of_active) > 0.05


@pytest.mark.parametrize("name", DIALECTS)
def test_a_dialect_can_be_pickled(name):
  restored = pickle.loads(pickle.dumps(dict(DIALECTS[name])))
  assert restored.keys() == DIALECTS[name].keys()


def test_the_command_prints_every_dialect():
  result = command("agreement", "--identities=4", "--images=3", "--nopeers")
  assert result.returncode == 0, result.stderr
  for name in DIALECTS:
    assert f"| {name} " in result.stdout
  assert "4 identities x 3, 16 dimensions, seed 0" in result.stdout


def test_a_mistake_is_one_line_and_exit_code_2():
  result = command("agreement", "--identities=1")
  assert result.returncode == 2
  assert result.stderr.count("\n") == 1, result.stderr
  assert "identities" in result.stderr
