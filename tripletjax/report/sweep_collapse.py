"""Which arms collapsed, and when: from the logged numbers of their runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from tripletjax.report.sweep_curves import Runs, Series

HEAD = (
  "arm",
  "runs that collapsed",
  "first at step",
  "mean distance at the end",
  "effective rank at the end",
)


def collapse_rows(curves: Mapping[str, Runs]) -> list[tuple[str, ...]]:
  """A row for each arm, if any run of any arm was ever `collapsed`.

  Args:
    curves: arm -> the logged numbers of its runs.

  Returns:
    Rows under `HEAD`; ranges are those of the runs.
  """
  rows: list[tuple[str, ...]] = []
  ever = False
  for arm, runs in curves.items():
    series = [*runs.done, *runs.others]
    firsts = [step for each in series if (step := first_collapse(each))]
    ever = ever or bool(firsts)
    rows.append(
      (
        arm,
        f"{len(firsts)} of {len(series)}",
        _range([float(step) for step in firsts]),
        _range([_last(each, "mean_distance") for each in series]),
        _range([_last(each, "effective_rank") for each in series]),
      )
    )
  return rows if ever else []


def first_collapse(series: Series) -> int:
  """The first step whose batch was collapsed; 0 if none was."""
  steps, values = series.get("collapsed", (np.zeros(0, int), np.zeros(0)))
  found = steps[values > 0]
  return int(found[0]) if len(found) else 0


def _last(series: Series, name: str) -> float:
  values = series[name][1] if name in series else np.zeros(0)
  return float(values[-1]) if len(values) else float("nan")


def _range(values: Sequence[float]) -> str:
  finite = [value for value in values if np.isfinite(value)]
  if not finite:
    return "-"
  low, high = (f"{value:.2g}" for value in (min(finite), max(finite)))
  if min(finite) >= 10:
    low, high = f"{min(finite):.0f}", f"{max(finite):.0f}"
  return low if low == high else f"{low} to {high}"
