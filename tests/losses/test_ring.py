"""Travelling references: value, gradient and statistics of one device."""

import functools
import itertools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests import batches
from tests.emitters import NEW_EMITTERS
from tripletjax.losses import (
  RING_MINERS,
  mined_triplet_loss,
  ring_triplet_loss,
  ring_trips,
  rows,
)
from tripletjax.training import parallel

MARGIN = 0.8
KINDS = ["all_semi_hard", "batch_hard", "semi_hard"]
SUMS = ["all", "all_semi_hard", "semi_hard"]
FAST = [
  (2, "batch_hard", True, "pmap"),
  (4, "all_semi_hard", False, "shard_map"),
  (8, "semi_hard", False, "shard_map"),
]
CASES = [
  *FAST,
  *(
    pytest.param(*case, "shard_map", marks=pytest.mark.slow)
    for case in itertools.product((1, 2, 4, 8), RING_MINERS, (False, True))
    if case not in [fast[:3] for fast in FAST]
  ),
]


def awkward_batch(seed=0, count=24, classes=5):
  """Unbalanced labels, padding, and an example that stands there twice."""
  embeddings, labels = batches.random_batch(seed, count, classes)
  ids = np.arange(count, dtype=np.int32)
  embeddings[7], labels[7], ids[7] = embeddings[20], labels[20], ids[20]
  return {
    "embeddings": embeddings,
    "labels": labels,
    "ids": ids,
    "where": np.arange(count) != 5,
  }


@functools.cache
def evaluated_by(loss_fn, **keywords):
  """Batch and margin to loss, statistics, gradient by embeddings and margin."""

  def evaluate(batch, margin):
    rest = {k: x for k, x in batch.items() if k != "embeddings"}

    def loss(embeddings, margin):
      return loss_fn(embeddings, **rest, margin=margin, **keywords)

    (value, found), by = jax.value_and_grad(loss, (0, 1), has_aux=True)(
      batch["embeddings"], margin
    )
    return value, found, *by

  return evaluate


@functools.cache
def one_device_fn(**keywords):
  return jax.jit(evaluated_by(mined_triplet_loss, **keywords))


def one_device(batch, **keywords):
  """Of one device, where nothing is gathered."""
  return one_device_fn(**keywords)(batch, jnp.float32(MARGIN))


@functools.cache
def ring_fn(count, backend, **keywords):
  return parallel.data_parallel(
    evaluated_by(ring_triplet_loss, axis_name=parallel.AXIS, **keywords),
    parallel.local_devices()[:count],
    replicated=(1,),
    backend=backend,
  )


def in_ring(batch, count, backend="shard_map", **keywords):
  """The same of a ring."""
  run = ring_fn(count, backend, **keywords)
  value, found, by_embeddings, by_margin = run(
    parallel.shard(batch, count), jnp.float32(MARGIN)
  )
  for x in (value, *found.values()):
    np.testing.assert_array_equal(x, np.broadcast_to(x[:1], x.shape))
  return (
    value[0],
    {name: x[0] for name, x in found.items()},
    # D losses that are the same are differentiated together.
    np.concatenate(list(by_embeddings)) / count,
    np.mean(by_margin),
  )


def assert_same(actual, expected):
  assert actual[1].keys() == expected[1].keys()
  jax.tree.map(
    functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=2e-6),
    actual,
    expected,
  )


@pytest.mark.parametrize(("count", "miner", "soft", "backend"), CASES)
def test_a_ring_equals_one_device(count, miner, soft, backend):
  batch = awkward_batch()
  keywords = {"miner": miner, "soft": soft, "reduction": "mean"}
  expected = one_device(batch, **keywords)
  assert expected[0] > 0 or (miner == "all_easy" and not soft)
  assert_same(in_ring(batch, count, backend, **keywords), expected)


@pytest.mark.parametrize(
  "miner",
  ["semi_hard", *(pytest.param(m, marks=pytest.mark.slow) for m in KINDS[:2])],
)
def test_tiles_and_rounds_change_nothing(miner, monkeypatch):
  # Identities of up to 12 images, 2 of which are looked at in a trip.
  batch = awkward_batch(1, count=36, classes=6)
  assert np.bincount(batch["labels"]).max() == 12
  expected = one_device(batch, miner=miner)
  monkeypatch.setattr(ring_trips, "SLOTS", 2)
  monkeypatch.setattr(rows, "WHOLE", 0)
  monkeypatch.setattr(rows, "BLOCKS", ((8, 2**20),))
  assert_same(in_ring(batch, 2, miner=miner), expected)


@pytest.mark.parametrize(
  ("miner", "distance", "reduction"),
  [
    ("semi_hard", "euclidean", "per_pair"),
    ("all", "cosine", "per_anchor"),
    ("batch_hard", "manhattan", "sum"),
  ],
)
@pytest.mark.slow
def test_distances_and_reductions_by_pmap(miner, distance, reduction):
  batch = awkward_batch(2)
  keywords = {"miner": miner, "distance": distance, "reduction": reduction}
  assert_same(
    in_ring(batch, 4, backend="pmap", **keywords), one_device(batch, **keywords)
  )


