"""Exact resume: 2N steps are N, a new start, and N; whatever the run holds."""

import json

import jax
import numpy as np
import pytest

from configs import digits
from tripletjax import checkpoint, manifest
from tripletjax.training import parallel
from tripletjax.training.finished import load_run
from tripletjax.training.loop import train_and_evaluate

TOTAL = 12
# What each run has beside a plain one.
KINDS = {
  "plain": {},
  "chunks": {"batch.chunk": 8, "model.norm": "group", "model.dropout": 0.5},
  "averaged": {
    "optimizer.ema": 0.9,
    "optimizer.accumulate": 3,
    "checkpoint.best": "map@r",
    "memory.size": 100,
    "memory.start": "3 steps",
  },
  "offline_batches": {
    "mining.name": "offline_batches",
    "mining.every": "4 steps",
    "batch.identities": 6,
  },
  "offline_triplets": {
    "mining.name": "offline_triplets",
    "mining.every": "4 steps",
  },
}


@pytest.fixture(scope="module", autouse=True)
def _standard_promotion():
  # Optax's Adam multiplies its integer count with floats.
  with jax.numpy_dtype_promotion("standard"):
    yield


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
  return tmp_path_factory.mktemp("data")


def made(fields):
  config = digits.get_config("smoke")
  config.model.features = (4,)
  config.model.dimension = 8
  config.train.duration = f"{TOTAL} steps"
  config.log.every = "5 steps"
  config.evaluation.every = "6 steps"
  config.checkpoint.every = "4 steps"
  config.update_from_flattened_dict(fields)
  return config


def train(workdir, data_dir, fields=None, **keywords):
  return train_and_evaluate(
    made(fields or {}),
    workdir,
    data_dir=data_dir,
    devices=parallel.local_devices()[:1],
    **keywords,
  )


def rows(workdir):
  """Rows of the metrics without clocks, and without those of clocks alone."""
  lines = (workdir / "metrics.jsonl").read_text().splitlines()
  found = [
    {k: v for k, v in json.loads(line).items() if "second" not in k}
    for line in lines
  ]
  return [row for row in found if row.keys() != {"step"}]


def final_state(workdir):
  """All arrays of the last checkpoint, and its progress but for the clocks."""
  with checkpoint.open_checkpoints(workdir / "checkpoints", keep=9) as found:
    saved = found.manager.restore(found.latest())
  clocks = ("seconds", "timers")
  progress = {k: v for k, v in saved["progress"].items() if k not in clocks}
  return {k: v for k, v in saved.items() if k != "progress"}, progress


def assert_same(workdir, other):
  assert rows(workdir) == rows(other)
  steps = [row["step"] for row in rows(workdir) if "loss" in row]
  assert steps == list(range(1, TOTAL + 1))
  (ours, ours_told), (theirs, theirs_told) = map(final_state, (workdir, other))
  assert ours_told == theirs_told
  jax.tree.map(np.testing.assert_array_equal, ours, theirs)
  assert len(jax.tree.leaves(ours)) > 10


# `test_offline` has a fast one of what is mined, `test_loop` a plain one.
SLOW = ("plain", "chunks", "offline_batches", "offline_triplets")


@pytest.mark.parametrize(
  "kind",
  [
    pytest.param(name, marks=pytest.mark.slow if name in SLOW else ())
    for name in KINDS
  ],
)
def test_a_run_in_parts_is_the_whole_bit_for_bit(kind, tmp_path, data_dir):
  whole = train(tmp_path / "whole", data_dir, KINDS[kind])
  # In the middle of an accumulation and of what was mined; and where it's mined
  # anew.
  for stop in (5, *([8] if kind in SLOW else []), None):
    parts = train(tmp_path / "parts", data_dir, KINDS[kind], max_steps=stop)
  assert parts["trained"] == whole["trained"]
  assert_same(tmp_path / "parts", tmp_path / "whole")
  if kind == "averaged":
    scores = {
      row["step"]: row["eval/map@r"]
      for row in rows(tmp_path / "whole")
      if "eval/map@r" in row
    }
    assert list(scores) == [6, 12]
    best = max(scores, key=scores.get)
    assert load_run(tmp_path / "parts", which="best").step == best
    # Evaluated at 6, where no other checkpoint is due; and the latest two.
    there = manifest.steps_in(tmp_path / "parts" / "checkpoints")
    assert there == sorted({best, 8, 12})
