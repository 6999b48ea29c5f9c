"""The command that prepares images, as a user types it."""

import importlib.util
import json
import os
import pty
import subprocess
import sys
import termios
import zipfile
from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from tests import prepared_sets
from tripletjax.data.downloading import counts, download
from tripletjax.errors import UserError

ROOT = Path(__file__).parent.parent
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}

# Runs the command once for each list of arguments; imports are most of its
# time. Prints exit code and standard error of each as JSON.
MANY = """
import contextlib, io, json, sys
from absl import flags
from experiments import app, prepare
results = []
for arguments in json.loads(sys.argv[1]):
  error = io.StringIO()
  with contextlib.redirect_stderr(error), contextlib.redirect_stdout(error):
    try:
      sys.argv = ["prepare", *arguments]
      app.run(prepare.main)
    except SystemExit as end:
      results.append([end.code, error.getvalue()])
  for flag in prepare.flags.FLAGS.flags_by_module_dict()["experiments.prepare"]:
    flag.unparse()
  flags.FLAGS.unparse_flags()
print(json.dumps(results))
"""


def image(path, value):
  path.parent.mkdir(parents=True, exist_ok=True)
  Image.fromarray(np.full((4, 4), value, np.uint8)).save(path)


@pytest.fixture
def folder(tmp_path):
  for number in range(6):
    image(tmp_path / "in" / f"p{number // 2}" / f"{number}.png", 9 * number)
  image(tmp_path / "in" / "p3" / "again.png", 0)  # as p0/0.png
  return tmp_path / "in"


def command(*arguments, cwd, **options):
  return subprocess.run(
    [sys.executable, "-m", "experiments.prepare", *map(str, arguments)],
    text=True,
    cwd=cwd,
    env=ENVIRONMENT,
    timeout=120,
    **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | options,
  )


SAID = """\
14 images of 4 identities
images per identity: 2 to 4, median 4
files: PNG, 4 x 4, grey
splits: one 7 images of 4 identities, two 7 images of 4 identities; 4 in more \
than one
duplicates: 6 pictures more than once, 8 to spare
  1 under two identities or more (a wrong label?), such as one: p0/0.png = \
one: p3/again.png = two: p0/0.png
  6 in two splits or more (leakage), such as one: p0/0.png = one: \
p3/again.png = two: p0/0.png
data/in/1.0.0/findings.png
data/in/1.0.0
"""


def test_what_it_prints_and_leaves(folder, tmp_path):
  with zipfile.ZipFile(tmp_path / "in.zip", "w") as file:
    for path in sorted(folder.rglob("*.png")):
      file.write(path, path.relative_to(tmp_path))
  arguments = ("--image_size=0", "--images=one=in", "--images=two=in.zip")
  result = command(*arguments, cwd=tmp_path)
  assert (result.returncode, result.stderr) == (0, "")
  assert result.stdout == SAID
  made = tmp_path / "data" / "in" / "1.0.0"
  with Image.open(made / "findings.png") as picture:
    assert picture.size == (1000, 560)
  splits = tfds.builder_from_directory(made).info.splits
  assert {name: split.num_examples for name, split in splits.items()} == {
    "one": 7,
    "two": 7,
  }
  again = command(*arguments, cwd=tmp_path)
  assert (again.returncode, again.stderr) == (0, "")
  first, rest = again.stdout.split("\n", 1)
  assert first == (
    "data/in/1.0.0 is already prepared of the same images and options"
  )
  assert rest == SAID


def test_a_terminal_sees_a_progress_bar(folder, tmp_path):
  ours, theirs = pty.openpty()
  termios.tcsetwinsize(theirs, (24, 80))
  (folder / "p1" / "9.png").write_bytes(b"damaged")
  arguments = [f"--images={folder}", "--image_size=2x3", "--name=bar"]
  result = command(*arguments, "--skip_unreadable", cwd=tmp_path, stderr=theirs)
  os.close(theirs)
  seen = os.read(ours, 100_000).decode()
  os.close(ours)
  assert result.returncode == 0
  assert "prepare: 100%" in seen
  assert "8/8" in seen
  assert (
    "unreadable, left out: 1 (p1/9.png: cannot identify image file)\n"
    in result.stdout
  )
  assert "2 x 3" in result.stdout