@pytest.mark.parametrize("name", batches.awkward_batches())
@pytest.mark.parametrize(
  "miner",
  ["all", *(pytest.param(m, marks=pytest.mark.slow) for m in KINDS)],
)
def test_edges(name, miner):
  embeddings, labels = batches.awkward_batches()[name]
  batch = {"embeddings": embeddings, "labels": labels}
  assert_same(in_ring(batch, 2, miner=miner), one_device(batch, miner=miner))


@pytest.mark.parametrize(("count", "miner", "soft", "backend"), FAST)
def test_a_nan_shows_unless_it_is_padding(count, miner, soft, backend):
  batch = awkward_batch()
  keywords = {"miner": miner, "soft": soft, "reduction": "mean"}
  expected = one_device(batch, **keywords)
  batch["embeddings"][5] = np.nan
  assert_same(in_ring(batch, count, backend, **keywords), expected)
  batch["embeddings"][3, 1] = np.nan
  value, _, by_embeddings, _ = in_ring(batch, count, backend, **keywords)
  assert np.isnan(value)
  assert np.isnan(by_embeddings[3]).all()


def lowered(loss_fn, count, rows, with_statistics=False, **keywords):
  def step(embeddings, labels):
    def loss(embeddings):
      return loss_fn(embeddings, labels, axis_name=parallel.AXIS, **keywords)

    (value, found), by = jax.value_and_grad(loss, has_aux=True)(embeddings)
    return (value, by, found) if with_statistics else (value, by)

  run = parallel.data_parallel(
    step, parallel.local_devices()[:count], backend="shard_map"
  )
  return run.lower(
    jax.ShapeDtypeStruct((count, rows, 32), jnp.float32),
    jax.ShapeDtypeStruct((count, rows), jnp.int32),
  )


@pytest.mark.parametrize(
  "miner",
  ["batch_hard", *(pytest.param(m, marks=pytest.mark.slow) for m in SUMS)],
)
def test_memory_does_not_grow_with_the_devices(miner):
  # As many rows a device: the batch grows with the number of devices.
  def temporaries(loss_fn, count):
    found = lowered(loss_fn, count, 128, miner=miner)
    return found.compile(NEW_EMITTERS).memory_analysis().temp_size_in_bytes

  ring = [temporaries(ring_triplet_loss, count) for count in (2, 8)]
  gathered = [temporaries(mined_triplet_loss, count) for count in (2, 8)]
  assert ring[1] <= 1.01 * ring[0]
  assert gathered[1] > 2 * gathered[0]
  assert ring[1] < gathered[1]


@pytest.mark.parametrize("miner", KINDS)
def test_nothing_as_wide_as_the_batch_is_held(miner):
  gathered, ring = (
    lowered(loss_fn, 8, 24, True, miner=miner).as_text()
    for loss_fn in (mined_triplet_loss, ring_triplet_loss)
  )
  # [24, 192] distances, and 192 embeddings.
  assert "tensor<24x192x" in gathered
  assert "tensor<192x32x" in gathered
  assert "x192x" not in ring
  assert "<192x" not in ring.replace("<192xi32>", "")
  assert "all_gather" not in ring


def test_what_travels():
  # To find the triplets the embeddings; then these with their gradient.
  program = lowered(ring_triplet_loss, 2, 8, miner="batch_hard").as_text()
  sent = re.findall(r"collective_permute.*tensor<8x32xf32>", program)
  assert len(sent) == 1 + 2


def test_statistics_that_nobody_asks_for_take_no_trip():
  def trips(with_statistics):
    program = lowered(
      ring_triplet_loss, 2, 8, with_statistics, miner="batch_hard"
    )
    return program.as_text().count("collective_permute")

  assert 0 < trips(False) < trips(True)


@pytest.mark.parametrize(
  ("keywords", "message"),
  [
    ({"miner": "random"}, "all, all_hard, all_semi_hard, all_easy, batch_hard"),
    ({"miner": lambda *_, **__: None}, "expected a miner of all, all_hard"),
    ({"reduction": "none"}, "expected a reduction to one number"),
    ({"distance": "l3"}, "squared_euclidean, euclidean, cosine"),
  ],
)
def test_what_a_ring_cannot_do(keywords, message):
  with pytest.raises(ValueError, match=message):
    lowered(ring_triplet_loss, 2, 8, **keywords)


def test_a_distance_with_weights_of_its_own_is_refused():
  # Their gradient would be 0 and not an error.
  def step(embeddings, labels):
    def loss(weights):
      return ring_triplet_loss(
        embeddings,
        labels,
        axis_name=parallel.AXIS,
        distance=lambda x, y: (x * weights) @ y.T,
      )[0]

    return jax.grad(loss)(jnp.ones((1, 5)))

  run = parallel.data_parallel(step, parallel.local_devices()[:2])
  with pytest.raises(ValueError, match="distance without weights"):
    run(jnp.ones((2, 4, 5)), jnp.zeros((2, 4), jnp.int32))
