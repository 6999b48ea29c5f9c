"""What a run writes is whole, standard JSON, and each step is there once."""

import json

import numpy as np

from tripletjax.writers import drop_lines_after, metrics_writer, write_json


def test_rows_are_json_and_a_nan_is_null(tmp_path):
  with metrics_writer(tmp_path, start=0) as write:
    write(1, {"loss": np.float32(0.5)})
    write(2, {"loss": float("nan")})
  lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
  assert [json.loads(line) for line in lines] == [
    {"step": 1, "loss": 0.5},
    {"step": 2, "loss": None},
  ]


def test_later_and_torn_lines_are_dropped(tmp_path):
  path = tmp_path / "metrics.jsonl"
  path.write_text('{"step": 1}\n{"step": 2}\n{"step": 2, "eval/x": 1}\n{"st')
  drop_lines_after(path, 1)
  assert path.read_text() == '{"step": 1}\n'
  drop_lines_after(tmp_path / "nothing.jsonl", 1)


def test_json_is_replaced_as_a_whole(tmp_path):
  path = tmp_path / "summary.json"
  write_json(path, {"a": {"b": float("inf"), "c": 1.5}})
  assert json.loads(path.read_text()) == {"a": {"b": None, "c": 1.5}}
  assert [file.name for file in tmp_path.iterdir()] == ["summary.json"]
