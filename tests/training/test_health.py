"""Numbers that go wrong: stopped or skipped, told, and never saved."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import digits
from tripletjax import UserError, checkpoint, manifest
from tripletjax.training import health, objective, parallel, progress
from tripletjax.training.health import Health, judge
from tripletjax.training.loop import train_and_evaluate
from tripletjax.training.memory import stored_steps

BAD = 7  # the step whose loss is not finite, where one is


@pytest.fixture(autouse=True)
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
  config.train.duration = "12 steps"
  config.log.every = "5 steps"
  config.checkpoint.every = "3 steps"
  config.evaluation.every = "0 steps"
  config.update_from_flattened_dict(
    {name.replace("__", "."): value for name, value in fields.items()}
  )
  return config


def train(workdir, data_dir, **fields):
  keywords = {k: fields.pop(k) for k in ("max_steps", "say") if k in fields}
  return train_and_evaluate(
    made(**fields),
    workdir,
    data_dir=data_dir,
    devices=parallel.local_devices()[:2],
    **keywords,
  )


@pytest.fixture
def _one_bad_batch(monkeypatch):
  """The loss of step BAD is not a number, and so is its gradient."""
  make_loss = objective.make_loss

  def make(*arguments, **keywords):
    loss_fn = make_loss(*arguments, **keywords)

    def loss(*arguments, step, **keywords):
      value, statistics = loss_fn(*arguments, step=step, **keywords)
      return value * jnp.where(step == BAD - 1, jnp.nan, 1.0), statistics

    return loss

  monkeypatch.setattr(objective, "make_loss", make)


def rows(workdir):
  lines = (workdir / "metrics.jsonl").read_text().splitlines()
  return [row for row in map(json.loads, lines) if "loss" in row]


def state_of(workdir, step):
  with checkpoint.open_checkpoints(workdir / "checkpoints", keep=99) as found:
    return found.manager.restore(step)["state"]


@pytest.mark.usefixtures("_one_bad_batch")
def test_a_loss_that_is_not_finite_stops_the_run(tmp_path, data_dir):
  with pytest.raises(UserError) as caught:
    train(tmp_path, data_dir)
  path = tmp_path / "nonfinite" / "7.npz"
  assert str(caught.value) == (
    "train.on_nonfinite: the loss is nan, at step 7; its batch is in "
    f"{path}; the last good checkpoint is of step 6"
  )
  assert manifest.steps_in(tmp_path / "checkpoints") == [3, 6]
  assert [row["step"] for row in rows(tmp_path)] == list(range(1, BAD + 1))
  assert rows(tmp_path)[-1]["loss"] is None
  with np.load(path) as batch:
    assert batch["images"].shape == (40, 8, 8, 1)
    assert batch["images"].dtype == np.uint8
    assert np.bincount(batch["labels"]).tolist() == [4] * 10
    assert len(set(batch["ids"])) == 40


SKIPPING = {
  "memory__size": 100,
  "optimizer__ema": 0.9,
  "checkpoint__every": "1 steps",
  "checkpoint__keep": 99,
  "train__on_nonfinite": "skip",
}


@pytest.mark.usefixtures("_one_bad_batch")
def test_a_skipped_step_changes_nothing_but_its_number(tmp_path, data_dir):
  said = []
  train(tmp_path, data_dir, say=said.append, **SKIPPING)
  before, after, later = (state_of(tmp_path, step) for step in (6, 7, 8))
  assert [x.pop("step") for x in (before, after, later)] == [6, 7, 8]
  jax.tree.map(np.testing.assert_array_equal, before, after)
  assert later["memory"]["cursor"] != after["memory"]["cursor"]
  found = rows(tmp_path)
  assert [row["step"] for row in found] == list(range(1, 13))
  assert [row["skipped"] for row in found] == [0.0] * 6 + [1.0] * 6
  assert [row["loss"] is None for row in found] == [
    row["step"] == BAD for row in found
  ]
  assert any("skipped the update of step 7, whose" in line for line in said)


@pytest.mark.slow
@pytest.mark.usefixtures("_one_bad_batch")
def test_a_stopped_run_goes_on_when_told_to_skip(tmp_path, data_dir):
  stopping = SKIPPING | {"train__on_nonfinite": "stop"}
  with pytest.raises(UserError, match="the last good checkpoint is of step 6"):
    train(tmp_path / "a", data_dir, **stopping)
  train(tmp_path / "a", data_dir, max_steps=9, **SKIPPING)
  train(tmp_path / "a", data_dir, **SKIPPING)
  train(tmp_path / "b", data_dir, **SKIPPING)
  assert [row["skipped"] for row in rows(tmp_path / "a")[6:]] == [1.0] * 6
  # One program computes where and one doesn't: equal but for rounding.
  jax.tree.map(
    lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-3, atol=1e-5),
    state_of(tmp_path / "a", 12),
    state_of(tmp_path / "b", 12),
  )


def test_what_is_stored_after_skipped_steps():
  # Steps 0, 1, 3, 4 were stored, of which two batches fit.
  assert stored_steps(6, size=9, batch=4, skipped=[2, 5]) == (3, 4)
  assert stored_steps(2, size=9, batch=4, skipped=[0, 1]) is None


def test_a_state_that_is_not_finite_is_never_saved(tmp_path, data_dir):
  # The step is beyond all numbers, though its loss is not.
  with pytest.raises(UserError, match=r"train\.on_nonfinite: ") as caught:
    train(
      tmp_path,
      data_dir,
      optimizer__name="sgd",
      optimizer__learning_rate=3e38,
      optimizer__warmup="0 steps",
      optimizer__momentum=0.0,
      optimizer__weight_decay=1e9,
      max_steps=1,
    )
  assert "after step 1, though the loss is; it isn't saved" in str(caught.value)
  assert "there is no checkpoint before it" in str(caught.value)
  assert manifest.steps_in(tmp_path / "checkpoints") == []


def judged(values, *, so_far=None, window=3, collapsed=(), **fields):
  train_fields = made(**{f"train__{k}": v for k, v in fields.items()}).train
  found = [
    {
      "loss": np.float32(value),
      "gradient_norm": np.float32(1),
      "collapsed": number in collapsed,
    }
    for number, value in enumerate(values, start=1)
  ]
  return judge(
    so_far or Health(), found, first=1, fields=train_fields, window=window
  )


def test_a_collapse_is_told_when_it_lasts():
  short = judged([1.0] * 6, collapsed=(1, 2, 4, 5))
  assert short.warnings == () == judged([1.0] * 2, collapsed=(1, 2)).warnings
  assert short.health.collapsed == 0
  once = judged([1.0] * 9, collapsed=(2, 3, 4, 5, 6))
  assert [line.partition(":")[2] for line in once.warnings] == [
    " step 4: train.on_collapse: all distances of the last 3 batches are "
    "equal, the embedding has collapsed"
  ]
  # Over two windows, and then no more.
  part = judged([1.0], collapsed=(1,), so_far=Health(collapsed=2))
  assert len(part.warnings) == 1
  assert not judged([1.0], collapsed=(1,), so_far=part.health).warnings
  assert not judged(
    [1.0] * 9, collapsed=range(9), on_collapse="ignore"
  ).warnings
  stopped = judged([1.0] * 9, collapsed=range(9), on_collapse="stop")
  assert stopped.step == 3
  assert stopped.reason.startswith("train.on_collapse: all distances")


def test_a_loss_far_above_its_median_is_told():
  usual = Health(losses=(1.0, 3.0, 2.0) * 5)
  (line,) = judged([4.0, 21.0, 22.0], so_far=usual).warnings
  assert line.startswith("warning: the loss of step 2 is 21, 10.5 times its me")
  assert judged([19.9], so_far=usual).warnings == ()
  assert judged([5.0], so_far=usual, spike=2.0).warnings
  assert not judged([1e9], so_far=usual, spike=0.0).warnings
  # Too few to know what is usual; or all triplets fulfilled.
  assert not judged([1e9], so_far=Health(losses=(1.0,) * 9)).warnings
  assert not judged([1e9], so_far=Health(losses=(0.0,) * 50)).warnings
  assert len(judged([1.0] * 300).health.losses) == health.RECENT


def test_only_skipping_is_no_training():
  skipped = tuple(range(-47, 1))
  last = judged([np.nan], so_far=Health(skipped=skipped), on_nonfinite="skip")
  assert last.step == 0
  assert last.health.skipped[-1] == 1
  end = judged(
    [np.nan, np.inf], so_far=Health(skipped=skipped), on_nonfinite="skip"
  )
  assert end.step == 2
  assert end.reason == (
    "train.on_nonfinite: the loss is inf, as in the 49 steps before it"
  )


@pytest.mark.slow
def test_a_collapse_stops_a_run(tmp_path, data_dir):
  # Beside such a margin all distances are equal.
  with pytest.raises(UserError, match=r"train\.on_collapse: .* at step 5; its"):
    train(
      tmp_path,
      data_dir,
      train__on_collapse="stop",
      loss__margin=1e6,
    )


def test_the_best_by_a_metric_where_less_may_be_better():
  class Run:
    config = made(checkpoint__best="map@r")

  best = progress.better(Run, progress.Best(), 5, {"map@r": 0.0})
  assert best == (5, 0.0)
  assert progress.better(Run, best, 6, {"map@r": float("nan")}) == best
  assert progress.better(Run, best, 6, {"map@r": 0.0}) == best
  assert progress.better(Run, best, 7, {"map@r": 0.1}) == (7, 0.1)
  Run.config.checkpoint.best = "eer"
  assert progress.better(Run, best, 7, {"eer": 0.1}) == best
  assert progress.better(Run, best._replace(value=0.3), 7, {"eer": 0.1}) == (
    7,
    0.1,
  )
  Run.config.checkpoint.best = ""
  assert progress.better(Run, best, 7, {"map@r": 9.0}) == best


@pytest.mark.parametrize(
  ("field", "value", "message"),
  [
    ("train__on_nonfinite", "warn", "expected one of stop, skip, got 'warn'"),
    ("train__on_collapse", "", "expected one of warn, stop, ignore, got ''"),
    ("train__spike", 1.0, "train.spike: expected more than 1, or 0 for no"),
    (
      "checkpoint__best",
      "mapr",
      "checkpoint.best: expected .* map@r, .*'mapr'",
    ),
  ],
)
def test_a_wrong_field_is_named(field, value, message, tmp_path, data_dir):
  with pytest.raises(UserError, match=message):
    train(tmp_path / "run", data_dir, **{field: value})
