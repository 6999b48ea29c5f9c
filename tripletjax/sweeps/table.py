"""How far a sweep is: a table that moves in a terminal, plain lines elsewhere.

It reads the sweep's folder alone, so that it is right for every launcher, also
where others train.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TextIO

from tripletjax.errors import UserError, printable
from tripletjax.sweeps.reading import (
  STATES,
  SweepFolder,
  cell_folder,
  read_json,
  read_status,
)

ENDED = ("done", "failed", "diverged")
# Seconds between looks, in a terminal and elsewhere.
PAUSE, PLAIN_PAUSE = 2.0, 10.0
# The most rows of groups; the rest is counted.
ROWS = 12
# Bytes from the end of metrics.jsonl in which its last line is: one of its
# lines has about a thousand.
TAIL = 1 << 14
# ANSI: to the line's start and n lines up; clear from here to the end.
UP, CLEAR = "\r\x1b[{}A", "\x1b[J"


class CellProgress(NamedTuple):
  """One cell.

  Attributes:
    name: of the cell.
    group: its number.
    state: one of STATES.
    step: the last one that is written down.
    total: of its steps; 0 as long as its group isn't planned.
  """

  name: str
  group: int
  state: str
  step: int
  total: int


def look(sweep: SweepFolder) -> list[CellProgress]:
  """How far each cell is, in the order of the grid."""
  totals = _totals(sweep.path / "plan.json")
  return [
    _look_at(sweep.path, cell.name, cell.group, totals.get(cell.group, 0))
    for cell in sweep.cells
  ]


def _look_at(folder: Path, name: str, group: int, total: int) -> CellProgress:
  state = read_status(folder, name).state
  # The files of those that have ended or not begun needn't be opened.
  step = 0
  if state not in ENDED:
    step = last_step(cell_folder(folder, name) / "metrics.jsonl")
  return CellProgress(name, group, state, step, total)


def _totals(path: Path) -> dict[int, int]:
  if not path.exists():
    return {}
  rows: Sequence[dict[str, Any]] = read_json(path).get("groups", ())
  return {row["group"]: int(row.get("steps") or 0) for row in rows}


def last_step(path: Path) -> int:
  """The step of the last whole line of a metrics.jsonl; 0 without one."""
  try:
    with path.open("rb") as file:
      size = file.seek(0, os.SEEK_END)
      file.seek(max(0, size - TAIL))
      lines = file.read().split(b"\n")
  except OSError:
    return 0
  for line in reversed(lines[:-1]):
    with contextlib.suppress(ValueError, KeyError, TypeError):
      return int(json.loads(line)["step"])
  return 0


def fraction(cells: Sequence[CellProgress]) -> float:
  """The share of all steps that is done; each cell counts the same."""
  shares = [
    1.0
    if cell.state in ENDED
    else min(1.0, cell.step / cell.total)
    if cell.total
    else 0.0
    for cell in cells
  ]
  return sum(shares) / max(1, len(shares))


def seconds_left(
  cells: Sequence[CellProgress], *, before: float, elapsed: float
) -> float | None:
  """Estimate of the seconds that the rest takes.

  Args:
    cells: now.
    before: the fraction that was done when the clock started.
    elapsed: seconds since then.

  Returns:
    The seconds at the pace until now; None while nothing was done.
  """
  now = fraction(cells)
  return elapsed * (1 - now) / (now - before) if now > before else None


def clock(seconds: float) -> str:
  """Seconds for people.

  >>> clock(59.9), clock(61), clock(3661)
  ('0:59', '1:01', '1:01:01')
  """
  minutes, rest = divmod(int(seconds), 60)
  hours, minutes = divmod(minutes, 60)
  if hours:
    return f"{hours}:{minutes:02}:{rest:02}"
  return f"{minutes}:{rest:02}"


def headline(
  name: str,
  cells: Sequence[CellProgress],
  *,
  before: float,
  elapsed: float,
) -> str:
  """The sweep in a line: cells by state, time gone, time left."""
  left = seconds_left(cells, before=before, elapsed=elapsed)
  rest = "" if left is None else f", about {clock(left)} left"
  return (
    f"{printable(name)}: {count_states(cells)}; {clock(elapsed)} gone{rest}"
  )


def count_states(cells: Sequence[CellProgress]) -> str:
  """Cells by state: "3 of 8 done, 2 running, 3 waiting"."""
  counts = Counter(cell.state for cell in cells)
  order = ("running", "waiting", "failed", "diverged")
  assert {*order, "done"} == set(STATES)
  others = [f"{counts[state]} {state}" for state in order if counts[state]]
  return ", ".join([f"{counts['done']} of {len(cells)} done", *others])


def group_rows(cells: Sequence[CellProgress], *, most: int) -> list[str]:
  """A line a group: those that run first, then those that failed, the rest.

  Args:
    cells: of the sweep.
    most: lines; what doesn't fit is counted in the last one.
  """
  groups: dict[int, list[CellProgress]] = {}
  for cell in cells:
    groups.setdefault(cell.group, []).append(cell)
  # Groups that are all done say nothing that the headline doesn't.
  open_ = {
    number: own
    for number, own in groups.items()
    if any(cell.state != "done" for cell in own)
  }
  rows = [
    _row(number, own)
    for number, own in sorted(open_.items(), key=lambda item: _rank(item[1]))
  ]
  if len(rows) > most:
    hidden = len(rows) - most + 1
    rows = [*rows[: most - 1], f"  and {hidden} more groups"]
  return rows


def _rank(cells: Sequence[CellProgress]) -> int:
  states = {cell.state for cell in cells}
  if "running" in states:
    return 0
  return 1 if states & {"failed", "diverged"} else 2


def _row(number: int, cells: Sequence[CellProgress]) -> str:
  row = f"  group {number}: {count_states(cells)}"
  at_work = [cell for cell in cells if cell.state == "running" and cell.step]
  if at_work:
    # One after another: that which moves is the one furthest from its end.
    cell = min(at_work, key=lambda cell: cell.step)
    of = f"/{cell.total}" if cell.total else ""
    row += f"; step {cell.step}{of} of {cell.name}"
  return printable_row(row)


def printable_row(row: str) -> str:
  """The row with its indent, and nothing that a terminal would obey."""
  return "  " + printable(row)


@contextlib.contextmanager
def live_table(
  sweep: SweepFolder, *, stream: TextIO | None = None, pause: float = 0.0
) -> Iterator[Callable[[str], None]]:
  """Shows how far a sweep is, as long as the context lasts.

  Args:
    sweep: the sweep.
    stream: where; stdout if None. In a terminal the table stays at the bottom
      and changes in place, elsewhere a line is printed when a cell has changed
      its state.
    pause: seconds between looks; 2 in a terminal, 10 elsewhere if 0.

  Yields:
    What prints a line: above the table.
  """
  stream = sys.stdout if stream is None else stream
  moves = stream.isatty() and os.environ.get("TERM") != "dumb"
  table = _Table(sweep, stream, moves)
  ended = threading.Event()

  def keep_looking() -> None:
    while not ended.wait(pause or (PAUSE if moves else PLAIN_PAUSE)):
      table.draw()

  thread = threading.Thread(target=keep_looking, daemon=True)
  table.draw()
  thread.start()
  try:
    yield table.say
  finally:
    ended.set()
    thread.join()
    table.draw()


class _Table:
  """What is on the screen now, and since when."""

  def __init__(self, sweep: SweepFolder, stream: TextIO, moves: bool) -> None:
    self._sweep, self._stream, self._moves = sweep, stream, moves
    self._start = time.monotonic()
    self._before: float | None = None
    self._lines: list[str] = []
    self._states: list[str] = []
    self._one = threading.Lock()

  def draw(self) -> None:
    # Half a folder, one on a file system that doesn't answer: the next time.
    with contextlib.suppress(UserError, OSError, KeyError), self._one:
      cells = look(self._sweep)
      if self._before is None:
        self._before = fraction(cells)
      head = headline(
        self._sweep.about["name"],
        cells,
        before=self._before,
        elapsed=time.monotonic() - self._start,
      )
      states = [cell.state for cell in cells]
      if self._moves:
        size = shutil.get_terminal_size()
        most = max(1, min(ROWS, size.lines - 3))
        lines = [head, *group_rows(cells, most=most)]
        # One that is wrapped would take two lines.
        self._replace([line[: size.columns - 1] for line in lines])
      elif states != self._states:
        print(head, file=self._stream, flush=True)
      self._states = states

  def say(self, line: str) -> None:
    with self._one:
      lines = self._lines
      self._replace([])
      print(line, file=self._stream, flush=True)
      self._replace(lines)

  def _replace(self, lines: list[str]) -> None:
    if not self._moves:
      return
    up = UP.format(len(self._lines)) if self._lines else ""
    self._stream.write(up + CLEAR + "".join(f"{line}\n" for line in lines))
    self._stream.flush()
    self._lines = lines
