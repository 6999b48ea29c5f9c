"""What the report of a sweep says, from the files alone."""

import html
import json
import math
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from tests.report.fake_sweeps import HEAD, make_sweep, score
from tripletjax.errors import UserError
from tripletjax.report.page import index, write_report
from tripletjax.report.page.differences import arm_seconds, unbeaten
from tripletjax.report.page.pictures import chosen_runs, run_pictures
from tripletjax.report.page.svg import ticks
from tripletjax.report.sweep_collapse import collapse_rows
from tripletjax.report.sweep_curves import Runs, mean_curve, read_curves
from tripletjax.report.sweep_files import read_sweep
from tripletjax.report.sweep_numbers import conclude, find, find_test
from tripletjax.report.sweep_tables import latex_text

ROOT = Path(__file__).parents[2]
BASE = "miner=semi_hard,margin=0.2"
FAILED = "miner=random,margin=0.1,seed=0"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
  folder = tmp_path_factory.mktemp("sweeps") / "whole"
  make_sweep(folder, arrays=False)
  return folder


def page_of(folder, *, pictures=False, **options):
  files, _ = write_report(folder, pictures=pictures, **options)
  return files[0].read_text()


def test_differences_are_those_of_the_seeds(folder):
  found = find(read_sweep(folder))
  arm = "miner=batch_hard,margin=0.1"
  own, base = (
    [score(miner, margin, seed) for seed in range(3)]
    for miner, margin in (("batch_hard", "0.1"), ("semi_hard", "0.2"))
  )
  expected = stats.ttest_rel(own, base)
  low, high = expected.confidence_interval(0.95)
  difference = found.paired[arm].difference
  assert difference.mean == pytest.approx((low + high) / 2)
  assert difference.half == pytest.approx((high - low) / 2)
  assert found.paired[arm].t_p == pytest.approx(expected.pvalue)
  assert found.best == max(found.means, key=lambda name: found.means[name].mean)
  assert list(find_test(read_sweep(folder)).means) == [arm, BASE]


def test_the_conclusion_has_the_numbers(folder):
  sweep = read_sweep(folder)
  found = find(sweep)
  said = conclude(sweep, found)
  paired = found.paired[found.best]
  assert said.startswith(f"{found.best} has the best map@r: ")
  assert f"{paired.difference.mean:.3f} above the baseline" in said
  assert f"p = {paired.t_holm:.3f} after Holm over 5 arms" in said
  assert ("not settled" in said) == (paired.t_holm > 0.05)
  # The made-up test has the same numbers; one arm, so no correction.
  half = f"{paired.difference.half:.3f}"
  assert f"margin=0.1 is +{paired.difference.mean:.3f} ± {half} from" in said
  assert f"(paired t p = {paired.t_p:.3f})" in said


def test_less_is_better_turns_the_order(folder):
  sweep = read_sweep(folder)._replace(less_is_better=True)
  found = find(sweep)
  worst = min(found.means, key=lambda name: found.means[name].mean)
  assert found.best == worst
  assert "below the baseline" in conclude(sweep, found)


def test_the_baseline_may_be_the_best(tmp_path):
  make_sweep(tmp_path / "s", miners=("random", "semi_hard"), margins=("0.2",))
  sweep = read_sweep(tmp_path / "s")
  said = conclude(sweep, find(sweep))
  assert "That is the baseline. The next, miner=random,margin=0.2, is" in said
  assert "below the baseline" in said


def test_one_replicate_settles_nothing(tmp_path):
  make_sweep(tmp_path / "s", seeds=1, arrays=False)
  sweep = read_sweep(tmp_path / "s")
  said = conclude(sweep, find(sweep))
  assert "from one replicate: without a second nothing is settled" in said
  assert "unknown" in page_of(tmp_path / "s")


STATES = {
  FAILED: "failed",
  "miner=random,margin=0.2,seed=1": "diverged",
  "miner=batch_hard,margin=0.1,seed=2": "running",
  "miner=batch_hard,margin=0.2,seed=2": "waiting",
}


