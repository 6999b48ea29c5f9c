"""The picture of a soak: time of a step and resident memory over time."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tripletjax.report.canvas import DPI, save_figure

_STEP, _MEMORY, _PEAK, _PART = "#2f6db3", "#1f8f7b", "#c8553d", "0.93"
# So many points are a curve; of more, medians are drawn.
_POINTS = 400


def draw_soak(found: Mapping[str, Any]) -> Figure:
  """Two curves over minutes; the parts that are compared are grey.

  Args:
    found: as `experiments.drill --soak` writes it.
  """
  samples = found["samples"]
  figure = Figure(figsize=(9, 5.4), dpi=DPI, layout="constrained")
  upper, lower = figure.subplots(2, 1, sharex=True)
  _curve(
    upper, found, "step", samples["lap_seconds"],
    1e3 * np.asarray(samples["lap_time"], np.float64), _STEP,
    "time of a step (ms)", 1e3,
  )  # fmt: skip
  _curve(
    lower, found, "memory", samples["seconds"],
    np.asarray(samples["memory"], np.float64) / 1e6, _MEMORY,
    "resident memory (MB);\ndots: the most between evaluations", 1e-6,
  )  # fmt: skip
  if "peaks" in found:
    ends, most = (np.asarray(column, np.float64) for column in found["peaks"])
    lower.plot(ends / 60, most / 1e6, ".", color=_PEAK, markersize=3)
  lower.set_xlabel("minutes of training")
  upper.set_title(
    f"{found['minutes']:g} minutes: {found['steps']:,} steps, "
    f"{found['evaluations']} evaluations, {found['checkpoints']} checkpoints",
    fontsize=12,
  )
  return figure


def save_soak(found: Mapping[str, Any], path: Path) -> Path:
  """Draws the picture into a file."""
  return save_figure(draw_soak(found), path)


def thinned(
  x: np.ndarray, y: np.ndarray, points: int = _POINTS
) -> tuple[np.ndarray, np.ndarray]:
  """Medians of as many neighbours as leave at most `points` points."""
  group = -(-len(x) // points) if len(x) else 1
  starts = range(0, len(x), group)
  return (
    np.array([np.median(x[at : at + group]) for at in starts]),
    np.array([np.median(y[at : at + group]) for at in starts]),
  )


def _curve(
  axes: Axes,
  found: Mapping[str, Any],
  key: str,
  seconds: Any,
  values: np.ndarray,
  color: str,
  label: str,
  scale: float,
) -> None:
  minutes, middle = thinned(np.asarray(seconds, np.float64) / 60, values)
  axes.plot(minutes, middle, color=color, linewidth=1.2)
  compared = found[key]
  for part, value in (("after", "after"), ("end", "end")):
    low, high = (share * found["minutes"] for share in found[part])
    axes.axvspan(low, high, color=_PART, zorder=0)
    axes.plot(
      [low, high], [scale * compared[value]] * 2, color="0.15", linewidth=1.6
    )
  axes.annotate(
    f"median at the end {compared['share']:+.2%}",
    (0.99, 0.05), xycoords="axes fraction", ha="right", fontsize=9,
  )  # fmt: skip
  axes.set_ylabel(label)
  # From 0, so that a change looks as large as it is; above all that is usual.
  top = np.nanquantile(values, 0.99) if len(values) else 1.0
  axes.set_ylim(0, 1.25 * top)
  axes.grid(color="0.92")
  axes.set_axisbelow(True)
  axes.spines[["top", "right"]].set_visible(False)
