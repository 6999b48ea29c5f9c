"""The launcher starts all processes again, a bounded number of times."""

import subprocess
import sys
from pathlib import Path

import pytest

from tripletjax.training.launcher import launch

ROOT = Path(__file__).parent.parent.parent


def program(folder, body):
  """Processes that count their starts in a folder; the first then does it."""
  return [
    "-c",
    "import os, pathlib, sys, time\n"
    "number = sys.argv[-1][-1]\n"
    f"mark = pathlib.Path({str(folder)!r}) / number\n"
    "start = len(mark.read_text()) + 1 if mark.exists() else 1\n"
    "mark.write_text('x' * start)\n"
    "other = mark.with_name(str(1 - int(number)))\n"
    "while not other.exists() or len(other.read_text()) < start:\n"
    "  time.sleep(0.01)\n"
    f"if number == '0':\n  {body}\n",
  ]


def starts(folder):
  return [len((folder / number).read_text()) for number in "01"]


@pytest.mark.parametrize(
  ("body", "restarts", "code", "expected"),
  [
    # One that is killed twice, and ends the third time.
    ("start < 3 and os.kill(os.getpid(), 9)", 5, 0, 3),
    ("start < 3 and sys.exit(1)", 2, 0, 3),
    # No more than is allowed.
    ("os.kill(os.getpid(), 9)", 1, 128 + 9, 2),
    ("sys.exit(1)", 0, 1, 1),
    # A user's mistake, a stop that was asked for, an end.
    ("sys.exit(2)", 5, 2, 1),
    ("sys.exit(75)", 5, 75, 1),
    ("os.kill(os.getpid(), 15)", 5, 128 + 15, 1),
    ("pass", 5, 0, 1),
  ],
)
def test_all_are_started_again(tmp_path, body, restarts, code, expected):
  said = []
  found = launch(
    program(tmp_path, body), processes=2, restarts=restarts, say=said.append
  )
  assert found == code
  assert starts(tmp_path) == [expected] * 2
  assert len(said) == expected - 1
  for left, line in zip(range(restarts - 1, -1, -1), said, strict=False):
    assert line.endswith(f"all 2 are started again; restarts left: {left}")


def test_restarts_need_a_folder_to_go_on_in():
  result = subprocess.run(
    [
      *(sys.executable, "-m", "experiments.launch", "--restarts=1"),
      *("--", "--config=configs/digits.py:smoke"),
    ],
    capture_output=True,
    text=True,
    cwd=ROOT,
  )
  assert result.returncode == 2
  assert result.stderr == (
    "error: --restarts: expected --workdir=... behind --, to go on in it\n"
  )