def test_half_a_sweep_has_a_report(tmp_path):
  make_sweep(tmp_path / "s", states=STATES, arrays=False)
  page = page_of(tmp_path / "s")
  assert "4 of 18 cells have no result: this may change." in page
  assert "14 done, 1 running, 1 waiting, 1 failed, 1 diverged" in page
  found = find(read_sweep(tmp_path / "s"))
  assert found.means["miner=random,margin=0.1"].n == 2
  assert found.means["miner=random,margin=0.1"].excluded == 1
  assert found.paired["miner=random,margin=0.1"].difference.n == 2
  assert f"{FAILED}: failed" in page
  assert "Traceback (most recent call last):" in page


def test_nothing_done_has_a_report(tmp_path):
  names = make_sweep(tmp_path / "s", arrays=False, test=False)
  for name in names:
    (tmp_path / "s" / "cells" / name / "status.json").unlink()
  (tmp_path / "s" / "results.csv").unlink()
  (tmp_path / "s" / "costs.csv").unlink()
  assert "No cell has a map@r yet." in page_of(tmp_path / "s")


def test_results_come_from_summaries_before_the_table_is_there(tmp_path):
  make_sweep(tmp_path / "s", arrays=False)
  expected = find(read_sweep(tmp_path / "s")).means
  (tmp_path / "s" / "results.csv").unlink()
  assert find(read_sweep(tmp_path / "s")).means == expected


def test_a_number_that_is_none_is_left_out(tmp_path):
  make_sweep(tmp_path / "s", arrays=False)
  path = tmp_path / "s" / "results.csv"
  value = str(score("random", "0.1", 0))
  lines = path.read_text().splitlines()
  lines = [
    line.replace(value, "") if line.startswith('"' + FAILED) else line
    for line in lines
  ]
  path.write_text("\n".join(lines) + "\n")
  found = find(read_sweep(tmp_path / "s"))
  mean = found.means["miner=random,margin=0.1"]
  assert (mean.n, mean.excluded) == (2, 1)
  assert "1 cells that failed" in page_of(tmp_path / "s")


def test_all_words_are_escaped(tmp_path):
  hostile = "<img src=x onerror=alert(1)>"
  make_sweep(
    tmp_path / "s", miners=("semi_hard",), margins=("0.2", "0.3"),
    states={"miner=semi_hard,margin=0.3,seed=0": "failed"}, arrays=False,
  )  # fmt: skip
  for name in ("sweep.json", "cells.json"):
    path = tmp_path / "s" / name
    text = path.read_text().replace("margin_by_miner", hostile)
    path.write_text(text.replace('"0.3"', json.dumps(hostile)))
  page = page_of(tmp_path / "s")
  assert html.escape(HEAD) in page
  assert HEAD not in page
  assert hostile not in page
  assert html.escape(hostile) in page


def test_the_page_loads_nothing_and_is_small(folder):
  page = page_of(folder)
  assert len(page.encode()) < 5_000_000
  assert not re.search(r"(src|href|action)=[\"']?(https?:)?//", page)
  assert not re.search(r"url\((?!#)|@import|<link|<iframe", page)
  assert "default-src 'none'" in page
  # Links are files beside it, and exist.
  for link in set(re.findall(r'<a href="([^"#][^"]*)"', page)):
    name = re.sub("%([0-9A-F]{2})", lambda m: chr(int(m[1], 16)), link)
    assert (folder / name).is_file(), link


def test_a_page_that_would_be_too_large_goes_without(folder, monkeypatch):
  whole = page_of(folder)
  limit = len(whole) * 2 // 3
  monkeypatch.setattr(index, "LARGEST", limit)
  page = page_of(folder)
  assert len(page) < len(whole)
  assert "Left out: with it this page would be larger than 5 MB." in page
  assert "has the best map@r" in page


