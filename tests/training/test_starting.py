"""Runs that begin with pretrained weights, and go on without their file."""

import json

import jax
import numpy as np
import pytest

from configs import digits
from tripletjax import UserError
from tripletjax.pretrained import PACKAGES, read_weights
from tripletjax.training import objective, parallel
from tripletjax.training.finished import load_run, read_config, untrained_state
from tripletjax.training.loop import train_and_evaluate
from tripletjax.training.network import make_model
from tripletjax.training.starting import read_fitted


@pytest.fixture(scope="module", autouse=True)
def _standard_promotion():
  # Optax's Adam multiplies its integer count with floats.
  with jax.numpy_dtype_promotion("standard"):
    yield


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
  return tmp_path_factory.mktemp("data")


def made(**fields):
  config = digits.get_config("smoke")
  config.model.features = (4,)
  config.model.dimension = 8
  config.train.duration = "4 steps"
  config.evaluation.every = "4 steps"
  config.checkpoint.every = "2 steps"
  config.update_from_flattened_dict(
    {name.replace("__", "."): value for name, value in fields.items()}
  )
  return config


def train(workdir, data_dir, *, said=None, **fields):
  keywords = {k: fields.pop(k) for k in ("max_steps",) if k in fields}
  return train_and_evaluate(
    made(**fields),
    workdir,
    data_dir=data_dir,
    devices=parallel.local_devices()[:1],
    bar=False,
    say=(lambda line: None) if said is None else said.append,
    **keywords,
  )


@pytest.fixture(scope="module")
def parent(tmp_path_factory, data_dir):
  """A finished run of the same network, whose loss has a parameter."""
  workdir = tmp_path_factory.mktemp("parent")
  train(workdir, data_dir, loss__name="margin", optimizer__ema=0.9)
  return workdir


def rows(workdir):
  lines = (workdir / "metrics.jsonl").read_text().splitlines()
  return [
    {k: v for k, v in json.loads(line).items() if "second" not in k}
    for line in lines
  ]


def test_a_run_begins_with_another_s_network_and_goes_on_without_it(
  parent, tmp_path, data_dir
):
  moved = tmp_path / "parent"
  moved.symlink_to(parent)
  fields = {
    "seed": 7,
    "model__pretrained": str(moved),
    "model__norm_frozen": True,
    "optimizer__freeze": "Conv_0",
    "optimizer__rates": "Dense=2",
  }
  said = []
  whole = train(tmp_path / "whole", data_dir, said=said, **fields)
  assert any(
    line.startswith(f"pretrained: {moved}, step 4: 7 arrays, ") for line in said
  )
  # Before its first step it is what the other one was in the end.
  theirs = json.loads((parent / "summary.json").read_text())["trained"]
  assert whole["untrained"] == theirs
  assert whole["trained"] != theirs
  before, after = (load_run(path) for path in (parent, tmp_path / "whole"))
  for tree in (before, after):
    tree.params.pop("loss", None)
  jax.tree.map(
    np.testing.assert_array_equal, before.batch_stats, after.batch_stats
  )
  equal = jax.tree.map(np.array_equal, before.params, after.params)
  assert equal["Conv_0"]["kernel"]
  assert not equal["Dense_0"]["kernel"]
  train(tmp_path / "parts", data_dir, max_steps=2, **fields)
  moved.unlink()
  parts = train(tmp_path / "parts", data_dir, **fields)
  assert parts["trained"] == whole["trained"]
  clean = [r for r in rows(tmp_path / "whole") if r.keys() != {"step"}]
  assert [r for r in rows(tmp_path / "parts") if r.keys() != {"step"}] == clean
  # A new one does need the file, and leaves no folder.
  with pytest.raises(
    UserError, match=r"^model\.pretrained: expected \"\", the"
  ):
    train(tmp_path / "new", data_dir, **fields)
  assert not (tmp_path / "new").exists()
  # So does whoever asks what it was before training.
  run = load_run(tmp_path / "whole")
  with pytest.raises(UserError, match=r"isn't there.*--nobaselines"):
    untrained_state(run, (8, 8, 1))
  untrained_state(run, (8, 8, 1), pretrained=False)
  moved.symlink_to(parent)
  state = untrained_state(run, (8, 8, 1))
  jax.tree.map(
    np.testing.assert_array_equal,
    state.params,
    {k: v for k, v in load_run(parent).params.items() if k != "loss"},
  )


def test_another_network_is_refused_with_its_differences(
  parent, tmp_path, data_dir
):
  fields = {"model__pretrained": str(parent), "model__features": (4, 6)}
  with pytest.raises(UserError) as caught:
    train(tmp_path / "run", data_dir, **fields)
  said = str(caught.value)
  assert said.startswith(f"model.pretrained: {parent}, step 4 is of another ")
  # The first block and the statistics fit; the head, of fewer pixels, doesn't.
  assert "-Dense_0/kernel 24x8" in said
  assert "+Dense_0/kernel 64x8" in said
  assert "-Conv_1/kernel 3x3x4x6" in said
  assert not (tmp_path / "run").exists()
  config = made(model__pretrained_ignore="_1/|Dense", **fields)
  model = make_model(config, axis_name=parallel.AXIS)
  fitted = read_fitted(config, model, (8, 8, 1))
  assert set(fitted.arrays) == {
    "Conv_0/kernel",
    *(f"BatchNorm_0/{part}" for part in ("scale", "bias", "mean", "var")),
  }
  assert "Conv_1/kernel" in fitted.fresh


def test_weights_of_a_file(tmp_path, data_dir, parent):
  path = tmp_path / "a.safetensors"
  path.write_bytes(b"x" * 20)
  with pytest.raises(
    UserError, match=rf"^model\.pretrained: {path}: expected "
  ):
    train(tmp_path / "run", data_dir, model__pretrained=str(path))
  with pytest.raises(UserError, match=r"expected weights beside model\.pre"):
    train(tmp_path / "run", data_dir, model__pretrained_ignore="x")
  with pytest.raises(UserError, match="ignore: expected a regular expression"):
    objective.check_config(made(model__pretrained_ignore="("))
  with pytest.raises(UserError, match=r"no (whole )?checkpoint"):
    train(tmp_path / "run", data_dir, model__pretrained=str(tmp_path))


def test_a_package_that_is_missing_is_named(monkeypatch):
  monkeypatch.setitem(PACKAGES, "efficientnet_lite0", ("no-such-package", "x"))
  with pytest.raises(
    UserError, match=r"no-such-package, which isn't installed"
  ):
    read_weights("efficientnet_lite0")


def test_a_run_of_before_these_fields_can_be_loaded(parent, tmp_path):
  fields = json.loads((parent / "config.json").read_text())
  for name in (
    "pixels", "pooling", "head", "norm_frozen", "pretrained",
    "pretrained_ignore",
  ):  # fmt: skip
    del fields["model"][name]
  del fields["optimizer"]["freeze"], fields["optimizer"]["rates"]
  old = tmp_path / "old"
  old.mkdir()
  (old / "config.json").write_text(json.dumps(fields))
  config = read_config(old)
  assert config.model == read_config(parent).model