def test_mistakes_are_one_line_and_exit_code_2(folder, tmp_path):
  (folder / "p1" / "9.png").write_bytes(b"damaged")
  empty = tmp_path / "empty"
  empty.mkdir()
  with zipfile.ZipFile(tmp_path / "evil.zip", "w") as file:
    file.writestr("../../evil.png", b"x")
  (tmp_path / "list.csv").write_text("file,label\n")
  images, data = f"--images={folder}", f"--data_dir={tmp_path / 'data'}"
  rows = {
    (): "expected exactly one of --images, --csv, --tfds, got none",
    (images, "--tfds=lfw"): "got --images and --tfds",
    (images, "--image_size=big"): "--image_size: expected 64 or 128x64",
    (images, "--image_size=0x3"): "--image_size: expected 64 or 128x64, got",
    (images, data): f"can't read the image {folder}/p1/9.png: cannot ",
    (images, data, "--name=lfw"): "--name: lfw is the name of another set",
    (images, f"--data_dir={tmp_path}/list.csv"): "--data_dir: can't prepare in",
    (f"--images={empty}",): f"--images: no image in {empty}; expected",
    (f"--images={folder}/p2/..",): "p1/9.png",
    (f"--images={tmp_path}/evil.zip",): "'../../evil.png' climbs out of its",
    (f"--csv={tmp_path}/list.csv",): "no column 'path'; there are file, label",
    ("--csv=no.csv",): "--csv: can't read no.csv: No such file or directory",
    ("--tfds=omniglt",): "TFDS has no set 'omniglt'; did you mean omniglot",
    ("--tfds=lfw", "--name=x"): "--tfds: --name, --image_size, --skip_unread",
    ("--image=x",): "unknown flag --image, did you mean 'images'?",
  }
  result = subprocess.run(
    [sys.executable, "-c", MANY, json.dumps(list(rows))],
    capture_output=True,
    text=True,
    cwd=tmp_path,
    env=ENVIRONMENT,
  )
  assert result.returncode == 0, result.stderr
  answers = json.loads(result.stdout)
  for (arguments, message), (code, said) in zip(
    rows.items(), answers, strict=True
  ):
    assert code == 2, (arguments, said)
    assert said.count("\n") == 1, said
    assert said.startswith("error: ")
    assert message in said, arguments
  assert not list(tmp_path.rglob("1.0.0/*.json"))
  assert not (tmp_path.parent / "evil.png").exists()


def test_tensorflow_is_asked_for_by_its_extra(tmp_path, monkeypatch):
  monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
  with pytest.raises(UserError) as error:
    download("lfw", data_dir=tmp_path)
  assert str(error.value) == (
    "--tfds: preparing a set of TFDS needs TensorFlow: pip install "
    "'tripletjax[prepare]'; training doesn't need it"
  )


def test_sets_of_tfds_are_written_as_array_record(tmp_path, monkeypatch):
  """With a builder that writes what TFDS would have fetched."""
  from tripletjax.data import downloading

  asked = {}

  class Builder:
    def __init__(self, data_dir):
      self.data_dir = os.path.join(data_dir, "lfw", "0.1.1")

    def download_and_prepare(self):
      if asked["name"] == "lfw:9.9.9":
        raise AssertionError("Dataset lfw\n has no such version")

  def builder(name, **options):
    asked.update(options, name=name)
    return Builder(options["data_dir"])

  monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
  monkeypatch.setattr(downloading.tfds, "builder", builder)
  made = download("lfw", data_dir=tmp_path)
  assert made == tmp_path / "lfw" / "0.1.1"
  assert asked == {
    "name": "lfw",
    "data_dir": str(tmp_path),
    "file_format": "array_record",
  }
  with pytest.raises(
    UserError, match=r"can't prepare lfw:9.9.9: Dataset lfw h"
  ):
    download("lfw:9.9.9", data_dir=tmp_path)


def test_drawn_sets_need_no_tensorflow(tmp_path, capsys):
  made = download("digits", data_dir=tmp_path)
  assert made == tmp_path / "digits" / "1.0.0"
  assert (made / "dataset_info.json").exists()
  assert "Preparing digits" in capsys.readouterr().err
  assert len(counts("digits", data_dir=tmp_path)) == 2


def test_counts_of_a_set(tmp_path):
  examples = [prepared_sets.example(number) for number in range(12)]
  splits = {"train": [*examples[:4], examples[6]], "test": examples[4:6]}
  prepared_sets.write_set(tmp_path, "few", splits)
  assert sorted(counts("few", data_dir=tmp_path)) == [
    "test: images 2, identities 1; of one 2 to 2, median 2; identities with a "
    "single image 0",
    "train: images 5, identities 3; of one 1 to 3, median 1; identities with a "
    "single image 2",
  ]


def test_an_interruption_from_the_keyboard_is_one_line():
  code = (
    "from experiments import app\n"
    "def main(argv):\n"
    "  raise KeyboardInterrupt\n"
    "app.run(main)"
  )
  result = subprocess.run(
    [sys.executable, "-c", code],
    capture_output=True,
    text=True,
    cwd=ROOT,
    env=ENVIRONMENT,
  )
  assert (result.returncode, result.stderr) == (130, "stopped\n")
