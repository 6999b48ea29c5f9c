"""How far the curves of two runs are apart."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from tripletjax.errors import UserError
from tripletjax.report.files import read_series

CURVES = ("loss", "active_share", "eval/recall@1", "eval/map@r")


def compare_curves(
  first: str | os.PathLike[str],
  second: str | os.PathLike[str],
  *,
  until: tuple[int, ...] = (1, 10, 100),
) -> str:
  """The largest absolute difference of two runs' curves, as a table.

  Args:
    first: folder of a run.
    second: folder of another run.
    until: steps up to which the differences are taken; the last step as well.

  Raises:
    UserError: a metrics file is missing or broken, or the runs share no step.
  """
  runs = [read_series(Path(run) / "metrics.jsonl") for run in (first, second)]
  gaps = {}
  for curve in CURVES:
    if curve in runs[0] and curve in runs[1]:
      (steps, values), (other_steps, other) = (run[curve] for run in runs)
      shared, a, b = np.intersect1d(steps, other_steps, return_indices=True)
      if len(shared):
        gaps[curve] = shared, np.abs(values[a] - other[b])
  if "loss" not in gaps:
    raise UserError(f"--runs: {first} and {second} have no step in common")
  last = int(gaps["loss"][0][-1])
  ends = [*(end for end in until if end < last), last]
  lines = [
    "| largest difference up to step | " + " | ".join(map(str, ends)) + " |",
    "| --- |" + " --- |" * len(ends),
  ]
  for curve, (steps, differences) in gaps.items():
    within = [differences[steps <= end] for end in ends]
    cells = [f"{gap.max():.1e}" if len(gap) else "-" for gap in within]
    lines.append(f"| {curve} | " + " | ".join(cells) + " |")
  return "\n".join(lines)
