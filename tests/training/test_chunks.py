"""Gradient caching: in chunks as in one go, on one device and on eight."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from configs import digits
from tests.emitters import NEW_EMITTERS
from tripletjax import LOSSES, MINERS, UserError
from tripletjax.data.augment import EXAMPLES, augment
from tripletjax.models import ConvNet
from tripletjax.training import objective, parallel
from tripletjax.training.chunks import batch_value_and_grad, check_chunk
from tripletjax.training.state import create_state
from tripletjax.training.step import make_train_step

KEY = jax.random.key(3)
CHOSEN = {
  "crop": {"crop": 2},
  "flip": {"flip": 0.5},
  "identity_affine": EXAMPLES["identity_affine"],
}


@pytest.fixture(autouse=True)
def standard_promotion():
  # Optax's schedules multiply an int32 step.
  with jax.numpy_dtype_promotion("standard"):
    yield


@pytest.fixture(autouse=True)
def few_programs(request):
  yield
  # A process holds so many compiled programs and no more (the kernel's limit of
  # memory maps): beyond, XLA crashes.
  if request.node.get_closest_marker("slow"):
    jax.clear_caches()


def batch():
  """16 pictures of 4 identities; one of them stands there twice."""
  rng = np.random.default_rng(0)
  ids = np.arange(16, dtype=np.int32)
  ids[3] = ids[2]
  return {
    "image": rng.integers(0, 256, (16, 8, 8, 1)).astype(np.uint8),
    "label": np.arange(16, dtype=np.int32) // 4,
    "id": ids,
  }


def loss_fn(loss="triplet", miner="all", next_miner="", references="gather"):
  config = digits.get_config("smoke")
  config.parallel.references = references
  config.loss.update(name=loss, miner=miner, next_miner=next_miner)
  # By the hinge, easy triplets cost nothing and would test nothing.
  config.loss.update(margin=0.5, soft=True, distance="euclidean")
  return config, objective.make_loss(config, next_after=0, margin_steps=1)


@functools.cache
def fresh_state(beta=None):
  # SGD with a learning rate of 1: the step is the gradient.
  return create_state(
    ConvNet(features=(4,), dimension=4, norm="group", dropout=0.3),
    optax.sgd(1.0),
    image_shape=(8, 8, 1),
    key=jax.random.key(0),
    loss_parameters=None if beta is None else {"beta": beta},
  )


def step_of(
  count, chunk, state, make_loss, backend="pmap", data=None, table=None
):
  devices = parallel.local_devices()[:count]
  step = make_train_step(
    make_loss,
    functools.partial(augment, chosen=CHOSEN),
    axis_name=parallel.AXIS,
    chunk=chunk,
  )
  run = parallel.data_parallel(
    step, devices, replicated=(2, 3), backend=backend
  )
  shards = parallel.shard(batch() if data is None else data, count)
  if table is not None:
    shards["table"] = table
  after, metrics = run(
    parallel.replicate(state, devices),
    shards,
    KEY,
    {"loss": {"margin": jnp.float32(0.5)}},
  )
  return parallel.first((after.params, metrics))


def check(
  loss, miner, count, backend="pmap", next_miner="", references="gather"
):
  config, make_loss = loss_fn(loss, miner, next_miner)
  state = fresh_state(objective.loss_parameters(config).get("beta"))
  params, expected = step_of(1, 0, state, make_loss)
  assert expected["gradient_norm"] > 1e-3
  # On eight devices two images each, in chunks of one.
  chunk = {1: 4, 8: 1}[count]
  _, make_loss = loss_fn(loss, miner, next_miner, references)
  cached, metrics = step_of(count, chunk, state, make_loss, backend)
  for name, value in expected.items():
    np.testing.assert_allclose(
      metrics[name], value, rtol=1e-5, atol=1e-6, err_msg=name
    )
  close = functools.partial(
    np.testing.assert_allclose,
    rtol=1e-5,
    atol=1e-5 * max(1.0, float(expected["gradient_norm"])),
  )
  jax.tree.map(close, cached, params)


# Drawn triplets, and pairs with a learned parameter.
FAST = [("triplet", "random_semi_hard", 8), ("margin", "all", 8)]
SLOW = [
  case
  for case in [
    ("triplet", "all", 1),
    ("margin", "all", 1),
    ("sup_con", "all", 1),
    *(("triplet", miner, 8) for miner in MINERS),
    *((loss, "all", 8) for loss in LOSSES if loss != "triplet"),
  ]
  if case not in FAST
]


@pytest.mark.parametrize(
  ("loss", "miner", "count"),
  [*FAST, *(pytest.param(*case, marks=pytest.mark.slow) for case in SLOW)],
)
def test_chunks_give_the_gradient_of_one_go(loss, miner, count):
  check(loss, miner, count)


@pytest.mark.slow
def test_a_curriculum_and_shard_map():
  check("triplet", "semi_hard", 8, "shard_map", next_miner="batch_hard")


@pytest.mark.slow
def test_chunks_in_a_ring_of_devices():
  check("triplet", "all_semi_hard", 8, references="ring")


def test_images_on_the_device_are_taken_and_turned_by_the_chunk():
  images = np.random.default_rng(1).integers(0, 256, (5, 8, 8, 1))
  rows, turns = np.arange(16) % 5, np.arange(16) % 4
  held = {
    "row": rows.astype(np.int32),
    "turn": turns.astype(np.int32),
    "label": batch()["label"],
    "id": batch()["id"],
  }
  turned = np.stack(
    [np.rot90(images[row], turn) for row, turn in zip(rows, turns, strict=True)]
  )
  given = batch() | {"image": turned.astype(np.uint8)}
  _, make_loss = loss_fn()
  state = fresh_state()
  devices = parallel.local_devices()[:2]
  table = parallel.replicate(images.astype(np.uint8), devices)
  expected, _ = step_of(2, 4, state, make_loss, data=given)
  found, _ = step_of(2, 4, state, make_loss, data=held, table=table)
  # Two programs, whose products may be rounded otherwise.
  check_same = functools.partial(
    np.testing.assert_allclose, rtol=1e-5, atol=1e-6
  )
  jax.tree.map(check_same, found, expected)


def test_the_gradient_is_that_of_a_loss_written_out():
  # f(w) = Σ_i Σ_j e_i e_j with e_i = w x_i: f' = 2 w (Σ x)².
  x = np.array([1.0, 2.0, 3.0, -1.0, 4.0, 0.5], np.float32)
  found = {}
  for chunk in (0, 1, 2, 3, 6):
    (value, (updates, aux)), gradient = batch_value_and_grad(
      lambda w, part: (w * part["x"][:, None], {}),
      lambda e, w: (jnp.sum(e @ e.T) + 5 * w, jnp.sum(e)),
      chunk=chunk,
    )(jnp.float32(3.0), {"x": jnp.asarray(x)})
    total = 9.5
    np.testing.assert_allclose(value, 9 * total**2 + 15, rtol=1e-6)
    np.testing.assert_allclose(gradient, 6 * total**2 + 5, rtol=1e-6)
    np.testing.assert_allclose(aux, 3 * total, rtol=1e-6)
    found[chunk] = updates
  assert found == {chunk: {} for chunk in found}


def test_activations_of_one_chunk_are_kept():
  # Ten layers of 64 x 256 numbers: 655 kB in one go, 41 kB for 4 at once.
  w = jnp.ones((10, 256, 256), jnp.float32)
  x = {"x": jnp.ones((64, 256), jnp.float32)}

  def embed(w, part):
    y = part["x"]
    for layer in w:
      y = jnp.tanh(y @ layer)
    return y[:, :4], {}

  def temporaries(chunk):
    run = batch_value_and_grad(
      embed, lambda e, w: (jnp.sum(e @ e.T), None), chunk=chunk
    )
    compiled = jax.jit(run).lower(w, x).compile(NEW_EMITTERS)
    return compiled.memory_analysis().temp_size_in_bytes

  # Both hold gradients of the weights; the activations are the difference.
  assert temporaries(0) - temporaries(4) > 10 * 60 * 256 * 4 / 2


def test_what_is_dropped_is_the_same_again_and_differs_by_image():
  state = fresh_state()
  same = batch() | {"image": np.repeat(batch()["image"][:1], 16, axis=0)}
  keys = jax.random.split(KEY, 16)
  images = same["image"].astype(np.float32) / 255
  run = functools.partial(state.apply_fn, {"params": state.params}, train=True)
  found = run(images, keys=keys)
  assert len(np.unique(np.asarray(found), axis=0)) > 8
  np.testing.assert_allclose(
    run(images[4:8], keys=keys[4:8]), found[4:8], rtol=1e-6
  )
  still = run(images)
  np.testing.assert_allclose(still, np.broadcast_to(still[:1], still.shape))


def test_batch_norm_is_refused():
  with pytest.raises(UserError, match=r"model\.norm: expected group beside"):
    check_chunk(4, share=8, uses_batch=True)
  with pytest.raises(UserError, match="a divisor of the 8 images of each dev"):
    check_chunk(3, share=8, uses_batch=False)
  check_chunk(0, share=8, uses_batch=True)
  check_chunk(8, share=8, uses_batch=False)
  state = create_state(
    ConvNet(features=(4,), dimension=4),
    optax.sgd(1.0),
    image_shape=(8, 8, 1),
    key=KEY,
  )
  with pytest.raises(ValueError, match="expected a network without statistics"):
    step_of(1, 4, state, loss_fn()[1])
