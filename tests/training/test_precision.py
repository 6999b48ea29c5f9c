"""bfloat16 inside of the network, float32 outside; runs with all of it."""

import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
import orbax.checkpoint as ocp
import pytest

from configs import digits
from tripletjax import mined_triplet_loss
from tripletjax.models import DTYPES, MODELS, NORMS, layers
from tripletjax.training import parallel
from tripletjax.training.finished import load_run
from tripletjax.training.loop import train_and_evaluate

IMAGES = np.random.default_rng(0).random((12, 16, 16, 1), np.float32)
LABELS = np.arange(12, dtype=np.int32) // 3
# Each network's embeddings are compared in tests/models/test_networks.py.
NETWORKS = {"convnet": (8, 16), "resnet18": (4, 4, 8, 8)}


def network(name, dtype, norm):
  return MODELS[name](
    features=NETWORKS[name], dimension=4, norm=norm, dtype=DTYPES[dtype]
  )


@functools.cache
def loss_and_gradient(name, dtype, norm):
  model = network(name, dtype, norm)
  variables = network(name, "float32", norm).init(
    jax.random.key(0), IMAGES, train=False
  )

  def loss(params):
    embeddings, updates = model.apply(
      {**variables, "params": params},
      IMAGES,
      train=True,
      mutable=["batch_stats"],
    )
    value, _ = mined_triplet_loss(embeddings, LABELS, miner="all", soft=True)
    return value, (embeddings, updates)

  run = jax.jit(jax.value_and_grad(loss, has_aux=True))
  return run(variables["params"])


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize(
  "name", ["convnet", pytest.param("resnet18", marks=pytest.mark.slow)]
)
def test_in_bfloat16_all_that_is_kept_is_float32(name, norm):
  (loss, (embeddings, updates)), gradient = loss_and_gradient(
    name, "bfloat16", norm
  )
  for x in jax.tree.leaves((loss, embeddings, updates, gradient)):
    assert x.dtype == jnp.float32
    assert np.isfinite(x).all()
  (expected, (exact, _)), exact_gradient = loss_and_gradient(
    name, "float32", norm
  )
  # bfloat16 has 8 bits: 0.4 % at each rounding, of which 18 layers make more.
  share, least = (0.02, 0.98) if name == "convnet" else (0.1, 0.9)
  assert 0 < abs(float(loss - expected)) < share * float(expected)
  np.testing.assert_allclose(embeddings, exact, atol=0.1)
  a, b = (optax.tree.norm(x) for x in (gradient, exact_gradient))
  inner = optax.tree.vdot(gradient, exact_gradient)
  assert inner / (a * b) > least


def test_group_norm_is_of_each_image_and_each_group():
  rng = np.random.default_rng(1)
  for channels, size in ((32, 16), (24, 8), (6, 6)):
    x = rng.normal(2.0, 3.0, (2, 3, 3, channels)).astype(np.float32)

    class Norm(layers.nn.Module):
      @layers.nn.compact
      def __call__(self, x):
        return layers.normalized(x, "group", train=True, axis_name=None)

    found, _ = Norm().init_with_output(jax.random.key(0), x)
    for image, normalised in zip(x, found, strict=True):
      for start in range(0, channels, size):
        group = image[..., start : start + size]
        np.testing.assert_allclose(
          normalised[..., start : start + size],
          (group - group.mean()) / np.sqrt(group.var() + 1e-6),
          atol=1e-4,
        )


def test_dropout_drops_its_share_and_keeps_the_mean():
  x = jnp.ones((200, 50), jnp.bfloat16)
  keys = jax.random.split(jax.random.key(0), 200)
  found = layers.example_dropout(x, 0.2, keys)
  assert found.dtype == jnp.bfloat16
  kept = np.asarray(found, np.float32)
  assert set(np.unique(kept)) == {0.0, 1.25}
  # 10,000 draws: the standard error of the share is 0.004.
  assert abs((kept == 0).mean() - 0.2) < 0.016
  assert layers.example_dropout(x, 0.2, None) is x


EVERYTHING = {
  "model.norm": "group",
  "model.dtype": "bfloat16",
  "model.dropout": 0.1,
  "model.remat": True,
  "batch.chunk": 10,
  "optimizer.name": "lamb",
  "optimizer.learning_rate": 3e-2,
  "optimizer.schedule": "linear",
  "optimizer.clip": 1.0,
  "optimizer.accumulate": 2,
  "optimizer.ema": 0.5,
  "train.duration": "12 steps",
  "evaluation.every": "6 steps",
  "checkpoint.every": "6 steps",
}


def train(workdir, data_dir, *, devices=1, max_steps=None, fields=EVERYTHING):
  config = digits.get_config("smoke")
  config.update_from_flattened_dict(fields)
  with jax.numpy_dtype_promotion("standard"):
    return train_and_evaluate(
      config,
      workdir,
      data_dir=data_dir,
      devices=parallel.local_devices()[:devices],
      max_steps=max_steps,
    )


def losses(workdir):
  lines = (workdir / "metrics.jsonl").read_text().splitlines()
  rows = map(json.loads, lines)
  return [row["loss"] for row in rows if "loss" in row]


@pytest.mark.slow
def test_a_run_with_everything_goes_on_bit_for_bit(tmp_path):
  whole = train(tmp_path / "whole", tmp_path / "data")
  train(tmp_path / "half", tmp_path / "data", max_steps=7)
  half = train(tmp_path / "half", tmp_path / "data")
  assert losses(tmp_path / "half") == losses(tmp_path / "whole")
  for row in ("trained", "untrained"):
    assert half[row] == whole[row]


def test_a_finished_run_is_used_by_its_averaged_weights(tmp_path):
  fields = {
    "optimizer.ema": 0.5,
    "train.duration": "3 steps",
    "evaluation.every": "0 steps",
    "checkpoint.every": "1 steps",
    "checkpoint.keep": 3,
  }
  train(tmp_path / "run", tmp_path / "data", fields=fields)
  checkpoints = tmp_path / "run" / "checkpoints"
  # As of a run from before these fields came.
  config = json.loads((tmp_path / "run" / "config.json").read_text())
  for name in ("norm", "dropout", "dtype", "remat"):
    del config["model"][name]
  (tmp_path / "run" / "config.json").write_text(json.dumps(config))
  run = load_run(tmp_path / "run")
  assert run.step == 3
  usual = digits.get_config("smoke").model
  for name in ("norm", "dropout", "dtype", "remat"):
    assert run.config.model[name] == usual[name]
  with ocp.PyTreeCheckpointer() as reader:
    saved = [reader.restore(checkpoints / str(i) / "state") for i in (1, 2, 3)]
  # 1/4, 1/2 and 1 are the weights of the steps, 7/4 their sum.
  for found, name in ((run.params, "params"), (run.batch_stats, "batch_stats")):
    jax.tree.map(
      lambda average, a, b, c: np.testing.assert_allclose(
        average, (a + 2 * b + 4 * c) / 7, rtol=1e-4, atol=1e-6
      ),
      found,
      *(state[name] for state in saved),
    )


def test_a_network_learns_in_bfloat16(tmp_path):
  fields = {
    "model.dtype": "bfloat16",
    "train.duration": "100 steps",
    "evaluation.every": "0 steps",
    "optimizer.learning_rate": 1e-2,
  }
  summary = train(tmp_path / "run", tmp_path / "data", fields=fields)
  assert summary["trained"]["map@r"] > summary["untrained"]["map@r"] + 0.1
