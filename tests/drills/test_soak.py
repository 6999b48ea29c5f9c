"""The soak: what is compared, trainings that take turns, and the picture."""

import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from scipy import stats

from tripletjax.drills import soak, watching
from tripletjax.report.soak import draw_soak, save_soak, thinned

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
    evaluations=[15.0 * number for number in range(41)],
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
  assert (found["evaluations"], found["checkpoints"]) == (41, 1)
  assert found["steps"] == 6000
  told = soak.describe(found)
  # Of the witness: logarithms of the ratios 0.223 and 0.182, so a standard
  # error of 0.0289 at 2 degrees of freedom, where t is 4.303.
  assert "| most memory between evaluations (MB) | 100.0 | 100.0 |" in told
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
  np.testing.assert_allclose(
    found["median_memory"]["share"], expected, rtol=1e-6
  )
  # The last sample before each evaluation is the highest, a second before it.
  peak = [1 + 0.1 * (share - 1 / 600) for share in (0.925, 0.175)]
  np.testing.assert_allclose(
    found["memory"]["share"], peak[0] / peak[1] - 1, rtol=1e-6
  )
  np.testing.assert_allclose(found["step"]["share"], expected, rtol=1e-6)
  assert found["problems"] == [
    "memory changed by +7.4%, expected at most 2%",
    "time of a step changed by +10.0%, expected at most 2%",
    "exit code 1, expected 75",
  ]


def test_memory_that_comes_back_later_after_an_evaluation_is_no_change():
  # At the end it's low for most of the time between two evaluations.
  found = soaked(
    memory=lambda share: 1e8 if (600 * share) % 15 > 15 * share - 1 else 7e7
  )
  assert found["median_memory"]["share"] == pytest.approx(-0.3)
  assert found["memory"] == {"after": 1e8, "end": 1e8, "share": 0.0}
  assert found["problems"] == []


def test_peaks_are_of_what_lies_between_two_evaluations():
  samples = watching.no_samples()._replace(
    seconds=[0.0, 1.0, 2.0, 3.0, 4.0, 5.0],
    memory=[9.0, 1.0, 2.0, 5.0, 4.0, 8.0],
    evaluations=[1.0, 3.0, 3.5, 5.0],
  )
  # Nothing was looked at from 3 to 3.5 but at its beginning.
  assert soak.peaks(samples) == ([3.0, 3.5, 5.0], [2.0, 5.0, 4.0])


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


# Writes laps of two steps each; the first after a pause says how long that was.
LAPS = """
import json, signal, sys, time
from pathlib import Path
from typing import NamedTuple
file = (Path(sys.argv[1]) / "metrics.jsonl").open("w")
signal.signal(signal.SIGTERM, lambda *_: sys.exit(75))
last = time.monotonic()
for lap in range(1, 10**6):
  time.sleep(0.02)
  now = time.monotonic()
  took = now - last if now - last > 0.2 else 0.1 + 0.001 * (lap % 2)
  last = now
  for step in (2 * lap - 1, 2 * lap):
    row = {"loss": 0.0, "seconds/step": took, "seconds/input": 0.25}
    print(json.dumps({"step": step, **row}), file=file, flush=True)
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
    time.sleep(0.3)
    # The lap that the pause was in doesn't count: it takes longer.
    rows = watching.in_turns([one, two], laps=4, seconds=0.0, rounds=2)
    np.testing.assert_allclose(rows, [[0.3505, 0.3505]] * 2)
    assert len(watching.in_turns([one], laps=2, seconds=0.5, rounds=1)) > 2
    # One that stands still writes nothing: only what was under way.
    written = len(one.samples.lap_step)
    time.sleep(0.3)
    one.start_over()
    assert one.samples.lap_step == []
    one.watch(1.0)
    assert 1 <= one.samples.lap_step[0] <= 2 * written + 6
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
  row["seconds/step"] = 0.4
  path.write_text(first + json.dumps({"step": 3, **row})[:9])
  samples = watching.no_samples()
  with path.open() as file:
    watching.read_laps(file, 1.0, samples)
    assert samples.lap_step == [2]
    with path.open("a") as more:
      more.write(json.dumps({"step": 3, **row})[9:] + "\n")
      more.write('{"step": 3, "eval/map@r": 0.5, "seconds/evaluation": 1}\n')
      more.write('{"step": 3, "seconds/checkpoint": 1}\n')
    watching.read_laps(file, 2.0, samples)
  assert samples.lap_step == [2, 3]
  np.testing.assert_allclose(samples.lap_time, [0.3, 0.5])
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
