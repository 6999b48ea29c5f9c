"""Whatever differs between two runs is found and named."""

import json
import shutil

import numpy as np
import pytest

from tripletjax import checkpoint
from tripletjax.drills.comparing import differences, metrics_differences

SUMMARY = {
  "steps": 3,
  "seconds": 4.5,
  "parameters": 6,
  "devices": 1,
  "trained": {"map@r": 0.5, "tar": None},
  "untrained": {"map@r": 0.25},
  "raw_pixels": {"map@r": 0.125},
}


def training(step, loss, clock=0.1):
  return {"step": step, "loss": loss, "seconds/step": clock}


ROWS = [
  training(1, 3.0),
  training(2, 2.0),
  {"step": 2, "eval/map@r": 0.5, "seconds/evaluation": 0.3},
  {"step": 2, "seconds/checkpoint": 0.1},
  training(3, 1.0),
]


def write_rows(folder, rows):
  text = "".join(json.dumps(row) + "\n" for row in rows)
  (folder / "metrics.jsonl").write_text(text)


def make(folder, *, mean=0.5):
  """A folder such as a run leaves, with its checkpoint."""
  folder.mkdir()
  state = {
    "params": {"kernel": np.arange(6, dtype=np.float32).reshape(2, 3)},
    "batch_stats": {"mean": np.full(3, mean, np.float32)},
    "count": np.int32(3),
  }
  with checkpoint.open_checkpoints(folder / "checkpoints", keep=1) as opened:
    checkpoint.save_checkpoint(opened, 3, {"state": state}, {"seconds": 1.0})
  (folder / "summary.json").write_text(json.dumps(SUMMARY))
  write_rows(folder, ROWS)
  for name in ("evaluation.npz", "triplets.npz"):
    np.savez(folder / name, x=np.arange(3.0), names=np.array(["a", "b"]))
  return folder


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
  return make(tmp_path_factory.mktemp("drill") / "reference")


@pytest.fixture
def other(reference, tmp_path):
  return shutil.copytree(reference, tmp_path / "other")


def test_clocks_are_no_difference(reference, other):
  summary = json.loads((other / "summary.json").read_text())
  (other / "summary.json").write_text(json.dumps(summary | {"seconds": 9.0}))
  rows = [
    row | {name: 7.0 for name in row if name.startswith("seconds/")}
    for row in ROWS
    if "seconds/checkpoint" not in row  # it was killed before it came
  ]
  write_rows(other, rows)
  assert differences(reference, other) == []


@pytest.mark.parametrize(
  ("rows", "message"),
  [
    ([*ROWS[:2], ROWS[1], *ROWS[2:]], "steps more than once [2]"),
    ([ROWS[0], *ROWS[2:]], "steps missing [2]"),
    ([*ROWS, training(4, 1.0)], "steps surplus [4]"),
    ([ROWS[1], ROWS[0], *ROWS[2:]], "steps in another order"),
    ([*ROWS[:-1], training(3, 1.0 + 1e-9)], "step 3: loss is 1.000000001, exp"),
    ([*ROWS[:2], *ROWS[3:]], "expected a line of step 2 with eval/map@r"),
    (ROWS[:2] + ROWS[3:4] + ROWS[4:] + ROWS[2:3], "expected a line of step 2"),
    ([*ROWS, {"step": 3, "eval/map@r": 1.0}], "4 lines, expected"),
  ],
)
def test_lines_that_differ_are_named(rows, message):
  found = list(metrics_differences(ROWS, rows))
  if message.startswith("4 lines"):
    message = "5 lines, expected 4"
  assert message in " ".join(found)


def test_a_torn_line_is_found(reference, other):
  with (other / "metrics.jsonl").open("a") as file:
    file.write('{"step": 4')
  assert differences(reference, other) == ["metrics.jsonl: a line is torn"]


def test_a_summary_that_differs_is_named(reference, other):
  changed = SUMMARY | {"trained": {"map@r": 0.5, "tar": 0.0}}
  (other / "summary.json").write_text(json.dumps(changed))
  assert differences(reference, other) == [
    "summary.json: trained.tar is 0.0, expected None"
  ]


def test_one_bit_of_any_array_is_found(reference, tmp_path):
  # The number after 0.5, which prints as it.
  other = make(tmp_path / "other", mean=np.nextafter(np.float32(0.5), 1))
  (found,) = differences(reference, other)
  assert found == (
    "checkpoints: state['batch_stats']['mean'] differs in 3 of 3 numbers"
  )


def test_arrays_of_the_report_are_compared(reference, other):
  np.savez(other / "triplets.npz", x=np.array([0.0, 1.0, -2.0]))
  np.savez(
    other / "evaluation.npz",
    x=np.arange(3, dtype=np.float32),
    names=np.array(["a", "b"]),
  )
  assert differences(reference, other) == [
    "evaluation.npz: x is float32[3], expected float64[3]",
    "triplets.npz: names is missing",
  ]


def test_a_file_that_is_not_there_is_named(reference, other):
  (other / "summary.json").unlink()
  (found,) = differences(reference, other)
  assert "FileNotFoundError" in found
  assert "summary.json" in found
