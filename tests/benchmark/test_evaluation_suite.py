"""The suite `evaluation`: what it says, and that both compute the same."""

import json

import numpy as np
import pytest

from tests.benchmark.test_benchmark import command
from tripletjax.benchmark import evaluation, evaluation_worker
from tripletjax.benchmark.data import Size, balanced_labels, make_embeddings
from tripletjax.errors import UserError

RESULTS = {
  "repeats": 3,
  "machine": {"cores": 2, "backend": "cpu", "jax": "0", "load": 0.0},
  "seconds": 60.0,
  "results": [
    {
      "case": "map@r", "identities": 6000, "images": 10,
      "ours": {"seconds": 5.0, "peak_bytes": 1e8},
      "theirs": {"seconds": 10.0, "peak_bytes": 2e8},
      "faster_limit": 1.8, "memory_limit": 0.4,
    },
    {
      "case": "recall@1", "identities": 6000, "images": 10,
      "ours": {"seconds": 5.0, "peak_bytes": 1e8},
      "theirs": {"failure": "not installed"},
      "faster_limit": 3.5, "memory_limit": 0.4,
    },
    {
      "case": "pairs", "identities": 4, "images": 3,
      "ours": {"failure": "out of memory"}, "theirs": {},
      "faster_limit": None, "memory_limit": None,
    },
  ],
}  # fmt: skip


def test_the_table_marks_what_is_outside_of_its_limit():
  report = evaluation.evaluation_report(RESULTS)
  cells = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in report.splitlines()
    if line.startswith("|")
  ][2:]
  assert cells == [
    ["map@r", "60,000 (6,000 x 10)", "5.00", "10.00", "2.00 ≥ 1.8", "100",
     "200", "**0.50 > 0.4**"],
    ["recall@1", "60,000 (6,000 x 10)", "5.00", "not installed", "", "100", "",
     ""],
    ["pairs", "12 (4 x 3)", "out of memory", "", "", "", "", ""],
  ]  # fmt: skip
  assert report.endswith("\n1 outside of the limits.")


def test_limits_are_those_that_were_asked_for():
  many, large = Size(6000, 10), Size(10, 1000)
  assert evaluation.CASES["map@r"].faster == {many: 1.8, large: 1.0}
  assert evaluation.CASES["recall@1"].faster == {many: 3.5}
  assert evaluation.CASES["recall@1"].memory[many] == 0.4


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["map@r", "recall@1"])
def test_theirs_is_the_same_number(name):
  pytest.importorskip("faiss", reason="faiss isn't installed")
  pytest.importorskip("pytorch_metric_learning", reason="isn't installed")
  labels = balanced_labels(Size(6, 5))
  case = evaluation.CASES[name]
  ours, theirs = (
    evaluation_worker.STEPS[step](make_embeddings(labels), labels)()
    for step in (case.ours, case.theirs)
  )
  np.testing.assert_allclose(ours, theirs, 1e-6)


def test_an_unknown_case():
  with pytest.raises(UserError, match="--only: expected some of map@r, recall"):
    evaluation.measure_evaluation(
      [Size(4, 3)], only=["mrr"], repeats=1, peers=False, say=print
    )


def test_the_command_at_a_tiny_size(tmp_path):
  path = tmp_path / "numbers.json"
  result = command(
    "--suite=evaluation",
    "--sizes=4x3",
    "--only=recall@1,pairs",
    "--repeats=1",
    "--nopeers",
    f"--output={path}",
  )
  assert result.returncode == 0, result.stderr
  assert "| recall@1 | 12 (4 x 3) |" in result.stdout
  first, second = json.loads(path.read_text())["results"]
  assert first["ours"]["samples"]
  assert second["case"] == "pairs"
  assert first["theirs"] == {}
