"""Names to functions: the curriculum, the moving margin, the other losses."""

import importlib
import inspect

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from tests import batches
from tripletjax import LOSSES, mined_triplet_loss
from tripletjax.errors import UserError
from tripletjax.training import objective, parallel
from tripletjax.training.network import make_model
from tripletjax.training.state import create_state
from tripletjax.training.step import make_train_step

EMBEDDINGS, LABELS = batches.random_batch(0)


def config(**loss):
  made = importlib.import_module("configs.digits").get_config("smoke")
  made.loss.update(loss)
  return made


def evaluate(step, next_after=10, margin_steps=100, **loss):
  made = config(**loss)
  objective.check_config(made)
  loss_fn = objective.make_loss(
    made, next_after=next_after, margin_steps=margin_steps
  )
  return jax.jit(
    lambda step: loss_fn(
      jnp.asarray(EMBEDDINGS),
      LABELS,
      margin=jnp.float32(made.loss.margin),
      step=step,
      key=jax.random.key(0),
    )
  )(jnp.int32(step))


def direct(**keywords):
  return mined_triplet_loss(jnp.asarray(EMBEDDINGS), LABELS, **keywords)


@pytest.fixture(autouse=True)
def standard_promotion():
  # Optax's schedules multiply an int32 step.
  with jax.numpy_dtype_promotion("standard"):
    yield


def test_a_curriculum_changes_the_miner_at_its_step():
  names = {"miner": "semi_hard", "next_miner": "batch_hard", "margin": 0.8}
  for step, miner in ((9, "semi_hard"), (10, "batch_hard")):
    loss, _ = evaluate(step, **names)
    expected, _ = direct(miner=miner, margin=0.8)
    np.testing.assert_allclose(loss, expected, rtol=1e-5)


@pytest.mark.parametrize(
  ("schedule", "half_way"),
  [
    pytest.param("linear", 0.6, marks=pytest.mark.slow),
    ("exponential", 0.2**0.5),
  ],
)
def test_the_margin_moves(schedule, half_way):
  for step, margin in ((0, 0.2), (50, half_way), (100, 1.0), (200, 1.0)):
    loss, _ = evaluate(
      step,
      miner="all",
      margin=0.2,
      margin_end=1.0,
      margin_schedule=schedule,
    )
    expected, _ = direct(miner="all", margin=margin)
    np.testing.assert_allclose(loss, expected, rtol=1e-5)


def test_a_cap_is_per_anchor():
  _, found = evaluate(0, miner="all", triplets_per_anchor=2)
  assert found["selected_triplets"] <= 24


@pytest.mark.parametrize("name", LOSSES)
def test_every_loss_is_a_choice(name):
  loss, found = evaluate(0, name=name)
  assert np.isfinite(loss)
  assert found["valid_triplets"] > 0


def test_the_margin_moves_with_the_margin_unless_it_is_given():
  made = config()
  made.loss.margin = 0.5
  assert made.loss.margin_end == 0.5
  made.loss.margin_end = 0.7
  assert made.loss.margin == 0.5


@pytest.mark.parametrize(
  ("loss", "message"),
  [
    ({"name": "arcface"}, "loss.name: expected one of triplet, contrastive"),
    ({"next_miner": "hardest"}, 'loss.next_miner: expected "" or one of all'),
    ({"miner": "distance_weighted"}, "loss.distance: expected euclidean"),
    ({"margin_schedule": "step"}, "expected one of linear, exponential"),
    ({"margin": 0.0, "margin_end": 0.5}, "margins above 0 to move between"),
    ({"triplets_per_anchor": -1}, "triplets_per_anchor: expected 0 or more"),
  ],
)
def test_what_cannot_be_right_is_named(loss, message):
  with pytest.raises(UserError, match=message):
    objective.check_config(config(**loss))


