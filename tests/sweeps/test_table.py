"""The table of a sweep's progress, by folders made by hand."""

import io
import json
import os
import time

import pytest
from ml_collections import ConfigDict

from tripletjax.sweeps import table
from tripletjax.sweeps.cells import Planned
from tripletjax.sweeps.reading import SweepFolder, write_status

# Group 0 has ended but for a cell that failed, 1 is at work, 2 waits.
GROUPS = {"a": 0, "b": 0, "c": 1, "d": 1, "e": 2}
STATES = {"a": "done", "b": "failed", "c": "running", "d": "running"}


@pytest.fixture
def sweep(tmp_path):
  cells = tuple(
    Planned(name, name, {}, {}, ConfigDict(), group)
    for name, group in GROUPS.items()
  )
  for name, state in STATES.items():
    write_status(tmp_path, name, state)
  groups = [{"group": 0, "steps": 40}, {"group": 1, "steps": 40}]
  (tmp_path / "plan.json").write_text(json.dumps({"groups": groups}))
  write_steps(tmp_path, "c", 10)
  return SweepFolder(tmp_path, {"name": "margins"}, cells)


def write_steps(folder, cell, steps):
  lines = [
    json.dumps({"step": step, "loss": 0.1, "more": "x" * 900})
    for step in range(1, steps + 1)
  ]
  path = folder / "cells" / cell / "metrics.jsonl"
  path.write_text("\n".join(lines) + "\n")


class Screen(io.StringIO):
  """What a terminal shows of what is written: lines, and the cursor's row."""

  def isatty(self):
    return True

  def shown(self):
    rows, at = [""], 0
    text = self.getvalue()
    while text:
      if text.startswith("\r\x1b["):
        number, _, text = text[3:].partition("A")
        at -= int(number)
        assert at >= 0
        continue
      if text.startswith("\x1b[J"):
        rows, text = [*rows[:at], ""], text[3:]
        continue
      letter, text = text[0], text[1:]
      if letter == "\n":
        at += 1
        rows += [""] * (at + 1 - len(rows))
      else:
        rows[at] += letter
    return rows


def test_what_is_read(sweep):
  found = {cell.name: cell[2:] for cell in table.look(sweep)}
  assert found == {
    "a": ("done", 0, 40),
    "b": ("failed", 0, 40),
    "c": ("running", 10, 40),
    "d": ("running", 0, 40),
    "e": ("waiting", 0, 0),
  }


def test_the_last_whole_line_counts(tmp_path):
  (tmp_path / "cells" / "x").mkdir(parents=True)
  write_steps(tmp_path, "x", 50)
  path = tmp_path / "cells" / "x" / "metrics.jsonl"
  assert table.last_step(path) == 50
  with path.open("a") as file:
    file.write('{"step": 51, "lo')  # as a kill leaves it
  assert table.last_step(path) == 50
  path.write_text('{"step": 1')
  assert table.last_step(path) == 0
  assert table.last_step(tmp_path / "absent") == 0


def test_the_rest_goes_on_at_the_same_pace(sweep):
  cells = table.look(sweep)
  # Two of five have ended, one has a quarter of its steps.
  assert table.fraction(cells) == pytest.approx((2 + 10 / 40) / 5)
  # 0.25 were done before, so 0.2 took 60 s; 0.55 are left.
  left = table.seconds_left(cells, before=0.25, elapsed=60.0)
  assert left == pytest.approx(60 * 0.55 / 0.2)
  assert table.seconds_left(cells, before=0.45, elapsed=60.0) is None
  assert table.headline("m", cells, before=0.25, elapsed=60.0) == (
    "m: 1 of 5 done, 2 running, 1 waiting, 1 failed; 1:00 gone, about 2:45 left"
  )


def test_a_line_a_group_those_at_work_first(sweep):
  cells = table.look(sweep)
  rows = table.group_rows(cells, most=9)
  assert rows == [
    "  group 1: 0 of 2 done, 2 running; step 10/40 of c",
    "  group 0: 1 of 2 done, 1 failed",
    "  group 2: 0 of 1 done, 1 waiting",
  ]
  assert table.group_rows(cells, most=2) == [rows[0], "  and 2 more groups"]


def test_names_obey_nothing(sweep):
  cells = [table.CellProgress("x\x1b[31m", 0, "running", 1, 2)]
  (row,) = table.group_rows(cells, most=9)
  assert "\x1b" not in row
  head = table.headline("y\x1b[2J", cells, before=0, elapsed=0)
  assert "\x1b" not in head


def test_a_terminal_keeps_one_table_below_the_lines(sweep, monkeypatch):
  monkeypatch.setenv("TERM", "xterm")
  monkeypatch.setenv("COLUMNS", "60")
  screen = Screen()
  with table.live_table(sweep, stream=screen, pause=0.01) as say:
    say("group 1: together")
    write_steps(sweep.path, "c", 20)
    until(lambda: "step 20/40" in screen.getvalue())
    write_status(sweep.path, "c", "done")
    say("cell c: done")
  rows = screen.shown()
  assert rows[:2] == ["group 1: together", "cell c: done"]
  assert rows[2].startswith("margins: 2 of 5 done, 1 running, 1 waiting, 1 fa")
  assert [row[:9] for row in rows[3:6]] == [
    "  group 1",
    "  group 0",
    "  group 2",
  ]
  assert rows[6:] == [""]
  assert all(len(row) < 60 for row in rows)


def test_elsewhere_a_line_for_each_change(sweep):
  stream = io.StringIO()
  with table.live_table(sweep, stream=stream, pause=0.01) as say:
    write_steps(sweep.path, "c", 30)
    time.sleep(0.1)
    say("a word")
    write_status(sweep.path, "c", "diverged")
    until(lambda: "diverged" in stream.getvalue())
  lines = stream.getvalue().splitlines()
  assert [line.partition(";")[0] for line in lines] == [
    "margins: 1 of 5 done, 2 running, 1 waiting, 1 failed",
    "a word",
    "margins: 1 of 5 done, 1 running, 1 waiting, 1 failed, 1 diverged",
  ]
  assert "\x1b" not in stream.getvalue()


def test_half_a_folder_is_looked_at_again(sweep):
  os.truncate(sweep.path / "cells" / "c" / "status.json", 3)
  stream = io.StringIO()
  with table.live_table(sweep, stream=stream, pause=0.01):
    assert stream.getvalue() == ""
    write_status(sweep.path, "c", "done")
    until(stream.getvalue)
  assert stream.getvalue().startswith("margins: 2 of 5 done")


def until(true, seconds=10.0):
  patience = time.monotonic() + seconds
  while not true():
    assert time.monotonic() < patience
    time.sleep(0.005)
