"""Processes that are disturbed: with fakes, and once with real trainings."""

import json
import os
import random
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from scipy import stats

from tripletjax.drills import (
  catalog,
  disks,
  faults,
  kills,
  soak,
  watching,
)
from tripletjax.drills.lab import refused
from tripletjax.drills.moments import Marks, look
from tripletjax.drills.running import Aim, Ended, Job, disturb, started
from tripletjax.report.soak import draw_soak, save_soak, thinned

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


EVEN = {part: [[0.05, 0.04], [0.066, 0.055]] for part in ("after", "end")}


def soaked(
  *,
  memory=lambda share: 1e8,
  step=lambda share: 0.05,
  codes=(75, 75),
  turns=EVEN,
):
  shares = np.linspace(0, 1, 601)
  samples = watching.Samples(
    seconds=list(600 * shares),
    memory=[memory(share) for share in shares],
    lap_seconds=list(600 * shares),
    lap_step=list(range(10, 6020, 10)),
    lap_time=[step(share) for share in shares],
    evaluations=[300.0, 600.0],
    checkpoints=[600.0],
  )
  return soak.results(samples, minutes=10, codes=codes, turns=turns)


def test_a_soak_that_stays_the_same_passes():
  # Before warm-up is over, and single outliers, don't count.
  found = soaked(
    memory=lambda share: 5e7 if share < 0.08 else 1e8,
    step=lambda share: 0.5 if share == 0.9 else 0.05,
  )
  assert found["problems"] == []
  assert found["memory"] == {"after": 1e8, "end": 1e8, "share": 0.0}
  assert (found["evaluations"], found["checkpoints"]) == (2, 1)
  assert found["steps"] == 6000
  told = soak.describe(found)
  # Of the witness: logarithms of the ratios 0.223 and 0.182, so a standard
  # error of 0.0289 at 2 degrees of freedom, where t is 4.303.
  assert "| resident memory (MB) | 100.0 | 100.0 | +0.00% |" in told
  assert "| 58.0, 47.5 | 58.0, 47.5 | +0.00% ± 12.42% |" in told


def test_a_leak_and_a_slower_step_are_found():
  # From 10-25 % to 85-100 % of the time the share grows by 0.75.
  found = soaked(
    memory=lambda share: 1e8 * (1 + 0.1 * share),
    step=lambda share: 0.05 * (1 + share / 10),
    codes=(1, 75),
    turns={**EVEN, "end": [[0.055, 0.04], [0.0726, 0.055]]},
  )
  expected = (1 + 0.0925) / (1 + 0.0175) - 1
  np.testing.assert_allclose(found["memory"]["share"], expected, rtol=1e-6)
  np.testing.assert_allclose(found["step"]["share"], expected, rtol=1e-6)
  assert found["problems"] == [
    "memory changed by +7.4%, expected at most 2%",
    "time of a step changed by +10.0%, expected at most 2%",
    "exit code 1, expected 75",
  ]


def test_a_machine_that_is_slower_is_told_from_a_training():
  # At the end the witness is slower by as much.
  found = soaked(
    step=lambda share: 0.05 * (1 + share / 10),
    turns={**EVEN, "end": [[0.055, 0.044], [0.132, 0.11]]},
  )
  assert found["step"]["share"] > 0.07
  assert found["problems"] == []


def test_a_step_beside_the_witness_has_welch_s_interval():
  # Logarithms of the ratios 0, 0.02 and 0.1, 0.16, 0.1: means 0.01 and 0.12,
  # variances 2e-4 and 1.2e-3, so by Welch a standard error of
  # sqrt(1e-4 + 4e-4) at 2.77 degrees of freedom.
  after = [[np.exp(x), 1.0] for x in (0.0, 0.02)]
  end = [[np.exp(x) * w, w] for x, w in ((0.1, 2.0), (0.16, 3.0), (0.1, 1.0))]
  found = soak.compared([*after, [np.nan, 1.0]], end)
  assert found.share == pytest.approx(np.expm1(0.11))
  freedom = 5e-4**2 / (1e-4**2 / 1 + 4e-4**2 / 2)
  half = stats.t.ppf(0.975, freedom) * np.sqrt(5e-4)
  assert found.half == pytest.approx(half)
  assert found.witness_end == 2.0
  # Without two rounds there's nothing to say.
  assert np.isnan(soak.compared(after[:1], end).share)


