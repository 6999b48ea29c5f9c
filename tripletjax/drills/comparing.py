"""Whether a run that was disturbed ended as one that was never touched."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tripletjax import checkpoint

# What summary.json says of the run itself, and not of its clock.
SUMMARY = (
  "steps",
  "parameters",
  "devices",
  "trained",
  "untrained",
  "raw_pixels",
)
ARRAYS = ("evaluation.npz", "triplets.npz")
Row = dict[str, Any]


def differences(reference: Path, other: Path) -> list[str]:
  """What differs between two runs that ended, a line each; none is equality.

  Args:
    reference: folder of the run that was never touched.
    other: folder of the run that was.

  Returns:
    At most one line for each checkpoint, metrics file, summary and array file,
    that names the first difference.
  """
  found: list[str] = []
  for lines in (
    _checkpoints(reference, other),
    _metrics(reference / "metrics.jsonl", other / "metrics.jsonl"),
    _summaries(reference, other),
    *(_arrays(reference / name, other / name) for name in ARRAYS),
  ):
    try:
      found += [line for line, _ in zip(lines, range(1), strict=False)]
    except (OSError, ValueError, KeyError) as error:
      found.append(f"{type(error).__name__}: {str(error).splitlines()[0]}")
  return found


def read_rows(path: Path) -> tuple[list[Row], bool]:
  """The lines of a metrics file, and whether the last one is torn."""
  try:
    text = path.read_text()
  except FileNotFoundError:
    return [], False
  rows, torn = [], bool(text) and not text.endswith("\n")
  for line in text.splitlines():
    try:
      rows.append(json.loads(line))
    except json.JSONDecodeError:
      torn = True
  return rows, torn


def timeless(row: Mapping[str, Any]) -> Row:
  """The numbers of a line that don't come from a clock."""
  return {
    name: value
    for name, value in row.items()
    if name != "images_per_second" and not name.startswith("seconds/")
  }


def _metrics(reference: Path, other: Path) -> Iterator[str]:
  (expected, _), (found, torn) = read_rows(reference), read_rows(other)
  if torn:
    yield "metrics.jsonl: a line is torn"
  yield from metrics_differences(expected, found)


def metrics_differences(
  expected: Sequence[Row], found: Sequence[Row]
) -> Iterator[str]:
  """How the lines of two runs differ; each step's are to be there once."""
  # A line of nothing but clocks isn't written again after a kill.
  ours = [row for row in map(timeless, expected) if len(row) > 1]
  theirs = [row for row in map(timeless, found) if len(row) > 1]
  trained = [row["step"] for row in theirs if "loss" in row]
  wanted = [row["step"] for row in ours if "loss" in row]
  if trained != wanted:
    yield f"metrics.jsonl: steps {_steps(trained, wanted)}"
  for our, their in zip(ours, theirs, strict=False):
    if our["step"] != their["step"] or our.keys() != their.keys():
      yield (
        f"metrics.jsonl: expected a line of step {our['step']} with "
        f"{', '.join(sorted(our)[:3])}, got step {their['step']} with "
        f"{', '.join(sorted(their)[:3])}"
      )
    for name in sorted(our.keys() & their.keys()):
      if our[name] != their[name]:
        yield (
          f"metrics.jsonl: step {our['step']}: {name} is {their[name]!r}, "
          f"expected {our[name]!r}"
        )
  if len(ours) != len(theirs):
    yield f"metrics.jsonl: {len(theirs)} lines, expected {len(ours)}"


def _steps(found: Sequence[int], expected: Sequence[int]) -> str:
  twice = sorted({step for step in found if found.count(step) > 1})
  missing = sorted(set(expected) - set(found))
  surplus = sorted(set(found) - set(expected))
  parts = {"more than once": twice, "missing": missing, "surplus": surplus}
  return (
    "; ".join(f"{name} {steps[:5]}" for name, steps in parts.items() if steps)
    or "in another order"
  )


def _checkpoints(reference: Path, other: Path) -> Iterator[str]:
  step, ours = checkpoint.restore_arrays(reference / "checkpoints")
  other_step, theirs = checkpoint.restore_arrays(other / "checkpoints")
  if step != other_step:
    yield f"checkpoints: the latest is of step {other_step}, expected {step}"
  yield from _trees("checkpoints", ours, theirs)


def _summaries(reference: Path, other: Path) -> Iterator[str]:
  ours, theirs = (
    json.loads((folder / "summary.json").read_text())
    for folder in (reference, other)
  )
  for name in SUMMARY:
    our, their = (dict(_flat(name, x.get(name))) for x in (ours, theirs))
    for field in sorted(our.keys() | their.keys()):
      if our.get(field) != their.get(field):
        yield (
          f"summary.json: {field} is {their.get(field)!r}, expected "
          f"{our.get(field)!r}"
        )


def _flat(name: str, value: Any) -> Iterator[tuple[str, Any]]:
  if isinstance(value, Mapping):
    for key, entry in value.items():
      yield from _flat(f"{name}.{key}", entry)
  else:
    yield name, value


def _arrays(reference: Path, other: Path) -> Iterator[str]:
  with (
    np.load(reference, allow_pickle=False) as ours,
    np.load(other, allow_pickle=False) as theirs,
  ):
    yield from _trees(reference.name, dict(ours), dict(theirs))


def _trees(
  where: str,
  ours: Mapping[str, np.ndarray],
  theirs: Mapping[str, np.ndarray],
) -> Iterator[str]:
  for name in sorted(ours.keys() ^ theirs.keys()):
    yield f"{where}: {name} is {'missing' if name in ours else 'surplus'}"
  for name in sorted(ours.keys() & theirs.keys()):
    our, their = ours[name], theirs[name]
    if our.shape != their.shape or our.dtype != their.dtype:
      yield (
        f"{where}: {name} is {their.dtype}{list(their.shape)}, expected "
        f"{our.dtype}{list(our.shape)}"
      )
    elif our.tobytes() != their.tobytes():
      count = int((our != their).sum())
      yield f"{where}: {name} differs in {count} of {our.size} numbers"
