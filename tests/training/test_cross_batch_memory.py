"""Cross-batch memory: a ring, references of the loss, the same on D devices."""

import collections
import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from configs import digits
from tripletjax import LOSSES, UserError
from tripletjax.data.augment import EXAMPLES, augment
from tripletjax.models import ConvNet
from tripletjax.training import parallel
from tripletjax.training.loop import train_and_evaluate
from tripletjax.training.memory import (
  Remembered,
  check_memory,
  empty_memory,
  remember,
  stored_steps,
)
from tripletjax.training.state import create_state
from tripletjax.training.step import make_drift_step, make_train_step

KEY = jax.random.key(5)
CHOSEN = {"affine": EXAMPLES["affine"]}
NUMBERS = {"loss": {"margin": jnp.float32(0.5)}}
SIZE = 20  # of the memory: no multiple of a batch of 8


def batch(seed):
  """8 pictures of 4 identities, of 12 that there are: ids come again."""
  rng = np.random.default_rng(seed)
  identities = rng.permutation(12)[:4]
  ids = (identities[:, None] * 3 + rng.permuted([[0, 1, 2]] * 4, axis=1))[:, :2]
  return {
    "image": rng.integers(0, 256, (8, 8, 8, 1)).astype(np.uint8),
    "label": np.repeat(identities, 2).astype(np.int32),
    "id": ids.reshape(-1).astype(np.int32),
  }


def test_the_oldest_go_first():
  memory = empty_memory(7, 2)
  expected = collections.deque(maxlen=7)
  rng = np.random.default_rng(0)
  for start in range(0, 27, 3):
    ids = np.arange(start, start + 3, dtype=np.int32)
    embeddings = rng.normal(size=(3, 2)).astype(np.float32)
    memory = remember(memory, Remembered(embeddings, ids + 100, ids))
    expected.extend(zip(ids, ids + 100, embeddings.tolist(), strict=True))
    assert memory.filled == len(expected)
    found = zip(
      memory.ids.tolist()[: memory.filled],
      memory.labels.tolist(),
      memory.embeddings.tolist(),
      strict=False,
    )
    assert sorted(found) == sorted(expected)


@functools.cache
def step_on(
  count, name="triplet", start=0, backend="pmap", chunk=0, **keywords
):
  loss_fn = functools.partial(LOSSES[name], **keywords)

  def loss(embeddings, labels, *, step, margin, **others):
    if name == "nt_xent":
      return loss_fn(embeddings, labels, **others)
    return loss_fn(embeddings, labels, margin=margin, **others)

  devices = parallel.local_devices()[:count]
  step = make_train_step(
    loss,
    functools.partial(augment, chosen=CHOSEN),
    axis_name=parallel.AXIS,
    memory_start=start,
    chunk=chunk,
  )
  return devices, parallel.data_parallel(
    step, devices, replicated=(2, 3), backend=backend
  )


@functools.cache
def fresh_state(size=SIZE, norm="batch"):
  # SGD with a learning rate of 1: the step is the gradient.
  return create_state(
    ConvNet(features=(4,), dimension=4, axis_name=parallel.AXIS, norm=norm),
    optax.sgd(1.0),
    image_shape=(8, 8, 1),
    key=jax.random.key(0),
    memory_shape=(size, 4),
  )


def train(count, steps=5, *, size=SIZE, norm="batch", **keywords):
  devices, step = step_on(count, **keywords)
  state = parallel.replicate(fresh_state(size, norm), devices)
  rows = []
  for i in range(steps):
    state, metrics = step(state, parallel.shard(batch(i), count), KEY, NUMBERS)
    rows.append(parallel.first(metrics))
  return state, rows


def all_triplets(embeddings, labels, ids, memory, margin=0.5):
  """Mean of the active triplets, by three loops."""
  columns = [*zip(embeddings, labels, ids, strict=True), *memory]
  losses = []
  for x, label, own in zip(embeddings, labels, ids, strict=True):
    for p, label_p, id_p in columns:
      if label_p != label or id_p == own:
        continue
      for n, label_n, _ in columns:
        if label_n == label:
          continue
        losses.append(margin + ((x - p) ** 2).sum() - ((x - n) ** 2).sum())
  active = [loss for loss in losses if loss > 0]
  return np.mean(active), len(losses)


def test_the_loss_equals_loops_over_batch_and_memory():
  state, _ = train(1, steps=3, miner="all")
  before = parallel.first(state).memory
  assert before.filled == SIZE  # 24 were remembered
  _, step = step_on(1, miner="all")
  after, metrics = step(state, parallel.shard(batch(3), 1), KEY, NUMBERS)
  after = parallel.first(after).memory
  at = (before.cursor + np.arange(8)) % SIZE
  memory = list(zip(before.embeddings, before.labels, before.ids, strict=True))
  loss, number = all_triplets(
    after.embeddings[at], batch(3)["label"], batch(3)["id"], memory
  )
  # Some of the batch are remembered: they aren't their own positives.
  assert set(batch(3)["id"]) & {int(own) for _, _, own in memory}
  metrics = parallel.first(metrics)
  assert metrics["valid_triplets"] == number
  np.testing.assert_allclose(metrics["loss"], loss, rtol=1e-5)


