"""Processes that are disturbed: with fakes, and once with real trainings."""

import json
import os
import random
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tripletjax.drills import (
  catalog,
  disks,
  faults,
  kills,
)
from tripletjax.drills.lab import refused
from tripletjax.drills.moments import Marks, look
from tripletjax.drills.running import Aim, Ended, Job, disturb, started

ROOT = Path(__file__).parent.parent.parent
JOB = Job((), {}, ROOT)
# Six steps in laps of two, each saved for a moment.
MARKS = Marks(frozenset({1, 2, 4, 6}), frozenset(), frozenset({2, 4, 6}), 6)
# Goes on from its latest checkpoint, as a training does, but in milliseconds.
FAKE = """
import json, os, sys, time
from pathlib import Path
from typing import NamedTuple
folder = Path(sys.argv[1])
saves = folder / "checkpoints"
saves.mkdir(parents=True, exist_ok=True)
for path in saves.glob("*tmp*"): path.rmdir()
start = max((int(p.name) for p in saves.iterdir()), default=0)
if start: print(f"resumed: step {start} of 6", flush=True)
metrics = folder / "metrics.jsonl"
kept = [line + "\\n" for line in metrics.read_text().splitlines()
        if json.loads(line)["step"] <= start] if metrics.exists() else []
(folder / "new").write_text("".join(kept))
os.replace(folder / "new", metrics)
with metrics.open("a") as file:
  def write(**row):
    file.write(json.dumps(row) + "\\n")
    file.flush()
  for step in range(start + 1, 7):
    time.sleep(0.03)
    write(step=step, loss=1 / step, **{"seconds/step": (step + 1) // 2})
    if step % 2 == 0:
      part = saves / f"{step}.orbax-checkpoint-tmp"
      part.mkdir()
      time.sleep(0.05)
      part.rename(saves / str(step))
      write(step=step, **{"seconds/checkpoint": 0.05})
"""


def fake(workdir):
  return [sys.executable, "-c", FAKE, str(workdir)]


@pytest.mark.skipif(not Path("/proc").exists(), reason="asks /proc")
@pytest.mark.parametrize(
  ("aim", "expected"),
  [
    (Aim("save", 1, 0.0), ("save", 2)),
    (Aim("save", 3, 0.0), ("save", 4)),
    (Aim("metrics", 1, 0.0), ("metrics", 3)),
    (Aim("step", 2, 0.0), ("step", 2)),
  ],
)
def test_a_kill_lands_where_it_was_aimed(tmp_path, aim, expected):
  before = look(tmp_path)
  with started(fake(tmp_path), tmp_path / "log", JOB) as child:
    moment = disturb(child, tmp_path, MARKS, aim, before=before)
    assert moment == expected
    assert child.wait().code == -signal.SIGKILL
  left = [p.name for p in (tmp_path / "checkpoints").glob("*tmp")]
  assert not left or aim.kind == "save"


@pytest.mark.skipif(not Path("/proc").exists(), reason="asks /proc")
def test_a_moment_that_never_comes_ends(tmp_path):
  with started(fake(tmp_path), tmp_path / "log", JOB) as child:
    aim = Aim("evaluation", 1, 0.0)
    assert disturb(child, tmp_path, MARKS, aim, before=look(tmp_path)) is None
    assert child.wait().code == 0


class FakeJob:
  """As Job, of the fake training."""

  environment: dict = {}  # noqa: RUF012
  root = ROOT

  def command(self, workdir, *more):
    return fake(workdir)


def hold(tmp_path, monkeypatch, *, count, compare=lambda reference, other: []):
  monkeypatch.setattr(kills, "differences", compare)
  said = []
  done = kills.drill_kills(
    FakeJob(),
    tmp_path,
    reference=tmp_path,
    marks=MARKS,
    seconds=0.3,
    kills=count,
    seed=5,
    say=said.append,
  )
  return done, said


