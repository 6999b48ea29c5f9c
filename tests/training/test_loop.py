"""A whole small run: its files, its exact resume, its devices, its errors."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from configs import digits
from tests.emitters import new_emitters
from tripletjax import UserError
from tripletjax.training import parallel
from tripletjax.training.loop import train_and_evaluate
from tripletjax.training.run_folder import find_run

STEPS = 20
ROOT = Path(__file__).parent.parent.parent


@pytest.fixture(scope="module", autouse=True)
def _standard_promotion():
  # Optax's Adam multiplies its integer count with floats.
  with jax.numpy_dtype_promotion("standard"):
    yield


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
  return tmp_path_factory.mktemp("data")


def config(**fields):
  config = digits.get_config("smoke")
  for field, value in fields.items():
    group, _, name = field.partition("__")
    config[group][name] = value
  return config


def train(workdir, data_dir, *, devices=1, **keywords):
  fields = {k: keywords.pop(k) for k in list(keywords) if "__" in k}
  return train_and_evaluate(
    config(**fields),
    workdir,
    data_dir=data_dir,
    devices=parallel.local_devices()[:devices],
    **keywords,
  )


def rows(workdir):
  """Rows of the metrics file without what depends on the clock."""
  lines = (workdir / "metrics.jsonl").read_text().splitlines()
  return [
    {
      name: value
      for name, value in json.loads(line).items()
      if name != "images_per_second" and not name.startswith("seconds/")
    }
    for line in lines
  ]


@pytest.fixture(scope="module")
def whole(tmp_path_factory, data_dir):
  """A run that nothing interrupts."""
  workdir = tmp_path_factory.mktemp("whole")
  said = []
  summary = train(workdir, data_dir, say=said.append)
  return workdir, summary, said


def test_the_summary_is_what_is_written_and_holds_the_three_rows(whole):
  workdir, summary, _ = whole
  assert json.loads((workdir / "summary.json").read_text()) == summary
  assert summary["steps"] == STEPS
  for row in ("trained", "untrained", "raw_pixels"):
    for name in ("recall@1", "map@r", "accuracy", "tar@far=1e-03"):
      assert 0 <= summary[row][name] <= 1


def test_every_step_has_one_row_and_evaluations_have_theirs(whole):
  workdir, _, _ = whole
  steps = [row["step"] for row in rows(workdir) if "loss" in row]
  assert steps == list(range(1, STEPS + 1))
  evaluated = [row["step"] for row in rows(workdir) if "eval/map@r" in row]
  assert evaluated == [5, 10, 15, 20]


def test_it_says_devices_config_and_split(whole):
  text = "\n".join(whole[2])
  for words in (
    "devices: 1 x cpu",
    "loss.margin = 0.2",
    "train: digits train: ",
    "10 of 10 evaluated identities were seen",
  ):
    assert words in text


def test_files_that_the_report_reads(whole):
  workdir, _, _ = whole
  assert json.loads((workdir / "config.json").read_text())["seed"] == 0
  assert list((workdir / "tensorboard").glob("events.out.tfevents*"))
  with np.load(workdir / "evaluation.npz", allow_pickle=False) as file:
    assert len(file["embeddings"]) == len(file["labels"]) == len(file["images"])
  with np.load(workdir / "triplets.npz", allow_pickle=False) as file:
    assert (file["anchor_labels"] != file["negative_labels"]).all()
    # Semi-hard: every negative is beyond its positive.
    assert (file["distance_an"] > file["distance_ap"]).all()


def test_half_and_restart_and_half_equal_the_whole_bit_for_bit(
  whole, tmp_path, data_dir
):
  half = train(tmp_path, data_dir, max_steps=STEPS // 2)
  assert half["steps"] == STEPS // 2
  assert "trained" not in half
  # What was written after the last checkpoint is written again, once.
  with (tmp_path / "metrics.jsonl").open("a") as file:
    file.write('{"step": 11, "loss": 77.0}\n{"step": 12, "lo')
  said = []
  summary = train(tmp_path, data_dir, say=said.append)
  assert f"resumed: step {STEPS // 2} of {STEPS}" in said
  workdir, expected, _ = whole
  assert rows(tmp_path) == rows(workdir)
  for row in ("trained", "untrained", "raw_pixels"):
    assert summary[row] == expected[row]
  with (
    np.load(tmp_path / "evaluation.npz") as resumed,
    np.load(workdir / "evaluation.npz") as uninterrupted,
  ):
    np.testing.assert_array_equal(
      resumed["embeddings"], uninterrupted["embeddings"]
    )


def test_a_finished_run_started_again_trains_nothing(whole, tmp_path, data_dir):
  workdir, expected, _ = whole
  shutil.copytree(workdir, tmp_path / "copy")
  summary = train(tmp_path / "copy", data_dir)
  assert summary == expected
  assert rows(tmp_path / "copy") == rows(workdir)


@pytest.mark.parametrize(
  "backend", ["shard_map", pytest.param("pmap", marks=pytest.mark.slow)]
)
def test_eight_devices_draw_the_curves_of_one(
  whole, tmp_path, data_dir, backend
):
  # Adam divides by its second moments, so that rounding grows from step to
  # step: the gradients' own equality is tested to 1e-5 in test_step.
  train(tmp_path, data_dir, devices=8, parallel__backend=backend)
  for row, expected in zip(rows(tmp_path), rows(whole[0]), strict=True):
    for name in ("loss", "positive_distance", "negative_distance"):
      if name in row:
        np.testing.assert_allclose(row[name], expected[name], rtol=1e-3)


def test_training_teaches_more_than_nothing(tmp_path, data_dir):
  summary = train(
    tmp_path,
    data_dir,
    train__duration="100 steps",
    evaluation__every="0 steps",
    optimizer__learning_rate=1e-2,
  )
  assert summary["trained"]["map@r"] > summary["untrained"]["map@r"] + 0.1


EVERY_PLACE = """
import sys
from configs import digits
from tripletjax.training.loop import train_and_evaluate

