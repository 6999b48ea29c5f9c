"""The threshold of a run: chosen on its validation split, and kept."""

import dataclasses
import json
import shutil

import jax
import numpy as np
import pytest
from tiny_sets import EACH, IDENTITIES, noise_run

from tripletjax import Embedder, UserError, pairwise_distance
from tripletjax.inference.thresholds import (
  FILE,
  choose_threshold,
)

ONE = jax.local_devices()[:1]
COUNT = IDENTITIES * EACH
SAME = IDENTITIES * EACH * (EACH - 1) // 2
DIFFERENT = COUNT * (COUNT - 1) // 2 - SAME


@pytest.fixture
def run(lab, tmp_path):
  return shutil.copytree(lab / "run", tmp_path / "run")


def quiet(line):
  pass


def test_it_is_that_of_all_pairs_of_the_split(lab, run, embedded):
  embedder = Embedder.load(run, devices=ONE)
  labels = np.repeat(np.arange(IDENTITIES), EACH)
  matrix = np.asarray(pairwise_distance(embedded.embeddings))
  upper = np.triu_indices(COUNT, 1)
  is_same = (labels[:, None] == labels[None])[upper]
  distances = matrix[upper]
  for far in (0.01, 0.1):
    found = choose_threshold(embedder, far=far, data_dir=lab / "data")
    most = int(round(far * 10_000) * DIFFERENT // 10_000)
    bound = np.sort(distances[~is_same])[most]
    assert found.value == pytest.approx(bound, abs=1e-5)
    assert found.value < bound + 1e-6
    assert found.far == most / DIFFERENT
    tar = np.mean(distances[is_same] < bound)
    assert found.tar == pytest.approx(tar, abs=1e-9)
    assert (found.same_pairs, found.different_pairs) == (SAME, DIFFERENT)
    assert (found.images, found.identities) == (COUNT, IDENTITIES)
    assert found.asked == far
    assert found.data == "noise test"
  said = f"(70 of {DIFFERENT:,} different pairs), true-accept rate "
  assert said in found.describe()


def test_it_is_kept_by_network_split_and_rate(lab, run, tmp_path):
  embedder = Embedder.load(run, devices=ONE)
  bars = []

  class Bar:
    def __init__(self, total, start):
      bars.append([total, 0])

    def update(self, count):
      bars[-1][1] += count

    def close(self):
      bars[-1].append("closed")

  asked = {"data_dir": lab / "data", "open_bar": Bar}
  first = choose_threshold(embedder, far=0.1, **asked)
  assert bars == [[COUNT, COUNT, "closed"]]
  # The data isn't needed any more.
  again = choose_threshold(embedder, far=0.1, data_dir=tmp_path / "no")
  assert again == first
  with pytest.raises(UserError, match="isn't prepared"):
    choose_threshold(embedder, far=0.2, data_dir=tmp_path / "no")
  other = choose_threshold(embedder, far=0.2, split="train", **asked)
  assert len(bars) == 2
  assert other.data == "noise train"
  entries = json.loads((run / FILE).read_text())["thresholds"]
  assert [(e["split"], e["asked"], e["step"]) for e in entries] == [
    ("eval", 0.1, 20),
    ("train", 0.2, 20),
  ]
  # Another network in the same folder, at the same step.
  changed = dataclasses.replace(embedder, image_shape=embedder.image_shape)
  changed.__dict__["fingerprint"] = "another"
  choose_threshold(changed, far=0.1, **asked)
  assert len(bars) == 3
  assert choose_threshold(embedder, far=0.1, **asked) == first
  assert len(bars) == 3


@pytest.mark.parametrize(
  "text",
  [
    "",
    "[",
    "[1]",
    '{"thresholds": 3}',
    '{"thresholds": [3, {}, {"fingerprint": 1}]}',
    "[" * 100_000,
  ],
)
def test_what_cannot_be_read_is_chosen_again(lab, run, text):
  embedder = Embedder.load(run, devices=ONE)
  (run / FILE).write_text(text)
  found = choose_threshold(embedder, far=0.1, data_dir=lab / "data")
  (entry,) = json.loads((run / FILE).read_text())["thresholds"]
  assert entry["value"] == found.value


def test_kept_numbers_that_are_none_are_chosen_again(lab, run):
  embedder = Embedder.load(run, devices=ONE)
  found = choose_threshold(embedder, far=0.1, data_dir=lab / "data")
  for field, value in (("value", "x"), ("tar", []), ("far", None), ("data", 3)):
    kept = json.loads((run / FILE).read_text())
    kept["thresholds"][0][field] = value
    (run / FILE).write_text(json.dumps(kept))
    assert choose_threshold(embedder, far=0.1, data_dir=lab / "data") == found


def test_a_folder_that_cannot_be_written(lab, run, monkeypatch):
  from tripletjax.inference import thresholds

  def fail(path, value):
    raise OSError(30, "Read-only file system")

  monkeypatch.setattr(thresholds, "write_json", fail)
  said = []
  embedder = Embedder.load(run, devices=ONE)
  found = choose_threshold(
    embedder, far=0.1, data_dir=lab / "data", say=said.append
  )
  assert found.value > 0
  assert said == [
    f"{run / FILE} can't be written: Read-only file system; chosen again next "
    "time"
  ]


def test_what_cannot_be_right(lab, embedder, tmp_path):
  asked = {"data_dir": lab / "data"}
  for far in (0.0, 1.0, float("nan")):
    with pytest.raises(UserError, match="--far: expected a rate between 0 and"):
      choose_threshold(embedder, far=far, **asked)
  with pytest.raises(
    UserError, match=r"1e-06 can't .* expected at least 0.001"
  ):
    choose_threshold(embedder, far=1e-6, **asked)
  with pytest.raises(UserError, match="--split: no split 'no'; choose from"):
    choose_threshold(embedder, split="no", **asked)
  run = noise_run(tmp_path / "run", shape=(6, 6, 1))
  other = Embedder.load(run, devices=ONE)
  with pytest.raises(
    UserError, match=r"expected images of 6 x 6 x 1 as .*got 12"
  ):
    choose_threshold(other, **asked)
