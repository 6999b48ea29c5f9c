"""The regression guard: what it compares, and what is stored."""

import json
import math

import pytest

from experiments.config_files import config_of
from tests.test_commands import ROOT, command
from tripletjax.benchmark import reproduce
from tripletjax.errors import UserError
from tripletjax.training import objective

STORED = ROOT / "docs" / "results" / "reproduce.json"


def row(found, expected=0.9, tolerance=0.05):
  return reproduce.Row("a", "x", expected, tolerance, found)


@pytest.mark.parametrize(
  ("found", "verdict"),
  [
    (0.9, "as stored"),
    (0.86, "as stored"),
    (0.94, "as stored"),
    (0.84, "**missed**"),
    (0.96, "**missed**"),  # better is a change too
    (math.nan, "**missed**"),
    (None, "skipped"),
  ],
)
def test_a_number_is_within_its_tolerance_or_missed(found, verdict):
  assert row(found).verdict == verdict
  assert row(found).missed == (verdict == "**missed**")


def test_what_is_not_stored_is_no_miss():
  assert row(0.5, None, None).verdict == "not stored"
  assert not row(0.5, None, None).missed


def test_every_number_of_either_side_has_a_row():
  held = {
    "a": {"x": {"expected": 1.0, "tolerance": 0.1}},
    "b": {"y": {"expected": 2.0, "tolerance": 0.1}},
  }
  found = {"a": {"x": 1.05, "z": 3.0}, "c": {"x": 0.0}}
  rows = reproduce.compare(found, held)
  assert [(r.check, r.number, r.verdict) for r in rows] == [
    ("a", "x", "as stored"),
    ("a", "z", "not stored"),
    ("b", "y", "skipped"),
    ("c", "x", "not stored"),
  ]
  table = reproduce.rows_table(rows)
  assert "| a     | x      | 1.000  | 0.100     | 1.050 | as stored  |" in table


def test_tolerances_are_four_deviations_and_at_least_a_hundredth():
  seeds = [
    {"a": {"x": 0.90, "y": 0.5}, "b": {"x": 0.1}},
    {"a": {"x": 0.92, "y": 0.5}},
    {"a": {"x": 0.94, "y": 0.5}},
  ]
  stored = reproduce.to_store(seeds)
  # "b" was skipped once. The deviation of .9, .92, .94 is .02, t of two degrees
  # of freedom 4.303.
  assert stored == {
    "a": {
      "x": {
        "expected": 0.92,
        "tolerance": 0.08,
        "interval": 0.0497,
        "seeds": 3,
      },
      "y": {"expected": 0.5, "tolerance": 0.01, "interval": 0.0, "seeds": 3},
    }
  }


def test_what_is_stored_is_a_table():
  entry = {"expected": 0.9, "tolerance": 0.1, "interval": 0.0123, "seeds": 3}
  table = reproduce.stored_section(
    {"glyphs": {"recall@1": entry, "map@r": {**entry, "expected": 0.8}}},
    quick=True,
  )
  assert "reproduce --quick --store_seeds=3" in table
  assert [cell.strip() for cell in table.splitlines()[-1].split("|")[1:-1]] == [
    *("`configs/glyphs.py`", "120", "0.900 ± 0.012", "0.800 ± 0.012", "3")
  ]


def test_what_is_stored_is_of_the_checks():
  stored = json.loads(STORED.read_text())["quick"]
  known = {check.name for check in reproduce.CHECKS} | {reproduce.RACE}
  assert set(stored) == known
  for numbers in stored.values():
    for entry in numbers.values():
      assert 0 < entry["expected"] <= 1
      assert 0.01 <= entry["tolerance"] < 0.3


@pytest.mark.parametrize("check", reproduce.CHECKS, ids=lambda c: c.name)
def test_every_check_is_a_config(check):
  objective.check_config(config_of(check.config))


def test_a_check_that_is_none_is_named(tmp_path):
  with pytest.raises(UserError, match="--only: expected some of glyphs, dig"):
    reproduce.reproduce(
      config_of, quick=True, only=["faces"], data_dir=tmp_path, say=print
    )


def write(path, stored):
  path.write_text(json.dumps({"quick": stored}))
  return f"--stored={path}"


@pytest.mark.slow
def test_the_exit_code_is_one_where_something_changed(tmp_path):
  held = {"omoindrot": {"recall@1": {"expected": 0.5, "tolerance": 0.5}}}
  held["glyphs"] = {"recall@1": {"expected": 0.9, "tolerance": 0.1}}
  arguments = ["--quick", "--only=omoindrot", f"--data_dir={tmp_path}"]
  path = tmp_path / "stored.json"
  result = command("reproduce", *arguments, write(path, held))
  assert result.returncode == 0, result.stderr
  assert "None missed" in result.stdout
  assert "glyphs" not in result.stdout  # it wasn't asked for
  held["omoindrot"]["recall@1"] = {"expected": 0.1, "tolerance": 0.1}
  result = command("reproduce", *arguments, write(path, held))
  assert result.returncode == 1
  assert "**missed**" in result.stdout
  assert "1 missed" in result.stdout