def test_other_sweeps_are_beside_it(folder, tmp_path):
  make_sweep(tmp_path / "other", margins=("0.2", "0.5"), arrays=False)
  path = tmp_path / "other" / "sweep.json"
  path.write_text(path.read_text().replace('"seed": 0', '"seed": 7'))
  page = page_of(folder, compare=(tmp_path / "other",))
  # The same made-up scores: a difference of 0 with an interval.
  part = page[page.index('id="compared"') :]
  assert "Base configs: 1 fields differ" in part
  assert "seed: 0 -&gt; 7" in part
  assert part.count("+0.000 ±") == 3
  assert "miner=random,<wbr>margin=0.5</td>" in part


def test_tables_for_a_text(folder):
  files, said = write_report(folder, pictures=False)
  markdown, latex = (path.read_text() for path in files[1:])
  assert markdown.startswith(said)
  assert f"| {BASE} " in markdown
  assert markdown.count("\n| miner=") == 6 + 5
  assert r"miner=semi\_hard,margin=0.2" in latex
  assert latex.count(r"\begin{tabular}") == 2
  assert "_" not in latex.replace(r"\_", "").split("\n\n", 1)[1].replace(
    "\n% ", ""
  ).replace(f"{BASE}: paired", "")
  assert latex_text("50% & _x^2 ±") == (r"50\% \& \_x\textasciicircum{}2 $\pm$")


def test_curves_are_means_over_runs(folder):
  runs, broken = read_curves(read_sweep(folder))
  assert broken == []
  own = runs[BASE].done
  assert len(own) == 3
  curve = mean_curve(own, "loss")
  values = np.stack([run["loss"][1] for run in own])
  np.testing.assert_allclose(curve.mean, values.mean(axis=0))
  np.testing.assert_allclose(curve.low, values.min(axis=0))
  np.testing.assert_allclose(curve.high, values.max(axis=0))
  assert mean_curve(own, "nothing") is None


def test_more_labels_than_colors_have_a_panel_each(tmp_path):
  miners = [f"miner_{i}" for i in range(8)] + ["semi_hard"]
  make_sweep(tmp_path / "s", miners=miners, margins=("0.2",), arrays=False)
  page = page_of(tmp_path / "s")
  part = page[page.index("training loss") :]
  part = part[: part.index("</details>")]
  assert part.count("<figure") == 9
  # The baseline is dashed in all panels but its own.
  assert part.count('class="line base"') == 8


def test_long_curves_are_binned():
  steps = np.arange(1, 1001)
  run = {"loss": (steps, steps.astype(float))}
  curve = mean_curve([run], "loss", 10)
  # A bin of 100 steps: their mean.
  np.testing.assert_allclose(curve.mean, [k * 100 + 50.5 for k in range(10)])
  holes = {"loss": (steps, np.where(steps > 500, math.nan, 1.0))}
  assert np.isnan(mean_curve([holes], "loss", 10).mean[5:]).all()


def test_a_broken_file_of_a_run_is_said_in_the_page(tmp_path):
  make_sweep(tmp_path / "s", arrays=False)
  cell = tmp_path / "s" / "cells" / FAILED
  (cell / "metrics.jsonl").write_text("no JSON\n")
  assert "expected an object with an integer &quot;step&quot;" in page_of(
    tmp_path / "s"
  )


def test_pictures_are_of_the_best_and_the_worst_run(tmp_path):
  make_sweep(tmp_path / "s", miners=("semi_hard",), margins=("0.2",))
  page = page_of(tmp_path / "s", pictures=True)
  sweep = read_sweep(tmp_path / "s")
  scores = {f"{BASE},seed={s}": score("semi_hard", "0.2", s) for s in range(3)}
  order = sorted(scores, key=scores.get)
  chosen = chosen_runs(sweep, find(sweep))[BASE]
  assert [cell.name for cell in chosen] == [order[-1], order[0]]
  assert page.count("data:image/webp;base64,") == 2 * 3
  assert f"best run, {order[-1]}" in page
  # Without room in the page they are links.
  links = run_pictures(sweep, find(sweep), 1000)
  assert "base64" not in links
  assert links.count("/pictures/embedding.png") == 2


def test_cost_is_that_of_the_steps(folder):
  seconds = arm_seconds(read_sweep(folder))
  # 150 steps of 0.05 s, whatever the clock of the whole run said.
  assert seconds == pytest.approx(dict.fromkeys(seconds, 7.5))
  assert len(seconds) == 6