def test_a_soak_without_samples_does_not_pass():
  empty = watching.no_samples()
  nothing = {"after": [], "end": []}
  found = soak.results(empty, minutes=1, codes=[75], turns=nothing)
  assert len(found["problems"]) == 2


# Writes laps of one step each, and says which it was when it's asked to stop.
LAPS = """
import json, signal, sys, time
from pathlib import Path
from typing import NamedTuple
file = (Path(sys.argv[1]) / "metrics.jsonl").open("w")
signal.signal(signal.SIGTERM, lambda *_: sys.exit(75))
row = {"loss": 0.0, "seconds/step": 0.25, "seconds/input": 0.25}
for step in range(1, 10**6):
  print(json.dumps({"step": step, **row}), file=file, flush=True)
  time.sleep(0.02)
"""


class Laps(NamedTuple):
  environment: dict
  root: Path

  def command(self, workdir):
    workdir.mkdir()
    return [sys.executable, "-c", LAPS, str(workdir)]


def test_trainings_take_turns(tmp_path):
  job = Laps({}, tmp_path)
  with (
    watching.watched(job, tmp_path / "one", tmp_path / "one.log") as one,
    watching.watched(job, tmp_path / "two", tmp_path / "two.log") as two,
  ):
    for training in (one, two):
      training.watch(0.2)
      training.pause()
    assert len(one.samples.memory) >= 1
    rows = watching.in_turns([one, two], rounds=2, seconds=0.4)
    assert rows == [[0.5, 0.5]] * 2
    # One that stands still writes nothing: only what was under way.
    written = len(one.samples.lap_step)
    time.sleep(0.3)
    one.start_over()
    assert one.samples.lap_step == []
    one.watch(0.3)
    assert 1 <= one.samples.lap_step[0] <= written + 2
    one.pause()
    assert (one.end(), two.end()) == (75, 75)


def test_a_training_that_ends_by_itself_is_no_soak(tmp_path):
  job = Laps({}, tmp_path)
  with watching.watched(job, tmp_path / "one", tmp_path / "log") as one:
    os.kill(one.pid, signal.SIGKILL)
    with pytest.raises(
      RuntimeError, match=r"the training ended after 0\.0 min"
    ):
      one.watch(5)


def test_laps_are_read_as_they_are_written(tmp_path):
  path = tmp_path / "metrics.jsonl"
  row = {"loss": 1.0, "seconds/step": 0.2, "seconds/input": 0.1}
  first = "".join(json.dumps({"step": s, **row}) + "\n" for s in (1, 2))
  path.write_text(first + json.dumps({"step": 3, **row})[:9])
  samples = watching.no_samples()
  with path.open() as file:
    watching.read_laps(file, 1.0, samples)
    assert samples.lap_step == [1, 2]
    with path.open("a") as more:
      more.write(json.dumps({"step": 3, **row})[9:] + "\n")
      more.write('{"step": 3, "eval/map@r": 0.5, "seconds/evaluation": 1}\n')
      more.write('{"step": 3, "seconds/checkpoint": 1}\n')
    watching.read_laps(file, 2.0, samples)
  assert samples.lap_step == [1, 2, 3]
  np.testing.assert_allclose(samples.lap_time, [0.3] * 3)
  assert (samples.evaluations, samples.checkpoints) == ([2.0], [2.0])


def test_resident_memory_is_this_process_s():
  here = watching.resident(os.getpid())
  assert 1e7 < here < 1e11
  assert np.isnan(watching.resident(2**22 + 1))


def test_the_soak_is_drawn(tmp_path):
  found = soaked(memory=lambda share: 1e8 * (1 + 0.05 * share))
  figure = draw_soak(found)
  step, memory = figure.axes
  # In ms and MB; many samples become at most 400 points.
  assert 1 < len(memory.lines[0].get_ydata()) <= 400
  assert memory.lines[0].get_ydata()[-1] == pytest.approx(105, rel=1e-2)
  assert step.lines[0].get_ydata() == pytest.approx(50)
  assert save_soak(found, tmp_path / "soak.png").stat().st_size > 1000


def test_thinning_takes_medians():
  x, y = thinned(np.arange(6.0), np.array([1, 2, 9, 4, 5, 6.0]), points=2)
  np.testing.assert_array_equal(x, [1, 4])
  np.testing.assert_array_equal(y, [2, 5])


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
