import json

import numpy as np
import pytest

from tests.report.fakes import evaluation_arrays, triplet_arrays
from tripletjax.errors import UserError
from tripletjax.report.files import (
  read_evaluation,
  read_series,
  read_triplets,
)


def test_series_are_split_and_sorted_and_the_last_writing_counts(tmp_path):
  rows = [
    {"step": 2, "loss": 0.5, "miner": "hard"},
    {"step": 1, "loss": 0.75},
    {"step": 2, "eval/recall@1": 0.25},
    {"step": 3, "loss": None},
    {"step": 2, "loss": 0.625},
  ]
  path = tmp_path / "metrics.jsonl"
  path.write_text("\n".join(map(json.dumps, rows)) + "\n\n")
  series = read_series(path)
  assert set(series) == {"step", "loss", "eval/recall@1"}
  np.testing.assert_array_equal(series["loss"][0], [1, 2, 3])
  np.testing.assert_array_equal(series["loss"][1], [0.75, 0.625, np.nan])
  np.testing.assert_array_equal(series["eval/recall@1"], [[2], [0.25]])


@pytest.mark.parametrize(
  "text", ["", '{"loss": 1}\n', '{"step": 1, "lo', "[1]\n", '{"step": "1"}\n']
)
def test_broken_lines_are_named(tmp_path, text):
  path = tmp_path / "metrics.jsonl"
  path.write_text(text)
  with pytest.raises(UserError, match=r"metrics.jsonl: expected") as caught:
    read_series(path)
  assert "\n" not in str(caught.value)


def test_bytes_that_are_no_text(tmp_path):
  path = tmp_path / "metrics.jsonl"
  path.write_bytes(b"\xff\xfe\x80")
  with pytest.raises(UserError, match=r"metrics.jsonl: expected"):
    read_series(path)


def _objects(path):
  np.savez(path, embeddings=np.array([{}, []], dtype=object))


def _half(path):
  np.savez_compressed(path, **evaluation_arrays())
  path.write_bytes(path.read_bytes()[:500])


def _flipped(path):
  np.savez_compressed(path, **evaluation_arrays())
  content = bytearray(path.read_bytes())
  content[120:200] = bytes(80)
  path.write_bytes(content)


def _bare_array(path):
  with path.open("wb") as file:
    np.save(file, np.zeros(3))


@pytest.mark.parametrize(
  "write",
  [
    lambda path: path.write_bytes(b""),
    lambda path: path.write_bytes(b"no archive at all"),
    lambda path: path.mkdir(),
    _objects,
    _half,
    _flipped,
    _bare_array,
  ],
)
def test_a_file_that_is_no_archive_is_named(tmp_path, write):
  path = tmp_path / "evaluation.npz"
  write(path)
  with pytest.raises(UserError, match=r"evaluation.npz: expected") as caught:
    read_evaluation(path)
  assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
  ("change", "match"),
  [
    ({"images": None}, "array 'images'"),
    ({"images": np.zeros((12, 8, 8, 1), np.float32)}, "images of dtype uint8"),
    ({"images": np.zeros((12, 8, 8), np.uint8)}, "images .* shape"),
    ({"labels": np.zeros(11, np.int32)}, "labels .* shape \\(12\\)"),
    ({"labels": np.full(12, 9, np.int32)}, r"labels in 0..2 .* got 9..9"),
    ({"embeddings": np.full((12, 4), np.nan, np.float32)}, "finite"),
    ({"embeddings": np.zeros((12, 4), np.int32)}, "dtype float"),
    ({"groups": np.zeros(12)}, "groups of dtype str"),
  ],
)
def test_broken_evaluations_are_named(tmp_path, change, match):
  arrays = evaluation_arrays() | change
  path = tmp_path / "evaluation.npz"
  np.savez(path, **{k: v for k, v in arrays.items() if v is not None})
  with pytest.raises(UserError, match=match):
    read_evaluation(path)


def test_empty_evaluation(tmp_path):
  arrays = {
    name: array if name == "label_names" else array[:0]
    for name, array in evaluation_arrays().items()
  }
  np.savez(tmp_path / "evaluation.npz", **arrays)
  with pytest.raises(UserError, match="at least one embedding"):
    read_evaluation(tmp_path / "evaluation.npz")


def test_broken_triplets_are_named(tmp_path):
  path = tmp_path / "triplets.npz"
  np.savez(path, **triplet_arrays() | {"positives": np.zeros((1, 8, 8, 1))})
  with pytest.raises(UserError, match=r"triplets.npz: expected positives"):
    read_triplets(path)


def test_triplets_round_trip(tmp_path):
  arrays = triplet_arrays()
  np.savez(tmp_path / "triplets.npz", **arrays)
  read = read_triplets(tmp_path / "triplets.npz")
  assert (read.margin, read.miner) == (0.25, "batch_hard")
  np.testing.assert_array_equal(read.negatives, arrays["negatives"])
