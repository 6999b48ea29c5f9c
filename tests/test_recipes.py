"""The recipes of papers: their numbers, and that each of them trains."""

import importlib
import json

import jax
import numpy as np
import pytest

from configs import glyphs
from tripletjax import UserError
from tripletjax.training import objective
from tripletjax.training.loop import train_and_evaluate
from tripletjax.training.optimizer import make_schedule as make_rate
from tripletjax.training.schedule import make_schedule

RECIPES = (
  "facenet",
  "hermans",
  "sampling_matters",
  "easy_positive",
  "omoindrot",
)
ON_GLYPHS = tuple(name for name in RECIPES if name != "omoindrot")


@pytest.fixture(autouse=True)
def standard_promotion():
  # Optax's schedules multiply an int32 step.
  with jax.numpy_dtype_promotion("standard"):
    yield


def config_of(name, variant=""):
  return importlib.import_module(f"configs.{name}").get_config(variant)


def rates(config, steps):
  schedule = make_schedule(config, batches_per_epoch=100)
  rate = make_rate(
    config,
    total_steps=schedule.total,
    warmup_steps=schedule.warmup,
    decay_start=schedule.decay,
  )
  return [float(rate(step)) for step in steps]


@pytest.mark.parametrize("name", RECIPES)
def test_every_variant_can_be_run_and_has_the_recipe_s_loss(name):
  paper = config_of(name)
  variants = ["smoke", *(["glyphs"] if name in ON_GLYPHS else [])]
  for variant in ("", *variants):
    config = config_of(name, variant)
    objective.check_config(config)
    assert config.loss.to_dict() == paper.loss.to_dict()
    assert config.optimizer.name == paper.optimizer.name
    assert config.optimizer.schedule == paper.optimizer.schedule
    assert config.model.normalize == paper.model.normalize
  with pytest.raises(ValueError, match="expected variant"):
    config_of(name, "big")


def test_facenet_s_numbers():
  config = config_of("facenet")
  assert (config.batch.identities, config.batch.images) == (45, 40)
  assert config.loss.miner == "random_semi_hard"
  assert config.loss.distance == "squared_euclidean"
  assert (config.loss.margin, config.model.dimension) == (0.2, 128)
  assert config.data.image_size == "160"
  for devices in (1, 2, 4, 8):
    assert 1800 // devices % config.batch.chunk == 0
    assert config.evaluation.batch_size % devices == 0
  found = rates(config, [0, 400_000, 450_000, 500_000])
  np.testing.assert_allclose(found, [0.05, 0.05, 0.005, 0.0005], rtol=1e-4)


def test_hermans_s_numbers():
  config = config_of("hermans")
  assert (config.batch.identities, config.batch.images) == (18, 4)
  assert (config.loss.soft, config.loss.margin) == (True, 0.0)
  assert not config.model.normalize
  # 3e-4 * .001 ** ((step - 15,000) / 10,000)
  found = rates(config, [0, 15_000, 20_000, 25_000])
  np.testing.assert_allclose(
    found, [3e-4, 3e-4, 3e-4 * 0.001**0.5, 3e-7], rtol=1e-4
  )


def test_sampling_matters_numbers():
  config = config_of("sampling_matters")
  assert objective.loss_parameters(config) == {"beta": 1.2}
  epochs = [0, 11.9, 12, 14, 16, 18, 20]
  found = rates(config, [round(200 * epoch) for epoch in epochs])
  halvings = np.array([0, 0, 1, 2, 3, 4, 4])
  np.testing.assert_allclose(found, 1e-4 * 0.5**halvings, rtol=1e-4)


def test_easy_positive_s_numbers():
  config = config_of("easy_positive")
  total = make_schedule(config, batches_per_epoch=12).total
  assert total == round(100 * 8054 / 128)
  quarters = [total // 4 * n + 2 for n in range(4)]
  found = rates(config, quarters)
  np.testing.assert_allclose(found, [1e-2, 1e-2, 1e-3, 1e-4], rtol=1e-4)


def test_a_rate_may_be_of_beta_and_of_nothing_that_is_not_there(tmp_path):
  config = config_of("sampling_matters", "smoke")
  config.optimizer.rates = "losss/=10"
  with pytest.raises(UserError, match=r"optimizer.rates: 'losss/' is in no"):
    train_and_evaluate(config, tmp_path / "run", data_dir=tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", RECIPES)
def test_each_recipe_trains(name, tmp_path):
  config = config_of(name, "smoke")
  config.train.duration = "6 steps"
  config.log.every = "1 steps"
  before = config_of(name, "smoke").optimizer.learning_rate
  assert before > 0
  summary = train_and_evaluate(
    config,
    tmp_path / "run",
    data_dir=tmp_path,
    devices=jax.local_devices()[:2],
    bar=False,
  )
  lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
  steps = [line for line in map(json.loads, lines) if "loss" in line]
  assert len(steps) == 6
  assert all(np.isfinite(line["loss"]) for line in steps)
  assert all(line["gradient_norm"] > 0 for line in steps)
  assert 0 < summary["trained"]["recall@1"] <= 1
  if name == "sampling_matters":
    assert steps[0]["beta"] == pytest.approx(1.2)
    assert abs(steps[-1]["beta"] - 1.2) > 1e-3


def test_all_fields_are_those_of_the_main_job():
  # The architecture test says so of all; here, that kinds are the same too.
  def kinds(config):
    return {
      name: type(value)
      for name, value in config.copy_and_resolve_references().items()
    }

  for name in RECIPES:
    for part in ("data", "batch", "augment", "model", "optimizer", "train"):
      own = kinds(config_of(name)[part])
      assert own == kinds(glyphs.get_config()[part]), (name, part)
