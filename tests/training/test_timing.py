"""Where the time goes: laps, the log of a run, a trace of some steps."""

import gzip
import json
import re
import time

import jax
import pytest

from configs import digits
from tripletjax import UserError
from tripletjax.training import parallel
from tripletjax.training.loop import train_and_evaluate
from tripletjax.training.timing import PARTS, Stopwatch, parse_steps


def test_a_lap_holds_what_passed_in_each_part():
  watch = Stopwatch()
  for _ in range(2):
    with watch.time("input"):
      time.sleep(0.02)
  with watch.time("evaluation"):
    time.sleep(0.01)
  first = watch.lap()
  assert list(first) == list(PARTS)
  assert first["input"] >= 0.04
  assert first["evaluation"] >= 0.01
  assert first["step"] == first["checkpoint"] == 0
  assert watch.lap() == dict.fromkeys(PARTS, 0.0)
  assert watch.total == first
  # A busy machine may have slept longer.
  assert re.match(r"time: input \d\.\d s \(\d\d%\)", watch.describe())


@pytest.mark.parametrize("text", ["", "10", "a,b", "5,4", "0,3", "1,2,3"])
def test_steps_that_are_no_range(text):
  with pytest.raises(
    UserError, match="--profile_steps: expected the first and"
  ):
    parse_steps(text)


def run(tmp_path, profile_steps):
  config = digits.get_config("smoke")
  config.train.duration = "4 steps"
  said = []
  start = time.perf_counter()
  with jax.numpy_dtype_promotion("standard"):
    train_and_evaluate(
      config,
      tmp_path / "run",
      data_dir=tmp_path / "data",
      devices=parallel.local_devices()[:1],
      profile_steps=profile_steps,
      say=said.append,
    )
  return said, time.perf_counter() - start


@pytest.mark.slow
def test_a_run_says_where_its_time_went_and_leaves_a_trace(tmp_path):
  said, wall = run(tmp_path, (2, 3))
  rows = [
    json.loads(line)
    for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
  ]
  steps = [row for row in rows if "loss" in row]
  assert len(steps) == 4
  spent = [row[name] for row in rows for name in row if "seconds/" in name]
  assert min(spent) >= 0
  assert 0 < sum(spent) < wall
  for name in ("seconds/evaluation", "seconds/checkpoint"):
    assert [row["step"] for row in rows if name in row] == [1, 2, 3, 4]
  for row in steps:
    rate = 40 / (row["seconds/input"] + row["seconds/step"])
    assert row["images_per_second"] == pytest.approx(rate)
  folder = tmp_path / "run" / "profile"
  assert f"profile: steps 2 to 3 in {folder}" in said
  assert said[-1].startswith("time: input ")
  assert list(folder.rglob("*.xplane.pb"))
  (trace,) = folder.rglob("perfetto_trace.json.gz")
  events = json.loads(gzip.decompress(trace.read_bytes()))["traceEvents"]
  names = [event.get("name") for event in events]
  # Two steps each wait for a batch once.
  assert names.count("input") == 2


def test_a_trace_of_steps_that_are_not_run(tmp_path):
  message = (
    "--profile_steps: expected steps from 1 to 4, which are run now, got"
  )
  with pytest.raises(UserError, match=message):
    run(tmp_path, (5, 9))