@pytest.mark.skipif(not Path("/proc").exists(), reason="asks /proc")
def test_trainings_are_killed_and_started_again_till_they_end(
  tmp_path, monkeypatch
):
  monkeypatch.setattr(kills, "AIMS", ("step", "save", "metrics"))
  done, said = hold(tmp_path, monkeypatch, count=6)
  assert len(done.kills) == 6
  assert sum(trained.kills for trained in done.trainings) == 6
  assert {kill.kind for kill in done.kills} == {"step", "save", "metrics"}
  for number in range(1, len(done.trainings) + 1):
    lines = (tmp_path / f"killed-{number}" / "metrics.jsonl").read_text()
    rows = [json.loads(line) for line in lines.splitlines()]
    steps = [row["step"] for row in rows if "loss" in row]
    assert steps == [1, 2, 3, 4, 5, 6]
  assert sum("kill " in line for line in said) == 6
  assert said[-1].endswith("equal")


@pytest.mark.skipif(not Path("/proc").exists(), reason="asks /proc")
def test_a_difference_ends_the_drill_and_is_told(tmp_path, monkeypatch):
  monkeypatch.setattr(kills, "AIMS", ("step",))
  done, said = hold(
    tmp_path, monkeypatch, count=1, compare=lambda a, b: ["loss differs"]
  )
  assert done.trainings == [kills.Trained(1, 0, ["loss differs"])]
  assert said[-1].endswith("loss differs")


@pytest.mark.skipif(not Path("/proc").exists(), reason="asks /proc")
def test_moments_that_never_come_are_given_up(tmp_path, monkeypatch):
  monkeypatch.setattr(kills, "AIMS", ("evaluation",))
  done, _ = hold(tmp_path, monkeypatch, count=1)
  assert done.problems == ["1 moments never came: evaluation"]
  assert done.kills == []
  # One start and MISSES more, and no end of them.
  assert len(done.trainings) == kills.MISSES + 1


@pytest.mark.parametrize(
  ("code", "out", "problem"),
  [
    (2, "error: --workdir: no\n", None),
    (1, "error: --workdir: no\n", "exit code 1, expected 2"),
    (2, "error: --workdir: no\nerror: again\n", "expected one line"),
    (2, "Traceback (most ...\nerror: --workdir: no\n", "expected one line"),
    (2, "error: something\n", "no '--workdir' in"),
  ],
)
def test_a_refusal_is_one_line_and_exit_code_2(code, out, problem):
  found = refused(Ended(code, out, 1.0), "--workdir")
  assert len(found) == (problem is not None)
  assert problem is None or problem in found[0]


def test_bytes_are_flipped_in_place(tmp_path):
  path = tmp_path / "file"
  path.write_bytes(bytes(100))
  faults.flip(path, random.Random(0), count=8)
  data = path.read_bytes()
  assert len(data) == 100
  assert sorted(data)[-9:] == [0] + [255] * 8
  (tmp_path / "one").write_bytes(b"\x0f")
  faults.flip(tmp_path / "one", random.Random(0))
  assert (tmp_path / "one").read_bytes() == b"\xf0"


def test_the_largest_file_and_another_are_damaged(tmp_path):
  for name, size in (("a", 5), ("b", 9), ("empty", 0)):
    (tmp_path / name).write_bytes(bytes(size))
  for seed in range(5):
    found = faults.damaged_files(tmp_path, random.Random(seed))
    assert [path.name for path in found] == ["b", "a"]


def test_yesterday_begins_in_the_middle(tmp_path):
  (tmp_path / "sitecustomize.py").write_text(
    faults.YESTERDAY.format(day=faults.DAY, after=0.2)
  )
  code = (
    "import time; a = time.time(); time.sleep(0.3); b = time.time(); "
    "c = time.time_ns(); print(a - b, c / 1e9 - b)"
  )
  output = subprocess.run(
    [sys.executable, "-c", code],
    capture_output=True,
    text=True,
    check=True,
    env={**os.environ, "PYTHONPATH": str(tmp_path)},
  ).stdout
  back, between = map(float, output.split())
  assert abs(back - 86400) < 10
  assert abs(between) < 10