def test_what_nothing_beats():
  points = {"a": (1.0, 0.5), "b": (2.0, 0.4), "c": (3.0, 0.7), "d": (3.0, 0.6)}
  assert unbeaten(points, less_is_better=False) == ["a", "c"]
  assert unbeaten(points, less_is_better=True) == ["a", "b"]


def test_ticks_are_round():
  assert ticks(0.61, 0.68) == [0.62, 0.64, 0.66, 0.68]
  assert ticks(-3, 3) == [-2, 0, 2]


@pytest.mark.parametrize(
  ("name", "text", "message"),
  [
    ("cells.json", "{", "cells.json: expected JSON"),
    ("cells.json", "{}", "cells.json: expected a JSON list, got dict"),
    ("cells.json", '[{"cell": "../x"}]', "name that can be a folder's"),
    ("cells.json", '[{"cell": "x"}]', "got KeyError: 'values'"),
    ("sweep.json", "{}", "expected sweep.json, cells.json and tables"),
    ("results.csv", "a,b\n1,2\n", 'results.csv: expected a column "cell"'),
  ],
)
def test_broken_files_are_named(tmp_path, name, text, message):
  make_sweep(tmp_path / "s", arrays=False)
  (tmp_path / "s" / name).write_text(text)
  with pytest.raises(UserError, match=re.escape(message)):
    read_sweep(tmp_path / "s")


def command(*arguments):
  return subprocess.run(
    [sys.executable, "-m", "experiments.report", *map(str, arguments)],
    capture_output=True, text=True, cwd=ROOT, timeout=120,
  )  # fmt: skip


def test_the_command(folder):
  result = command(f"--workdir={folder}", "--nopictures")
  assert result.returncode == 0, result.stderr
  lines = result.stdout.splitlines()
  assert " has the best map@r: " in lines[0]
  assert lines[2:] == [
    str(folder / name) for name in ("index.html", "table.md", "table.tex")
  ]


def test_the_command_draws_a_run(tmp_path):
  names = make_sweep(tmp_path / "s", miners=("semi_hard",), margins=("0.2",))
  run = tmp_path / "s" / "cells" / names[0]
  result = command(f"--workdir={run}")
  assert result.returncode == 0, result.stderr
  drawn = [Path(line).name for line in result.stdout.splitlines()]
  assert drawn == [
    "curves.png", "embedding.png", "neighbours.png", "triplets.png",
  ]  # fmt: skip


@pytest.mark.parametrize(
  ("arguments", "message"),
  [
    ((), "--workdir: expected the folder of a sweep or a run, got none"),
    (("--workdir=nowhere",), "--workdir: there is no folder nowhere"),
    (("--workdir=docs",), "--workdir: docs has neither sweep.json nor a run"),
    (
      ("--workdir=docs", "--compare=tests"),
      "--compare: docs is no sweep's folder",
    ),
  ],
)
def test_a_mistake_is_one_line(arguments, message):
  result = command(*arguments)
  assert result.returncode == 2
  assert result.stderr.startswith(f"error: {message}")
  assert result.stderr.count("\n") == 1


def test_collapses_are_those_that_were_logged():
  def series(collapsed, distance):
    steps = np.arange(1, len(collapsed) + 1)
    return {
      "collapsed": (steps, np.asarray(collapsed, float)),
      "mean_distance": (steps, np.asarray(distance, float)),
    }

  one = series([0, 0, 1, 1], [1, 0.5, 0.01, 0.003])
  two = series([0, 1, 0, 1], [1, 0.01, 0.2, 0.0041])
  well = series([0, 0, 0, 0], [1, 1, 1, 12])
  rows = collapse_rows({"a": Runs([one], [two]), "b": Runs([well], [])})
  assert rows == [
    ("a", "2 of 2", "2 to 3", "0.003 to 0.0041", "-"),
    ("b", "0 of 1", "-", "12", "-"),
  ]
  # Where nothing collapsed there is nothing to say.
  assert collapse_rows({"b": Runs([well], [])}) == []
