import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import prepared_sets
import pytest
from prepared_sets import example as one

from tripletjax.data import caching, preparation, sources
from tripletjax.errors import UserError

SHARD = "digits-train.array_record-00000-of-00001"


@pytest.fixture
def own_dir(data_dir, tmp_path):
  shutil.copytree(data_dir / "digits", tmp_path / "digits")
  return tmp_path


def count(folder):
  builder = preparation.prepare("digits", data_dir=folder)
  return sum(split.num_examples for split in builder.info.splits.values())


def test_prepared_once_then_opened(tmp_path, capsys):
  assert count(tmp_path / "new") == 1797
  out, err = capsys.readouterr()
  assert (out, len(err.splitlines())) == ("", 1)
  assert count(tmp_path / "new") == 1797
  assert capsys.readouterr() == ("", "")


def test_opening_needs_no_writable_folder(own_dir):
  before = sorted(own_dir.rglob("*"))
  assert count(own_dir) == 1797
  assert sorted(own_dir.rglob("*")) == before


def test_processes_that_start_together_prepare_once(tmp_path, capsys):
  with ThreadPoolExecutor(3) as pool:
    assert list(pool.map(count, [tmp_path] * 3)) == [1797] * 3
  assert capsys.readouterr().err.count("Preparing") == 1


def test_killed_preparation_is_done_again(tmp_path):
  killed = (
    "import os, signal, sys\n"
    "from tripletjax.data import digits, preparation\n"
    "whole = digits.Digits._generate_examples\n"
    "def some(*args):\n"
    "  for index, example in enumerate(whole(*args)):\n"
    "    if index == 20: os.kill(os.getpid(), signal.SIGKILL)\n"
    "    yield example\n"
    "digits.Digits._generate_examples = some\n"
    "preparation.prepare('digits', data_dir=sys.argv[1])\n"
  )
  run = subprocess.run(
    [sys.executable, "-c", killed, str(tmp_path)], capture_output=True
  )
  assert run.returncode == -9
  assert len(list(tmp_path.glob("digits/incomplete.*_1.0.0"))) == 1
  assert count(tmp_path) == 1797
  assert [path.name for path in tmp_path.glob("digits/*")] == ["1.0.0"]


@pytest.mark.parametrize("name", ["dataset_info.json", "features.json", SHARD])
def test_half_written_folder_is_prepared_again(own_dir, name):
  path = own_dir / "digits" / "1.0.0" / name
  path.unlink()
  assert count(own_dir) == 1797
  assert path.exists()


def test_truncated_shard_is_named(own_dir):
  path = own_dir / "digits" / "1.0.0" / SHARD
  path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
  with pytest.raises(UserError, match=r"--data_dir: .*1\.0\.0 is damaged"):
    sources.open_source("digits", data_dir=own_dir, split="train")


def test_folder_that_cannot_be_written(tmp_path):
  (tmp_path / "file").write_text("")
  with pytest.raises(UserError, match=r"--data_dir: can't prepare digits in"):
    preparation.prepare("digits", data_dir=tmp_path / "file" / "data")


@pytest.mark.parametrize("name", ["glyphs/huge", "digits/full"])
def test_unknown_variant_lists_the_known(name):
  with pytest.raises(UserError) as error:
    preparation.prepare(name, data_dir="unused")
  assert str(error.value) == (
    f"data.name: unknown {name!r}; choose one of glyphs, digits, strokes, "
    "glyphs/full, glyphs/tiny, strokes/full, strokes/tiny"
  )


@pytest.mark.parametrize(
  ("name", "middle", "command"),
  [
    ("cars", "", "--images=FOLDER --name=cars"),
    ("minne", "; did you mean 'mine'?", "--images=FOLDER --name=minne"),
    ("../up", "", "--images=FOLDER --name=NAME"),
    ("", "", "--images=FOLDER --name=NAME"),
    ("omniglot:3.0.0", "", "--tfds=omniglot:3.0.0"),
    ("emnist/letters", "", "--tfds=emnist/letters"),
  ],
)
def test_unprepared_set_says_the_command(tmp_path, name, middle, command):
  prepared_sets.write_set(tmp_path, "mine", {"train": [one(0), one(3)]})
  with pytest.raises(UserError) as error:
    preparation.prepare(name, data_dir=tmp_path)
  assert str(error.value) == (
    f"data.name: {name!r} isn't prepared in {tmp_path}, where digits, glyphs, "
    f"mine, strokes can be used{middle}; prepare it by python -m "
    f"experiments.prepare {command} --data_dir={tmp_path}"
  )


def test_missing_shard_and_damaged_description_are_named(tmp_path):
  folder = prepared_sets.write_set(
    tmp_path, "mine", {"train": [one(0), one(3)]}
  )
  shard = folder / "mine-train.array_record-00001-of-00002"
  shard.rename(tmp_path / "away")
  with pytest.raises(UserError, match=f"{shard.name} is missing; prepare mine"):
    preparation.prepare("mine", data_dir=tmp_path)
  (tmp_path / "away").rename(shard)
  preparation.prepare("mine", data_dir=tmp_path)
  (folder / "dataset_info.json").write_text("")
  with pytest.raises(UserError, match=r"--data_dir: the description of mine"):
    preparation.prepare("mine", data_dir=tmp_path)


def test_tensorflow_is_not_imported():
  code = (
    "import sys, tripletjax.data.sources; print('tensorflow' in sys.modules)"
  )
  run = subprocess.run([sys.executable, "-c", code], capture_output=True)
  assert run.stdout.split() == [b"False"]


def test_another_process_draws_the_same_in_the_same_order(data_dir, tmp_path):
  code = (
    "import sys; from tripletjax.data import preparation\n"
    "preparation.prepare('glyphs/tiny', data_dir=sys.argv[1])"
  )
  # Another hash seed: the order of sets and of names must not matter.
  subprocess.run(
    [sys.executable, "-c", code, str(tmp_path)],
    env=os.environ | {"PYTHONHASHSEED": "77"},
    check=True,
  )
  one, other = (
    caching.cache(
      sources.open_source("glyphs/tiny", data_dir=folder, split="latin+lao")
    )
    for folder in (data_dir, tmp_path)
  )
  np.testing.assert_array_equal(one.images, other.images)
  np.testing.assert_array_equal(one.labels, other.labels)
  assert one.label_names == other.label_names
