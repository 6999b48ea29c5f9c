"""Offline mining: the search, its batches, and whole runs with it."""

import itertools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import digits
from tripletjax import UserError, triplet_loss
from tripletjax.data.triplets import TripletSampler
from tripletjax.training import objective, offline, parallel
from tripletjax.training.explicit import check_mining
from tripletjax.training.loop import train_and_evaluate


def embedded(size=37, identities=9, seed=0):
  rng = np.random.default_rng(seed)
  labels = rng.integers(0, identities, size)
  labels[5] = identities  # nobody else's
  x = rng.normal(size=(size, 4)).astype(np.float32)
  return x, labels.astype(np.int32)


@pytest.mark.parametrize("approximate", [False, True])
def test_the_search_equals_loops(monkeypatch, approximate):
  monkeypatch.setattr(offline, "_BLOCK", 8)  # five, the last one moved up
  x, labels = embedded()
  mined = offline.mine(
    x, labels, count=3, distance="squared_euclidean", approximate=approximate
  )
  for i in range(len(x)):
    distances = ((x - x[i]).astype(float) ** 2).sum(1)
    same = [j for j in np.flatnonzero(labels == labels[i]) if j != i]
    others = np.flatnonzero(labels != labels[i])
    farthest = max(same, key=lambda j: distances[j]) if same else -1
    assert mined.positives[i] == farthest
    nearest = sorted(others, key=lambda j: distances[j])[:3]
    assert mined.negatives[i].tolist() == nearest
  assert mined.positives[5] == -1


def test_the_active_share_equals_a_loop():
  x, labels = embedded()
  mined = offline.mine(x, labels, count=2, distance="euclidean")
  moved, _ = embedded(seed=1)
  active = []
  for i in np.flatnonzero(mined.positives >= 0):
    to_p = np.linalg.norm(moved[i] - moved[mined.positives[i]])
    to_n = np.linalg.norm(moved[i] - moved[mined.negatives[i, 0]])
    active.append(to_p - to_n + 0.2 > 0)
  share = offline.active_share(moved, mined, distance="euclidean", margin=0.2)
  assert share == pytest.approx(np.mean(active))


def test_confused_identities_are_counted():
  _, labels = embedded()
  negatives = np.random.default_rng(2).integers(0, len(labels), (37, 4))
  table = offline.confused_identities(labels, negatives, count=2)
  for label in range(10):
    times = np.bincount(
      labels[negatives[labels == label]].ravel(), minlength=10
    )
    expected = sorted(np.flatnonzero(times), key=lambda x: (-times[x], x))[:2]
    assert table[label].tolist() == [*expected, -1, -1][:2]


