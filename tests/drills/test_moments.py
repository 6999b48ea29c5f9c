"""What a run is doing, told from its folder; which moments are chosen."""

import random
from collections import Counter
from pathlib import Path

import pytest

from tripletjax.drills.jobs import SHORT, config_words, short_job
from tripletjax.drills.kills import (
  AIMS,
  Kill,
  Killed,
  Trained,
  kill_rows,
  missing_kinds,
  plan,
  sooner,
)
from tripletjax.drills.moments import (
  Look,
  Marks,
  Moment,
  judge,
  look,
  marks_of,
  moment_of,
)
from tripletjax.drills.running import Aim

# Laps of 5 steps after the first one; evaluated after 5, saved after 5 and 10.
MARKS = Marks(frozenset({1, 5, 10}), frozenset({5}), frozenset({5, 10}), 10)


def lines(*steps, lap=0.1):
  return [
    {"step": step, "loss": 1.0, "seconds/step": lap + step} for step in steps
  ]


def evaluated(step):
  return [{"step": step, "eval/map@r": 0.5, "seconds/evaluation": 0.1}]


def saved(step):
  return [{"step": step, "seconds/checkpoint": 0.1}]


WHOLE = lines(1, 2, 3, 4, 5) + evaluated(5) + saved(5)


@pytest.mark.parametrize(
  ("rows", "torn", "saving", "start", "kind"),
  [
    ([], False, False, 0, "start"),
    (WHOLE, False, False, 5, "start"),  # lines of an earlier start
    (lines(1), False, False, 0, "step"),
    (lines(1, 2), False, False, 0, "metrics"),
    (lines(1), True, False, 0, "metrics"),
    (lines(1, 2, 3, 4, 5), False, False, 0, "evaluation"),
    (lines(1, 2, 3, 4, 5) + evaluated(5), False, False, 0, "save"),
    (WHOLE, False, False, 0, "step"),
    (WHOLE, False, True, 0, "save"),  # in the background
    (WHOLE + lines(6), False, False, 5, "step"),  # the first of a start
    (WHOLE + lines(6), False, False, 0, "metrics"),
    (WHOLE + lines(6, 7), False, False, 5, "metrics"),
    (WHOLE + lines(6, 7, 8, 9, 10), False, False, 5, "save"),
    (WHOLE + lines(6, 7, 8, 9, 10) + saved(10), False, False, 5, "end"),
  ],
)
def test_a_moment_is_told_by_its_files(rows, torn, saving, start, kind):
  found = judge(rows, MARKS, torn=torn, saving=saving, start=start)
  steps = [row["step"] for row in rows if "loss" in row]
  assert found == Moment(kind, max(steps, default=0))


def test_marks_are_read_from_an_untouched_run():
  laps = [0.9, *[0.2] * 4, *[0.3] * 5]  # seconds of a step, by lap
  rows = []
  for step, lap in enumerate(laps, start=1):
    rows.append({"step": step, "loss": 1.0, "seconds/step": lap})
    rows += evaluated(5) if step == 5 else []
    rows += saved(step) if step in (5, 10) else []
  assert marks_of(rows) == MARKS
  with pytest.raises(ValueError, match="at least one step"):
    marks_of([])


def test_a_folder_is_looked_at(tmp_path):
  assert look(tmp_path) == Look((0, 0), frozenset())
  before = look(tmp_path)
  assert moment_of(tmp_path, MARKS, before=before, start=0).kind == "start"
  metrics = tmp_path / "metrics.jsonl"
  metrics.write_text('{"step": 1, "loss": 2.0}\n{"step": 2, "lo')
  seen = moment_of(tmp_path, MARKS, before=before, start=0)
  assert seen == Moment("metrics", 1)
  metrics.write_text('{"step": 1, "loss": 2.0}\n')
  assert moment_of(tmp_path, MARKS, before=before, start=0).kind == "step"
  part = tmp_path / "checkpoints" / "5.orbax-checkpoint-tmp"
  part.mkdir(parents=True)
  assert moment_of(tmp_path, MARKS, before=before, start=0).kind == "save"
  # One that an earlier start has left is no save of this one.
  left = Look((0, 0), look(tmp_path).partial)
  assert moment_of(tmp_path, MARKS, before=left, start=0).kind == "step"


def test_the_plan_is_fair_and_its_seed_s():
  aims = plan(20, random.Random(3), last=60, seconds=8.0)
  assert Counter(aim.kind for aim in aims) == dict.fromkeys(AIMS, 4)
  assert [aim.kind for aim in aims] != sorted(aim.kind for aim in aims)
  assert all(0 <= a.delay <= 8 for a in aims if a.kind == "any")
  assert all(1 <= a.ahead <= 20 for a in aims if a.kind != "any")
  assert aims == plan(20, random.Random(3), last=60, seconds=8.0)
  assert aims != plan(20, random.Random(4), last=60, seconds=8.0)


def test_an_aim_that_was_missed_is_easier_the_next_time():
  assert sooner(Aim("any", 0, 6.0)) == Aim("any", 0, 3.0)
  assert sooner(Aim("save", 9, 0.03)) == Aim("save", 1, 0.0)


def test_the_table_of_kills_names_what_differs():
  done = Killed(
    [
      Kill("step", "step", 7, 0, 1),
      Kill("any", "step", 9, 5, 2),
      Kill("save", "save", 10, 5, 1),
    ],
    [Trained(2, 0, []), Trained(1, 0, ["summary.json: trained.map@r is 1"])],
    [],
  )
  assert list(kill_rows(done)) == [
    ["killed in a step", "2", "DIFFERS: summary.json: trained.map@r is 1"],
    ["killed in a save", "1", "equal"],
  ]
  assert missing_kinds(done, 3) == ["no kill landed in: evaluation"]
  assert missing_kinds(done, 2) == []


def test_words_of_the_config_are_passed_on_and_count_last():
  words = [
    *("--kills=3", "--config", "a.py", "--config.seed", "5"),
    *("-config.train.duration=9 steps", "--noconfig.loss.soft"),
  ]
  files, fields = config_words(words)
  assert files == ["--config=a.py"]
  assert fields == [
    "--config.seed=5",
    "--config.train.duration=9 steps",
    "--noconfig.loss.soft",
  ]
  job = short_job(words, "data", Path("f"), Path("/root"))
  assert job.flags == ("--config=a.py", *SHORT, *fields, "--data_dir=data")
  job = short_job(["--seed=1"], "data", Path("f"), Path("/root"))
  assert job.flags[0] == "--config=/root/configs/glyphs.py:smoke"