def test_beta_of_the_margin_loss_is_learned():
  made = config(name="margin", beta=0.7)
  state = create_state(
    make_model(made, axis_name=parallel.AXIS),
    optax.sgd(1.0),
    image_shape=(8, 8, 1),
    key=jax.random.key(0),
    loss_parameters=objective.loss_parameters(made),
  )
  assert state.params["loss"] == {"beta": jnp.float32(0.7)}
  step = make_train_step(
    objective.make_loss(made, next_after=0, margin_steps=1),
    lambda images, *keys: images,
    axis_name=parallel.AXIS,
  )
  rng = np.random.default_rng(0)
  batch = {
    "image": rng.integers(0, 256, (8, 8, 8, 1)).astype(np.uint8),
    "label": np.arange(8, dtype=np.int32) // 2,
    "id": np.arange(8, dtype=np.int32),
  }
  results = []
  for count in (1, 2):
    devices = parallel.local_devices()[:count]
    after, metrics = parallel.data_parallel(
      step, devices, replicated=(2, 3), donate=()
    )(
      parallel.replicate(state, devices),
      parallel.shard(batch, count),
      jax.random.key(1),
      {"loss": {"margin": jnp.float32(0.2)}},
    )
    results.append(float(parallel.first(after).params["loss"]["beta"]))
    assert parallel.first(metrics)["beta"] == np.float32(0.7)
  assert abs(results[0] - 0.7) > 1e-3
  np.testing.assert_allclose(results[0], results[1], rtol=1e-5)


OWN = {
  "contrastive": {"positive_margin": 0.3},
  "multi_similarity": {"alpha": 3.0, "beta": 20.0, "base": 0.2},
  "nt_xent": {"temperature": 0.4},
  "sup_con": {"temperature": 0.3},
  "circle": {"gamma": 30.0},
}


@pytest.mark.parametrize("name", OWN)
def test_a_loss_gets_its_own_parameters(name):
  loss, _ = evaluate(0, name=name, distance="cosine", **{name: OWN[name]})
  keywords = {"distance": "cosine", "reduction": config().loss.reduction}
  if "margin" in inspect.signature(LOSSES[name]).parameters:
    keywords["margin"] = config().loss.margin
  embeddings = jnp.asarray(EMBEDDINGS)
  expected, _ = LOSSES[name](embeddings, LABELS, **keywords, **OWN[name])
  np.testing.assert_allclose(loss, expected, rtol=1e-5)
  usual, _ = LOSSES[name](embeddings, LABELS, **keywords)
  assert abs(float(usual) - float(loss)) > 1e-4


@pytest.mark.parametrize("name", LOSSES)
def test_configs_hold_the_defaults_of_each_loss(name):
  own = config().loss.get(name)
  held = own.to_dict() if hasattr(own, "to_dict") else {}
  assert held.keys() == OWN.get(name, {}).keys()
  parameters = inspect.signature(LOSSES[name]).parameters
  assert held == {field: parameters[field].default for field in held}


@pytest.mark.parametrize(
  ("field", "value", "message"),
  [
    ("name", "circle", "loss.name: expected one of triplet with parallel.ref"),
    ("miner", "random", "loss.miner: expected one of all, .* got 'random'"),
    ("next_miner", "all", "parallel.references: a ring takes one miner"),
    ("triplets_per_anchor", 2, "parallel.references: a ring takes one miner"),
  ],
)
def test_a_ring_names_what_it_can(field, value, message):
  made = config()
  made.parallel.references = "ring"
  objective.check_config(made)
  made.loss[field] = value
  with pytest.raises(UserError, match=message):
    objective.check_config(made)


def test_a_ring_takes_no_memory():
  made = config()
  made.parallel.references = "ring"
  made.memory.size = 80
  with pytest.raises(UserError, match=r"expected gather beside memory\.size"):
    objective.check_config(made)


def test_a_ring_is_a_config_field():
  made = config(miner="semi_hard")

  def on_devices(references):
    made.parallel.references = references
    objective.check_config(made)
    loss_fn = objective.make_loss(made, next_after=1, margin_steps=1)

    def step(embeddings, labels):
      return loss_fn(
        embeddings,
        labels,
        margin=jnp.float32(0.8),
        step=jnp.int32(0),
        key=jax.random.key(0),
        axis_name=parallel.AXIS,
      )

    run = parallel.data_parallel(step, parallel.local_devices()[:2])
    return run.lower(
      *parallel.shard((jnp.asarray(EMBEDDINGS), jnp.asarray(LABELS)), 2)
    ).as_text()

  assert "all_gather" in on_devices("gather")
  assert "collective_permute" in on_devices("ring")
