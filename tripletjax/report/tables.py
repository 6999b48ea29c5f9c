"""Tables of results, as Markdown that also reads well in a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import scipy

COLUMNS = {
  "recall@1": "recall@1",
  "map@r": "MAP@R",
  "accuracy": "verification accuracy",
  "tar@far=1e-03": "TAR at FAR 1e-3",
}
# Where it was measured.
OPTIONAL = {"one_shot_error": "one-shot error"}
ROWS = {
  "raw_pixels": "raw pixels",
  "untrained": "untrained network",
  "trained": "trained network",
}


def summary_table(summary: Mapping[str, Any]) -> str:
  """The results of one run.

  Args:
    summary: as in `summary.json`.
  """
  columns = _columns([summary])
  return _table(
    columns,
    [
      [name, *(_format(_number(summary, row, column)) for column in columns)]
      for row, name in ROWS.items()
    ],
  )


def seeds_table(summaries: Sequence[Mapping[str, Any]]) -> str:
  """Means over runs that differ in the seed, with 95 % intervals.

  Args:
    summaries: one for each seed, as in `summary.json`.
  """
  columns = _columns(summaries)
  return _table(
    columns,
    [
      [
        name,
        *(
          format_interval([_number(run, row, column) for run in summaries])
          for column in columns
        ),
      ]
      for row, name in ROWS.items()
    ],
  )


def seeds_numbers(
  summaries: Sequence[Mapping[str, Any]],
) -> dict[str, dict[str, Any]]:
  """All numbers of runs that differ in the seed.

  Args:
    summaries: one for each seed, as in `summary.json`.

  Returns:
    Row -> number -> its `mean` over the seeds, `half` the width of the 95 %
    interval, and the `values`; None where a seed doesn't have it.
  """
  return {
    row: {
      name: _interval([_number(run, row, name) for run in summaries])
      for name in summaries[0][row]
    }
    for row in ROWS
  }


def format_interval(values: Sequence[float]) -> str:
  """`mean ± half-width` of the 95 % interval of Student's t.

  A dash where one of them was not measurable.

  >>> format_interval([0.5, 0.5, 0.5])
  '0.500 ± 0.000'
  """
  mean, half = mean_interval(values)
  return f"{_format(mean)} ± {_format(half)}"


def mean_interval(values: Sequence[float]) -> tuple[float, float]:
  """Mean, and half-width of its 95 % interval by Student's t."""
  count = len(values)
  if count < 2:
    return float(np.mean(values)), float("nan")
  error = float(np.std(values, ddof=1)) / np.sqrt(count)
  return float(np.mean(values)), float(
    scipy.stats.t.ppf(0.975, count - 1) * error
  )


def _interval(values: Sequence[float]) -> dict[str, Any]:
  mean, half = mean_interval(values)
  return {"mean": mean, "half": half, "values": list(values)}


def _columns(summaries: Sequence[Mapping[str, Any]]) -> dict[str, str]:
  measured = {
    name: title
    for name, title in OPTIONAL.items()
    if any(name in run[row] for run in summaries for row in ROWS)
  }
  return COLUMNS | measured


def _number(summary: Mapping[str, Any], row: str, column: str) -> float:
  # Null in a file, absent where another rate was asked for: not measured.
  value = summary[row].get(column)
  return float("nan") if value is None else value


def _format(value: float) -> str:
  return "-" if np.isnan(value) else f"{value:.3f}"


def _table(columns: Mapping[str, str], rows: Sequence[Sequence[str]]) -> str:
  lines = [["", *columns.values()], *rows]
  widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
  rule = ["-" * width for width in widths]
  return "\n".join(
    "| "
    + " | ".join(c.ljust(w) for c, w in zip(line, widths, strict=True))
    + " |"
    for line in [lines[0], rule, *lines[1:]]
  )
