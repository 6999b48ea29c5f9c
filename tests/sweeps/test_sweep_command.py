"""`python -m experiments.sweep` as a user types it."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
SWEEP = "configs/sweeps/margin_by_miner.py:smoke"


def command(*arguments):
  return [sys.executable, "-m", "experiments.sweep", *map(str, arguments)]


def run(*arguments):
  return subprocess.run(
    command(*arguments), cwd=ROOT, capture_output=True, text=True, timeout=500
  )


@pytest.mark.parametrize(
  ("arguments", "said"),
  [
    ((), "--sweep: expected a file"),
    (("--sweep=configs/sweeps/nothing.py",), "there is no file"),
    ((f"--sweep={SWEEP}", "--set=loss.margn=1"), "'loss.margin'"),
    ((f"--sweep={SWEEP}", "--set=train.duration"), "field=value"),
    ((f"--sweep={SWEEP}", "--launcher=moon"), "--launcher: expected one of"),
    (("--group=0",), "--workdir: expected the folder of a sweep"),
    (("--group=0", "--workdir=nowhere"), "no sweep in nowhere"),
  ],
)
def test_a_mistake_is_one_line(tmp_path, arguments, said):
  ended = run(*arguments, f"--data_dir={tmp_path / 'data'}")
  assert ended.returncode == 2, ended.stderr
  lines = ended.stderr.strip().splitlines()
  assert len(lines) == 1, ended.stderr
  assert said in lines[0]


@pytest.mark.slow
def test_killed_twice_and_gone_on_is_the_same(tmp_path):
  data = f"--data_dir={tmp_path / 'data'}"
  # Long enough to be killed in the middle, of one way, so that it's fast.
  more = (f"--sweep={SWEEP}", data, "--way=in_turn")
  more = (*more, "--set=train.duration=300 steps")
  whole, killed = tmp_path / "whole", tmp_path / "killed"
  ended = run(*more, f"--workdir={whole}")
  assert ended.returncode == 0, ended.stderr
  assert "4 of 4 cells are done" in ended.stdout
  for count in (1, 3):  # of cells that have begun when it is killed
    process = subprocess.Popen(
      command(*more, f"--workdir={killed}"),
      cwd=ROOT,
      stdout=subprocess.DEVNULL,
      stderr=subprocess.DEVNULL,
      start_new_session=True,
    )
    deadline = time.monotonic() + 300
    while len(list(killed.glob("cells/*/checkpoints/[0-9]*"))) < count:
      assert process.poll() is None, "it ended before it was killed"
      assert time.monotonic() < deadline
      time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
  ended = run(*more, f"--workdir={killed}")
  assert ended.returncode == 0, ended.stderr
  for name in ("results.csv", "test.csv"):
    assert (killed / name).read_bytes() == (whole / name).read_bytes()
  # Another sweep isn't trained into this folder.
  other = run(
    "--sweep=configs/sweeps/dialects.py:smoke", data, f"--workdir={killed}"
  )
  assert other.returncode == 2
  assert "holds another sweep" in other.stderr


@pytest.mark.slow
def test_a_dry_run_trains_nothing(tmp_path):
  ended = run(
    f"--sweep={SWEEP}",
    "--dry_run",
    f"--workdir={tmp_path / 'sweep'}",
    f"--data_dir={tmp_path / 'data'}",
  )
  assert ended.returncode == 0, ended.stderr
  assert "4 cells in 2 groups" in ended.stdout
  assert "miner=batch_hard,margin=0.2,seed=1" in ended.stdout
  assert "minutes for all steps and 2 programs" in ended.stdout
  assert not (tmp_path / "sweep").exists()