FAST = [
  {"miner": "all"},
  {"miner": "batch_hard"},
  {"miner": "random_semi_hard"},
  {"name": "nt_xent"},
]
SLOW = [
  {"miner": "semi_hard"},
  {"miner": "distance_weighted", "distance": "euclidean"},
  {"name": "contrastive"},
]


@pytest.mark.parametrize(
  ("case", "count", "backend"),
  [
    *((case, 4, "pmap") for case in FAST),
    *(
      pytest.param(case, count, backend, marks=pytest.mark.slow)
      for case in FAST + SLOW
      for count, backend in ((4, "pmap"), (2, "shard_map"))
      if case in SLOW or count == 2
    ),
  ],
  ids=str,
)
def test_devices_hold_the_same_memory_and_step_as_one(case, count, backend):
  one, expected = train(1, **case)
  many, found = train(count, backend=backend, **case)
  for a, b in zip(found, expected, strict=True):
    for name, value in b.items():
      np.testing.assert_allclose(
        a[name], value, rtol=1e-4, atol=1e-5, err_msg=name
      )
  one, first = parallel.first(one), parallel.first(many)
  jax.tree.map(
    functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-5),
    (first.memory, first.params, first.batch_stats),
    (one.memory, one.params, one.batch_stats),
  )
  for device in range(1, count):
    jax.tree.map(
      np.testing.assert_array_equal,
      first.memory,
      jax.tree.map(lambda x, i=device: np.asarray(x)[i], many.memory),
    )


def test_chunks_and_memory_together():
  _, expected = train(1, norm="group", miner="semi_hard")
  _, found = train(2, norm="group", miner="semi_hard", chunk=2)
  for a, b in zip(found, expected, strict=True):
    np.testing.assert_allclose(a["loss"], b["loss"], rtol=1e-4)
    np.testing.assert_allclose(
      a["gradient_norm"], b["gradient_norm"], rtol=1e-4
    )


def test_in_the_warm_up_it_is_only_filled():
  _, plain = train(1, size=0, miner="all")
  state, warm = train(1, start=2, miner="all")
  for i in range(2):
    np.testing.assert_allclose(warm[i]["loss"], plain[i]["loss"], rtol=1e-5)
    assert warm[i]["memory/filled"] == 8 * i
  assert warm[2]["valid_triplets"] > plain[2]["valid_triplets"]
  assert parallel.first(state).memory.filled == SIZE


def test_the_drift_is_the_distance_to_embedding_again():
  state, _ = train(2, steps=4, miner="all")
  devices = parallel.local_devices()[:2]
  run = parallel.data_parallel(
    make_drift_step(
      functools.partial(augment, chosen=CHOSEN),
      axis_name=parallel.AXIS,
    ),
    devices,
    replicated=(2, 3, 4),
  )

  def drift(state, step):
    first = jnp.int32(step * 8 % SIZE)
    shards = parallel.shard(batch(step), 2)
    return float(
      parallel.first(run(state, shards, KEY, jnp.int32(step), first))
    )

  assert 0 < drift(state, 3) < drift(state, 2)
  # By the weights that stored them nothing has moved.
  earlier, _ = train(2, steps=3, miner="all")
  kept = state.replace(params=earlier.params, batch_stats=earlier.batch_stats)
  assert drift(kept, 3) == pytest.approx(0, abs=1e-10)


def test_which_steps_are_there():
  assert stored_steps(1, size=SIZE, batch=8) == (0, 0)
  assert stored_steps(9, size=SIZE, batch=8) == (7, 8)
  assert stored_steps(9, size=24, batch=8) == (6, 8)


@pytest.mark.parametrize(
  ("size", "references", "message"),
  [
    (7, "gather", "memory.size: expected 0, or at least the 8 images of a bat"),
    (8, "ring", "parallel.references: expected gather beside memory.size"),
  ],
)
def test_mistakes_are_named(size, references, message):
  check_memory(0, batch=8, references="ring", warped=True)
  with pytest.raises(UserError, match="expected 0 beside augment"):
    check_memory(8, batch=8, references="gather", warped=True)
  with pytest.raises(UserError, match=message):
    check_memory(size, batch=8, references=references)


@pytest.mark.slow
def test_a_run_goes_on_with_its_memory(tmp_path):
  config = digits.get_config("smoke")
  config.memory.size = 100
  config.memory.start = "2 steps"
  config.train.duration = "12 steps"
  config.evaluation.every = "6 steps"

  def run(name, **keywords):
    with jax.numpy_dtype_promotion("standard"):
      train_and_evaluate(
        config,
        tmp_path / name,
        data_dir=tmp_path / "data",
        devices=parallel.local_devices()[:2],
        **keywords,
      )
    lines = (tmp_path / name / "metrics.jsonl").read_text().splitlines()
    rows = [
      {k: v for k, v in json.loads(line).items() if "second" not in k}
      for line in lines
    ]
    return [row for row in rows if row.keys() != {"step"}]

  whole = run("whole")
  run("parts", max_steps=5)
  assert run("parts") == whole
  (moved, _) = [row for row in whole if "memory/drift" in row]
  assert moved["memory/age"] == 2
  assert moved["memory/drift"] > 0 < moved["memory/drift_of_newest"]