def test_sizes_are_counted_in_pages(tmp_path):
  (tmp_path / "a").write_bytes(b"x")
  (tmp_path / "b").write_bytes(bytes(4097))
  assert disks.size_of(tmp_path) == 3 * 4096


@pytest.mark.skipif(not disks.namespace(), reason="mounts nothing here")
@pytest.mark.parametrize("kind", ["small", "read only"])
def test_a_disk_that_takes_no_more(tmp_path, kind):
  disk, out = tmp_path / "disk", tmp_path / "out"
  disk.mkdir()
  out.mkdir()
  write = f"head -c 40000 /dev/zero > {shlex.quote(str(disk / 'file'))}"
  script, words = (
    (disks.SMALL_DISK, ["16k", str(disk), str(out)])
    if kind == "small"
    else (disks.READ_ONLY, [str(disk)])
  )
  done = subprocess.run(
    [*disks.namespace(), "sh", "-c", script, "sh", *words, "sh", "-c", write],
    capture_output=True,
    text=True,
  )
  if kind == "small":
    assert "No space left" in (out / "full.log").read_text()
    assert int((out / "full.code").read_text()) != 0
    assert int((out / "room.code").read_text()) == 0
    assert (out / "copy" / "file").stat().st_size == 40000
  else:
    assert done.returncode not in (0, 97)
    assert "Read-only" in done.stderr
  assert not (disk / "file").exists()  # nor is anything mounted any more


def test_files_can_be_kept_short(tmp_path):
  path = str(tmp_path / "file")
  code = f"from pathlib import Path; Path({path!r}).write_bytes(bytes(2000))"
  done = subprocess.run(
    [
      *(sys.executable, "-c", disks.SHORT_FILES, "1000"),
      *(sys.executable, "-c", code),
    ],
    capture_output=True,
    text=True,
  )
  assert "File too large" in done.stderr
  assert (tmp_path / "file").stat().st_size <= 1000


@pytest.mark.slow
def test_a_real_training_survives_two_kills(tmp_path):
  output = tmp_path / "drill.json"
  result = subprocess.run(
    [
      *(sys.executable, "-m", "experiments.drill", "--kills=2"),
      *("--only=kills", "--config.train.duration=40 steps"),
      *(f"--workdir={tmp_path / 'runs'}", f"--data_dir={tmp_path / 'data'}"),
      f"--output={output}",
    ],
    capture_output=True,
    text=True,
    cwd=ROOT,
  )
  assert result.returncode == 0, result.stdout + result.stderr
  found = json.loads(output.read_text())
  assert found["problems"] == []
  kinds = [kill["kind"] for kill in found["kills"]["kills"]]
  assert sorted(kinds) == ["save", "step"]
  assert "| killed in a save | 1 | equal |" in result.stdout


@pytest.mark.parametrize(
  ("flags", "message"),
  [
    (["--only=kils"], "--only: expected some of kills, sigterm, sigint,"),
    (["--kills=0"], "--kills=0"),
    (["--workdir=."], "--workdir: . is there; expected a folder that isn't"),
    (["--output=no/x.json"], "--output: there is no folder 'no'"),
    (["--config.los=1"], "did you mean 'loss'?"),
  ],
)
def test_a_wrong_flag_is_one_line_and_exit_code_2(flags, message):
  result = subprocess.run(
    [sys.executable, "-m", "experiments.drill", *flags],
    capture_output=True,
    text=True,
    cwd=ROOT,
  )
  assert result.returncode == 2
  assert result.stderr.count("\n") == 1
  assert message in result.stderr


def test_the_help_names_all_drills():
  result = subprocess.run(
    [sys.executable, "-m", "experiments.drill", "--help"],
    capture_output=True,
    text=True,
    cwd=ROOT,
  )
  for name in catalog.DRILLS:
    assert f"{name}," in result.stdout or f"{name}." in result.stdout