def test_triplets_come_once_an_epoch_and_in_shards():
  x, labels = embedded()
  mined = offline.mine(x, labels, count=3, distance="euclidean")
  sampler = TripletSampler(*mined, triplets=4, seed=3)
  anchors = np.flatnonzero(mined.positives >= 0)
  batches = [sampler[t].reshape(-1, 3) for t in range(2 * (len(anchors) // 4))]
  for epoch in (batches[: len(batches) // 2], batches[len(batches) // 2 :]):
    used = np.concatenate(epoch)[:, 0]
    assert len(set(used)) == len(used) == len(anchors) // 4 * 4
  for anchor, positive, negative in itertools.chain(*batches):
    assert positive == mined.positives[anchor]
    assert negative in mined.negatives[anchor]
  columns = [list(mined.negatives[a]).index(n) for a, _, n in batches[0]]
  others = [list(mined.negatives[a]).index(n) for b in batches for a, _, n in b]
  assert set(others) == {0, 1, 2}
  assert len(columns) == 4
  parts = [sampler.shard(i, 2)[1] for i in range(2)]
  assert np.concatenate(parts).tolist() == sampler[1].tolist()
  again = TripletSampler(*mined, triplets=4, seed=3)
  assert again[7].tolist() == sampler[7].tolist()
  # Fewer anchors than a batch has: they come again.
  large = TripletSampler(*mined, triplets=100, seed=3)
  assert set(large[0].reshape(-1, 3)[:, 0]) == set(anchors)


def config(name, **fields):
  config = digits.get_config("smoke")
  config.mining.name = name
  config.mining.every = "5 steps"
  config.train.duration = "12 steps"
  config.evaluation.every = "0 steps"
  for field, value in fields.items():
    group, _, field = field.partition("__")
    config[group][field] = value
  return config


@pytest.mark.parametrize("count", [1, 4])
def test_the_explicit_loss_is_that_of_the_triplets(count):
  loss_fn = objective.make_loss(
    config("offline_triplets"), next_after=0, margin_steps=1
  )
  x = np.random.default_rng(0).normal(size=(24, 4)).astype(np.float32)

  def per_device(x):
    return loss_fn(
      x,
      None,
      margin=jnp.float32(0.5),
      step=jnp.int32(0),
      axis_name=parallel.AXIS,
    )

  devices = parallel.local_devices()[:count]
  loss, statistics = parallel.first(
    parallel.data_parallel(per_device, devices)(parallel.shard(x, count))
  )
  keywords = {"margin": 0.5, "distance": "squared_euclidean"}
  values = triplet_loss(x[0::3], x[1::3], x[2::3], reduction="none", **keywords)
  active = np.asarray(values)[np.asarray(values) > 0]
  np.testing.assert_allclose(loss, active.mean(), rtol=1e-5)
  assert statistics["active_share"] == pytest.approx(len(active) / 8)


def run(config, folder, data_dir, **keywords):
  with jax.numpy_dtype_promotion("standard"):
    train_and_evaluate(
      config,
      folder,
      data_dir=data_dir,
      devices=parallel.local_devices()[:1],
      **keywords,
    )
  lines = (folder / "metrics.jsonl").read_text().splitlines()
  rows = [
    {k: v for k, v in json.loads(line).items() if "second" not in k}
    for line in lines
  ]
  return [row for row in rows if row.keys() != {"step"}]


@pytest.mark.parametrize(
  "name",
  ["offline_batches", "offline_triplets"],
)
@pytest.mark.slow
def test_a_run_goes_on_with_what_was_mined(tmp_path, name):
  made = config(name, batch__identities=6)
  whole = run(made, tmp_path / "whole", tmp_path)
  # Once in the middle of what was mined, once where it is mined anew.
  run(made, tmp_path / "parts", tmp_path, max_steps=3)
  run(made, tmp_path / "parts", tmp_path, max_steps=10)
  assert run(made, tmp_path / "parts", tmp_path) == whole
  mined = [row for row in whole if "mining/active" in row]
  assert [row["step"] for row in mined] == [1, 6, 11]
  assert "mining/still_active" not in mined[0]
  for row in mined[1:]:
    assert 0 < row["mining/still_active"] <= row["mining/active"] <= 1
  steps = [row["step"] for row in whole if "loss" in row]
  assert steps == list(range(1, 13))
  # What was mined is in the checkpoint, and nowhere else.
  assert not list((tmp_path / "parts").rglob("*mining*"))


def test_random_takes_any_negative(tmp_path):
  rows = run(config("random"), tmp_path / "run", tmp_path, max_steps=2)
  pairs = 10 * 4 * 3
  assert [row["selected_triplets"] for row in rows] == [pairs, pairs]


@pytest.mark.parametrize(
  ("name", "fields", "message"),
  [
    ("offline", {}, "mining.name: expected one of online, random, offline_b"),
    (
      "offline_batches",
      {"batch__weights": "sqrt"},
      'batch.within: expected "", and batch.weights uniform',
    ),
    ("random", {"loss__name": "circle"}, "loss.name: expected triplet with"),
    (
      "offline_triplets",
      {"loss__name": "circle"},
      "loss.name: expected triplet with mining.name=offline_triplets",
    ),
    ("offline_triplets", {"memory__size": 99}, "memory.size: expected 0 with"),
    (
      "offline_triplets",
      {"batch__identities": 7, "batch__images": 3},
      "expected a third of it to be a multiple of the 2 devices",
    ),
  ],
)
def test_mistakes_are_named(name, fields, message):
  with pytest.raises(UserError, match=message):
    check_mining(config(name, **fields), devices=2)


def test_more_negatives_than_there_are():
  x, labels = embedded()
  with pytest.raises(UserError, match=r"mining\.negatives: expected at most"):
    offline.mine(x, labels, count=37, distance="euclidean")
