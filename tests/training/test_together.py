"""Runs of one program side by side: each is what it is alone."""

import contextlib
import json
import shutil

import jax
import numpy as np
import pytest

from configs import digits
from tripletjax import checkpoint
from tripletjax.training import objective, parallel, together
from tripletjax.training.loop import train_and_evaluate
from tripletjax.training.numbers import NUMBERS, program
from tripletjax.training.setup import prepare_run, run_of

# What the members differ in: every kind of number that a step takes.
CELLS = (
  {"seed": 0, "loss.margin": 0.1},
  {"seed": 0, "loss.margin": 0.4},
  {"seed": 1, "optimizer.learning_rate": 1e-2},
  {"seed": 2, "optimizer.weight_decay": 0.1},
  {"seed": 2, "loss.circle.gamma": 32.0},
)
KINDS = {
  "semi_hard": {"loss.miner": "semi_hard"},
  "random": {"loss.miner": "random_semi_hard", "augment.rotation": 10.0},
  "circle": {"loss.name": "circle", "loss.circle.gamma": 4.0},
  "memory": {
    "memory.size": 40,
    "memory.start": "2 steps",
    "optimizer.ema": 0.9,
    "loss.miner": "all",
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


def made(*fields):
  config = digits.get_config("smoke")
  config.model.features = (4,)
  config.model.dimension = 8
  config.train.duration = "8 steps"
  config.log.every = "3 steps"
  config.evaluation.every = "8 steps"
  config.checkpoint.every = "4 steps"
  for each in fields:
    config.update_from_flattened_dict(each)
  return config


def runs_of(kind, folder, data_dir, devices=None, cells=CELLS):
  configs = [made(KINDS[kind], cell) for cell in cells]
  devices = parallel.all_devices() if devices is None else devices
  first = prepare_run(
    configs[0], folder / "0", data_dir, devices, lambda line: None
  )
  return [
    run_of(first, config, folder / f"{i}", lambda line: None)
    for i, config in enumerate(configs)
  ]


def rows_of(folder):
  lines = (folder / "metrics.jsonl").read_text().splitlines()
  clocks = ("seconds/", "images_per_second")
  return [
    {k: v for k, v in json.loads(line).items() if not k.startswith(clocks)}
    for line in lines
  ]


def arrays_of(folder):
  return checkpoint.restore_arrays(folder / "checkpoints")[1]


@pytest.mark.parametrize(
  "kind",
  [
    "semi_hard",
    *(
      pytest.param(kind, marks=pytest.mark.slow)
      for kind in KINDS
      if kind != "semi_hard"
    ),
  ],
)
def test_each_equals_itself_alone(tmp_path, data_dir, kind):
  # Alone on one device; side by side on four, which share the five evenly.
  runs = runs_of(
    kind, tmp_path / "together", data_dir, parallel.all_devices()[:4]
  )
  outcomes = together.train_together(runs, bar=False)
  alone = runs_of(kind, tmp_path / "alone", data_dir, runs[0].devices[:1])
  for i, run in enumerate(alone):
    summary = train_and_evaluate(
      run.config, run.workdir, run=run, devices=run.devices, bar=False
    )
    assert outcomes[i].reason == ""
    assert outcomes[i].summary["steps"] == summary["steps"] == 8
    ours, theirs = rows_of(runs[i].workdir), rows_of(run.workdir)
    assert [row.keys() for row in ours] == [row.keys() for row in theirs]
    for one, other in zip(ours, theirs, strict=True):
      # What is counted in an evaluation, or a threshold, jumps by rounding.
      names = [name for name in one if not name.startswith("eval/")]
      np.testing.assert_allclose(
        [one[name] for name in names],
        [other[name] for name in names],
        rtol=2e-4,
        atol=1e-5,
      )
      if "eval/map@r" in one:
        assert abs(one["eval/map@r"] - other["eval/map@r"]) < 1e-3
    for name, array in arrays_of(run.workdir).items():
      np.testing.assert_allclose(
        arrays_of(runs[i].workdir)[name], array, rtol=1e-4, atol=1e-5
      )


def test_the_cells_differ(tmp_path, data_dir):
  # Or the equality above would say nothing.
  runs = runs_of("circle", tmp_path, data_dir)
  together.train_together(runs, bar=False)
  last = [
    [row["loss"] for row in rows_of(run.workdir) if "loss" in row][-1]
    for run in runs
  ]
  assert len({round(loss, 6) for loss in last}) == len(CELLS)


@pytest.mark.parametrize(
  "way", ["together", pytest.param("in_turn", marks=pytest.mark.slow)]
)
def test_one_program(tmp_path, data_dir, monkeypatch, way):
  traced = []
  make_loss = objective.make_loss

  def counting(*arguments, **keywords):
    loss_fn = make_loss(*arguments, **keywords)

    def counted(*inner, **more):
      traced.append(1)
      return loss_fn(*inner, **more)

    return counted

  monkeypatch.setattr(objective, "make_loss", counting)
  runs = runs_of("semi_hard", tmp_path, data_dir)
  if way == "together":
    together.train_together(runs, bar=False)
  else:
    for run in runs:
      train_and_evaluate(
        run.config, run.workdir, run=run, devices=run.devices, bar=False
      )
  # Differentiating traces a loss once.
  assert len(traced) == 1


def stopping(after):
  """A signal that comes after so many looks at it."""

  @contextlib.contextmanager
  def asked_to_stop():
    looks = 0

    def asked():
      nonlocal looks
      looks += 1
      return "SIGTERM" if looks > after else ""

    yield asked

  return asked_to_stop


@pytest.mark.slow
def test_stopped_and_gone_on_is_the_same(tmp_path, data_dir, monkeypatch):
  whole = runs_of("memory", tmp_path / "whole", data_dir)
  together.train_together(whole, bar=False)
  parts = runs_of("memory", tmp_path / "parts", data_dir)
  with monkeypatch.context() as patch:
    patch.setattr(together, "asked_to_stop", stopping(after=5))
    outcomes = together.train_together(parts, bar=False)
  assert {o.summary["stopped"] for o in outcomes} == {"SIGTERM"}
  assert {o.summary["steps"] for o in outcomes} == {6}
  # One of them saved no more than step 4: all go on from there.
  shutil.rmtree(parts[2].workdir / "checkpoints" / "6")
  together.train_together(parts, bar=False)
  for one, other in zip(whole, parts, strict=True):
    assert rows_of(one.workdir) == rows_of(other.workdir)
    ours, theirs = arrays_of(one.workdir), arrays_of(other.workdir)
    assert ours.keys() == theirs.keys()
    for name, array in ours.items():
      np.testing.assert_array_equal(array, theirs[name], name)


@pytest.mark.slow
def test_one_that_diverges_stops_alone(tmp_path, data_dir):
  cells = (CELLS[0], {"seed": 0, "optimizer.learning_rate": 1e38}, CELLS[2])
  runs = runs_of("semi_hard", tmp_path / "three", data_dir, cells=cells)
  outcomes = together.train_together(runs, bar=False)
  assert [bool(o.reason) for o in outcomes] == [False, True, False]
  assert "train.on_nonfinite" in outcomes[1].reason
  assert not (runs[1].workdir / "summary.json").exists()
  # The others are what they are beside a healthy one, bit for bit.
  healthy = (CELLS[0], CELLS[1], CELLS[2])
  others = runs_of("semi_hard", tmp_path / "well", data_dir, cells=healthy)
  together.train_together(others, bar=False)
  for i in (0, 2):
    assert rows_of(runs[i].workdir) == rows_of(others[i].workdir)


def test_passengers_leave_no_trace(tmp_path, data_dir):
  runs = runs_of("semi_hard", tmp_path / "some", data_dir)
  outcomes = together.train_together(
    runs, passengers=[0, 3], members=7, bar=False
  )
  assert [bool(o.summary) for o in outcomes] == [False, True, True, False, True]
  assert not (runs[0].workdir / "metrics.jsonl").exists()


def test_what_shares_a_program():
  base = made()
  for field in NUMBERS:
    value = base
    for name in field.split("."):
      value = value[name]
    other = made({field: value + 1})
    if field != "loss.margin":
      other.loss.margin_end = base.loss.margin_end
    assert program(other) == program(base), field
  for field, value in (
    ("loss.miner", "random"),
    ("batch.images", 2),
    ("loss.margin_end", 0.7),
    ("train.duration", "9 steps"),
  ):
    assert program(made({field: value})) != program(base), field
