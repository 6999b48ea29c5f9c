"""Tables and intervals, by arithmetic."""

import math

import pytest

from tripletjax.report.tables import (
  COLUMNS,
  ROWS,
  mean_interval,
  seeds_numbers,
  seeds_table,
  summary_table,
)


def summary(shift):
  return {
    row: {column: 0.1 * i + shift for column in COLUMNS}
    for i, row in enumerate(ROWS)
  }


def test_the_interval_is_students():
  # Deviation of 1, 2, 3 is 1; t(.975, 2 degrees of freedom) = 4.3027 (tables).
  mean, half = mean_interval([1.0, 2.0, 3.0])
  assert mean == 2
  assert half == pytest.approx(4.3027 / math.sqrt(3), abs=1e-4)
  assert math.isnan(mean_interval([1.0])[1])


def test_tables_have_a_row_for_each_representation():
  table = summary_table(summary(0.5)).splitlines()
  assert len(table) == 2 + len(ROWS)
  assert table[-1].split("|")[1:3] == [" trained network   ", " 0.700    "]
  seeds = seeds_table([summary(0.5), summary(0.5)]).splitlines()
  assert "0.500 ± 0.000" in seeds[2]


def test_one_shot_errors_stand_where_they_were_measured():
  assert "one-shot" not in summary_table(summary(0.5))
  runs = [summary(0.5), summary(0.5)]
  for run, error in zip(runs, (0.1, 0.3), strict=True):
    run["trained"]["one_shot_error"] = error
  head, _, raw, _, trained = seeds_table(runs).splitlines()
  assert head.split("|")[6].strip() == "one-shot error"
  assert raw.split("|")[6].strip() == "- ± -"
  # Of two values the deviation is .2 / sqrt 2, the half .1 times t(1).
  assert trained.split("|")[6].strip() == "0.200 ± 1.271"


def test_the_numbers_of_seeds():
  runs = [summary(0.5), summary(0.7)]
  runs[1]["trained"]["accuracy"] = None
  found = seeds_numbers(runs)
  assert list(found) == list(ROWS)
  assert found["untrained"]["recall@1"] == {
    "mean": pytest.approx(0.7),
    "half": pytest.approx(12.706 * 0.1, abs=1e-3),
    "values": [0.6, pytest.approx(0.8)],
  }
  assert math.isnan(found["trained"]["accuracy"]["mean"])


def test_what_was_not_measured_is_a_dash():
  unmeasured = summary(0.5)
  unmeasured["trained"]["accuracy"] = None  # null in summary.json
  del unmeasured["trained"]["tar@far=1e-03"]  # another rate was asked for
  cells = summary_table(unmeasured).splitlines()[-1].split("|")
  assert [cell.strip() for cell in cells[4:6]] == ["-", "-"]
  cells = seeds_table([summary(0.5), unmeasured]).splitlines()[-1].split("|")
  assert cells[4].strip() == "- ± -"
