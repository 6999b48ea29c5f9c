"""Differences of curves, by arithmetic."""

import json

import pytest

from tripletjax import UserError
from tripletjax.report.compare import compare_curves


def write(folder, losses):
  folder.mkdir()
  rows = [
    {"step": step, "loss": loss} | ({"eval/map@r": loss} if step == 3 else {})
    for step, loss in losses.items()
  ]
  text = "\n".join(map(json.dumps, rows)) + "\n"
  (folder / "metrics.jsonl").write_text(text)
  return folder


def test_the_largest_difference_up_to_each_step(tmp_path):
  one = write(tmp_path / "one", {1: 1.0, 2: 2.0, 3: 3.0, 4: 4.0})
  two = write(tmp_path / "two", {1: 1.0, 2: 2.5, 3: 3.25, 4: 5.0, 9: 0.0})
  assert compare_curves(one, two, until=(1, 3, 10)).splitlines() == [
    "| largest difference up to step | 1 | 3 | 4 |",
    "| --- | --- | --- | --- |",
    "| loss | 0.0e+00 | 5.0e-01 | 1.0e+00 |",
    "| eval/map@r | - | 2.5e-01 | 2.5e-01 |",
  ]


def test_errors(tmp_path):
  one, two = write(tmp_path / "a", {1: 1.0}), write(tmp_path / "b", {2: 1.0})
  with pytest.raises(UserError, match="no step in common"):
    compare_curves(one, two)
  with pytest.raises(UserError, match=r"nothing.metrics\.jsonl"):
    compare_curves(one, tmp_path / "nothing")
