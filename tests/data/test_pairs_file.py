"""Pairs in LFW's format, against a small source with file names."""

import numpy as np
import pytest

from tripletjax.data.pairs import read_pairs
from tripletjax.data.sources import Source
from tripletjax.errors import UserError

FILES = (
  "Ann/Ann_0001.jpg",
  "Ann/Ann_0002.jpg",
  "Ann/Ann_0010.jpg",
  "Bo Li/Bo_0001.jpg",
  "Bo Li/Bo_0002.jpg",
)
# Two folds of one same and one different pair.
PAIRS = "2\t1\nAnn\t1\t10\nAnn\t2\tBo Li\t1\nBo Li\t2\t1\nBo Li\t2\tAnn\t1\n"


def source(**changes):
  names = tuple(sorted({file.split("/")[0] for file in FILES}))
  return Source(
    **{
      "images": np.zeros((5, 4, 4, 1), np.uint8),
      "labels": np.array([0, 0, 0, 1, 1], np.int32),
      "label_names": names,
      "image_shape": (4, 4, 1),
      "paths": FILES,
    }
    | changes
  )


def write(folder, text):
  path = folder / "pairs.txt"
  path.write_text(text)
  return path


def test_pairs_and_their_folds(tmp_path):
  first, second, is_same, fold = read_pairs(write(tmp_path, PAIRS), source())
  assert first.tolist() == [0, 1, 4, 4]
  assert second.tolist() == [2, 3, 3, 0]
  assert is_same.tolist() == [True, False, True, False]
  assert fold.tolist() == [0, 0, 1, 1]


def test_one_number_is_one_fold_and_spaces_do(tmp_path):
  found = read_pairs(write(tmp_path, "1\n\nAnn 1 2\nAnn 2 Ann 1\n"), source())
  assert found.fold.tolist() == [0, 0]
  assert found.first.tolist() == [0, 1]
  assert found.is_same.tolist() == [True, False]


@pytest.mark.parametrize(
  ("text", "message"),
  [
    (
      PAIRS.replace("Ann\t2\tBo Li", "Ann\t7\tBo Li"),
      "pairs.txt, line 3: no image 7 of 'Ann' in the split; there are 1, 2, 10",
    ),
    (
      PAIRS.replace("\nBo Li\t2\t1", "\nCy\t2\t1"),
      "line 4: no image 2 of 'Cy' in the split; nor any other of that name",
    ),
    (PAIRS.replace("Ann\t1\t10", "Ann\t1"), "line 2: expected a same pair"),
    (
      PAIRS.replace("Ann\t2\tBo Li\t1", "Ann\t2\t1"),
      "line 3: expected a different pair, name 1 other 2; got 'Ann 2 1'",
    ),
    (
      PAIRS.replace("Ann\t1\t10", "Ann\tone\t2"),
      "line 2: expected the number of an image, got 'one'",
    ),
    (PAIRS.replace("2\t1\n", "3\t1\n", 1), "expected 6 pairs, .* got 4"),
    ("", "line 1: expected the number of folds .* got 'nothing'"),
    ("Ann\t1\t2\n", "line 1: expected the number of folds"),
  ],
)
def test_a_mistake_names_its_line(tmp_path, text, message):
  with pytest.raises(UserError, match=message) as caught:
    read_pairs(write(tmp_path, text), source())
  assert "\n" not in str(caught.value)


def test_files_that_cannot_be_used(tmp_path):
  with pytest.raises(UserError, match=r"can't read .*no.txt: No such file"):
    read_pairs(tmp_path / "no.txt", source())
  (tmp_path / "bytes").write_bytes(b"\xff\xfe\x00")
  with pytest.raises(UserError, match=r"can't read .*bytes: it is not text"):
    read_pairs(tmp_path / "bytes", source())
  with pytest.raises(UserError, match="doesn't say the names of its files"):
    read_pairs(write(tmp_path, PAIRS), source(paths=()))
