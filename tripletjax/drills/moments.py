"""What a run is doing just now, by what lies in its folder."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tripletjax.drills.comparing import Row, read_rows

# In the words of the table; `start` is all before the first step is done and
# `end` all after the last save.
KINDS = ("start", "step", "metrics", "evaluation", "save", "end")
# How Orbax names a checkpoint until it is whole.
PARTIAL = "*.orbax-checkpoint-tmp*"


class Marks(NamedTuple):
  """What an untouched run does after which steps.

  Attributes:
    blocks: after them the lines of all steps so far are written.
    evaluations: after them the network is evaluated.
    saves: after them a checkpoint is saved.
    last: the last step.
  """

  blocks: frozenset[int]
  evaluations: frozenset[int]
  saves: frozenset[int]
  last: int


class Moment(NamedTuple):
  """What a run does: `kind` is one of KINDS, `step` the last one written."""

  kind: str
  step: int


class Look(NamedTuple):
  """A folder, seen cheaply; differs from the one before if much happened.

  Attributes:
    metrics: inode and size of metrics.jsonl; zeros if there is none.
    partial: name and inode of each checkpoint that isn't whole.
  """

  metrics: tuple[int, int]
  partial: frozenset[tuple[str, int]]


def marks_of(rows: Sequence[Mapping[str, Any]]) -> Marks:
  """The marks of a run from its metrics; lines of one lap share a clock."""
  trained = [row for row in rows if "loss" in row]
  if not trained:
    raise ValueError("expected the metrics of a run with at least one step")
  blocks = {
    row["step"]
    for row, after in itertools.pairwise(trained)
    if row["seconds/step"] != after["seconds/step"]
  }
  last = trained[-1]["step"]
  return Marks(
    blocks=frozenset(blocks | {last}),
    evaluations=frozenset(_steps_with(rows, "eval/")),
    saves=frozenset(_steps_with(rows, "seconds/checkpoint")),
    last=last,
  )


def look(workdir: Path) -> Look:
  """Looks at a folder, whatever vanishes meanwhile."""
  partial = set()
  for path in (workdir / "checkpoints").glob(PARTIAL):
    try:
      partial.add((path.name, path.stat().st_ino))
    except FileNotFoundError:
      continue
  try:
    stat = (workdir / "metrics.jsonl").stat()
  except FileNotFoundError:
    return Look((0, 0), frozenset(partial))
  return Look((stat.st_ino, stat.st_size), frozenset(partial))


def moment_of(
  workdir: Path, marks: Marks, *, before: Look, start: int
) -> Moment:
  """What a run that stands still is doing.

  Args:
    workdir: its folder.
    marks: of an untouched run.
    before: how the folder looked when the run was started.
    start: the step from which it went on.
  """
  now = look(workdir)
  if now.metrics == before.metrics:
    return Moment("start", start)
  rows, torn = read_rows(workdir / "metrics.jsonl")
  saving = bool(now.partial - before.partial)
  return judge(rows, marks, torn=torn, saving=saving, start=start)


def judge(
  rows: Sequence[Row], marks: Marks, *, torn: bool, saving: bool, start: int
) -> Moment:
  """What a run is doing by its metrics so far.

  Args:
    rows: lines of metrics.jsonl.
    marks: of an untouched run.
    torn: the last line isn't whole.
    saving: a checkpoint is there that isn't whole.
    start: the step from which it went on.
  """
  step = max((row["step"] for row in rows if "loss" in row), default=0)
  if saving:
    kind = "save"
  elif torn:
    kind = "metrics"
  elif step <= start:
    kind = "start"
  # The first step after a start is written by itself.
  elif step not in marks.blocks and step != start + 1:
    kind = "metrics"
  elif step in marks.evaluations - _steps_with(rows, "eval/"):
    kind = "evaluation"
  elif step in marks.saves - _steps_with(rows, "seconds/checkpoint"):
    kind = "save"
  else:
    kind = "end" if step == marks.last else "step"
  return Moment(kind, step)


def _steps_with(rows: Sequence[Mapping[str, Any]], prefix: str) -> set[int]:
  return {
    row["step"] for row in rows if any(name.startswith(prefix) for name in row)
  }