workdir, data_dir = sys.argv[1:]
for turns in (True, False):
  for place in ("host", "device", "none"):
    config = digits.get_config("smoke")
    config.data.cache = place
    config.augment.rotation_classes = turns
    config.train.duration = config.evaluation.every = "4 steps"
    train_and_evaluate(
      config, f"{workdir}/{place}-{turns}", data_dir=data_dir, say=print
    )
"""


@pytest.mark.slow
def test_where_images_are_held_changes_nothing(tmp_path, data_dir):
  # With users' emitters: those of the tests round otherwise where the images
  # are taken by the same program.
  said = subprocess.run(
    [sys.executable, "-c", EVERY_PLACE, tmp_path, data_dir],
    capture_output=True,
    text=True,
    check=True,
    cwd=ROOT,
    env=new_emitters(devices=2, cache=tmp_path / "cache"),
  ).stdout.splitlines()
  assert said.count("devices: 2 x cpu (cpu)") == 6
  lines = [line for line in said if line.startswith("cache: train ")]
  for words in ("in host memory", "in device memory", "decoded for each batch"):
    assert sum(words in line.partition(";")[0] for line in lines) == 2
  for turns in (True, False):
    host, device, none = (
      rows(tmp_path / f"{place}-{turns}")
      for place in ("host", "device", "none")
    )
    assert none == host == device


def test_another_config_in_the_folder_is_refused(whole, data_dir):
  with pytest.raises(UserError, match=r"loss\.margin = 0\.2, not 0\.3"):
    train(whole[0], data_dir, loss__margin=0.3)


@pytest.mark.parametrize(
  ("field", "value", "message"),
  [
    ("loss__miner", "semihard", "loss.miner: expected one of all, all_hard"),
    ("loss__distance", "l3", "loss.distance: expected one of squared_"),
    ("loss__reduction", "max", "loss.reduction: expected one of sum, mean"),
    ("loss__margin", -0.1, "loss.margin: expected 0 or more, got -0.1"),
    ("loss__margin", float("nan"), "loss.margin: expected 0 or more, got nan"),
    ("model__name", "resnet", "model.name: expected one of convnet"),
    ("model__features", (), "model.features: expected channels"),
    ("model__features", (8, "a"), "model.features: expected channels"),
    ("optimizer__epsilon", -1.0, "optimizer.epsilon: expected more than 0"),
    ("model__dimension", 0, "model.dimension: expected more than 0"),
    ("model__norm", "layer", "model.norm: expected one of batch, group"),
    (
      "model__dtype",
      "float16",
      "model.dtype: expected one of float32, bfloat16",
    ),
    ("model__dropout", 1.0, "model.dropout: expected 0 to 0.9, got 1"),
    ("batch__chunk", -1, "batch.chunk: expected 0 or more, got -1"),
    ("batch__chunk", 4, "model.norm: expected group beside batch.chunk"),
    ("optimizer__accumulate", 0, "optimizer.accumulate: expected 1 batch"),
    ("batch__identities", 11, "batch.identities: expected at most 10"),
    ("batch__images", 500, "batch.images: expected at most"),
    ("train__duration", "20", "train.duration: expected a duration"),
    ("data__name", "digit", "data.name: .*digits"),
    ("data__eval_split", "validation", "data.eval_split: .*train, test"),
    ("data__label_key", "identity", "data.label_key: .*label"),
    ("data__image_key", "picture", "data.image_key: .*image"),
    ("data__group_key", "font", "data.group_key: .*label"),
    ("data__image_size", "8xx", "data.image_size: expected 64 or 128x64"),
    ("data__channels", 2, "data.channels: expected 0, 1 or 3, got 2"),
    ("data__split_by", "label", "data.split_by: expected one of identity, gro"),
    ("data__split_by", "image", "data.eval_split: expected nothing, since"),
    ("parallel__backend", "pjit", "backend: expected one of pmap, shard_map"),
    ("parallel__references", "rings", "references: expected one of gather, r"),
    ("data__cache", "disk", "data.cache: expected one of auto, host, device"),
    ("batch__within", "country", 'batch.within: expected one of "", group, go'),
    ("batch__within", "group", "since the data has no groups"),
    ("batch__weights", "log", "batch.weights: expected one of uniform, images"),
    ("augment__hue", 0.6, "augment.hue: expected 0 to 0.5, got 0.6"),
    ("augment__flip", -0.1, "augment.flip: expected 0 to 1, got -0.1"),
    ("augment__erasing", 1.1, "augment.erasing: expected 0 to 1, got 1.1"),
    ("augment__crop", -1, "augment.crop: expected 0 or more, got -1"),
    ("augment__elastic_smoothness", 0.0, "smoothness: expected more than 0"),
    ("augment__identity_shear", -1.0, "identity_shear: expected 0 or more"),
    ("data__unseen", "label", 'data.unseen: expected one of "", identity, gr'),
    ("data__unseen", "group", "data.unseen: digits has no groups"),
    ("data__unseen", "identity", "each identity of test is in train too"),
    ("optimizer__learning_rate", 0.0, "optimizer.learning_rate: expected more"),
    ("evaluation__ks", (0,), "evaluation.ks"),
    ("evaluation__folds", 1, "evaluation.folds"),
    ("evaluation__far", (2.0,), "evaluation.far"),
    ("evaluation__episodes", -1, "evaluation.episodes: expected 0 to 1,000,00"),
    ("evaluation__views", 0, "evaluation.views: expected 1 to 1,000, got 0"),
    ("evaluation__view_temperature", -1.0, "view_temperature: expected 0 or"),
    ("evaluation__ways", 1, "evaluation.ways: expected 2 identities or more"),
    ("evaluation__cameras", "c", "evaluation.cameras: expected an expression"),
    ("evaluation__cameras", "_(.)", "doesn't say the names of its files"),
  ],
)
def test_a_wrong_field_is_named(field, value, message, tmp_path, data_dir):
  with pytest.raises(UserError, match=message):
    train(tmp_path / "run", data_dir, **{field: value})
  # Nothing is left that a corrected run would trip over.
  assert not (tmp_path / "run").exists()


def test_devices_must_share_the_batch_evenly(tmp_path, data_dir):
  with pytest.raises(UserError, match="multiple of the 3 devices, got 40"):
    train(tmp_path, data_dir, devices=3)


def test_a_workdir_that_cannot_be_made_is_named(tmp_path, data_dir):
  (tmp_path / "file").write_text("")
  with pytest.raises(UserError, match="--workdir: can't use"):
    train(tmp_path / "file" / "run", data_dir)


def test_resume_finds_the_newest_run(tmp_path):
  for name in ("digits-20250101-000000", "digits-20250102-000000", "digits-x"):
    (tmp_path / name / "checkpoints" / "5").mkdir(parents=True)
  newest = find_run(None, "digits", runs=str(tmp_path))
  assert newest.name == "digits-20250102-000000"
  (tmp_path / "empty").mkdir()
  with pytest.raises(UserError, match="--resume: no checkpoint in"):
    find_run(str(tmp_path / "empty"), "digits")


def test_the_devices_of_the_tests_are_eight():
  assert len(jax.devices()) == 8
