"""Training curves from `metrics.jsonl`."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from tripletjax.report.canvas import DPI

Series = dict[str, tuple[np.ndarray, np.ndarray]]

_BLUE, _ORANGE, _TEAL = "#2f6db3", "#d9722b", "#1f8f7b"


def draw_curves(series: Series) -> Figure:
  """Loss, mined triplets that still have a loss, and retrieval, by step.

  Args:
    series: (steps `[S]`, values `[S]`) of each logged number.

  Returns:
    a figure with a panel for each that was logged.
  """
  painters = []
  if "loss" in series:
    painters.append(_draw_loss)
  if "active_share" in series or "active_triplets" in series:
    painters.append(_draw_active)
  if "eval/recall@1" in series or "eval/map@r" in series:
    painters.append(_draw_retrieval)
  figure = Figure(
    figsize=(4.4 * max(1, len(painters)), 3.6), dpi=DPI, layout="constrained"
  )
  if not painters:
    figure.text(0.5, 0.5, "no loss or score was logged", ha="center")
  for number, paint in enumerate(painters, start=1):
    axes = figure.add_subplot(1, len(painters), number)
    axes.set_xlabel("step")
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.grid(color="0.92")
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    paint(axes, series)
  return figure


def _draw_loss(axes: Axes, series: Series) -> None:
  axes.set_title("Training loss")
  _draw_smoothed(axes, series["loss"], _BLUE)
  axes.set_ylim(bottom=0)


def _draw_active(axes: Axes, series: Series) -> None:
  if "active_share" in series:
    axes.set_title("Mined triplets with a loss > 0")
    _draw_smoothed(axes, series["active_share"], _TEAL)
    axes.set_ylim(0, 1.03)
    axes.set_ylabel("share of the mined")
  else:
    axes.set_title("Triplets with a loss > 0")
    _draw_smoothed(axes, series["active_triplets"], _TEAL)
    axes.set_ylim(bottom=0)
    axes.set_ylabel("triplets per batch")


def _draw_retrieval(axes: Axes, series: Series) -> None:
  axes.set_title("Retrieval among unseen classes")
  shown = (
    ("eval/recall@1", "recall@1", _BLUE),
    ("eval/map@r", "MAP@R", _ORANGE),
  )
  for name, label, color in shown:
    if name in series:
      steps, values = series[name]
      finite = values[np.isfinite(values)]
      # In the legend, where two nearby curves can't make them overlap.
      last = f", last {finite[-1]:.3f}" if len(finite) else ""
      axes.plot(
        steps, values, "o-", color=color, markersize=4, label=f"{label}{last}"
      )
  axes.set_ylim(0, 1.03)
  axes.legend(loc="best", frameon=False)


def _draw_smoothed(
  axes: Axes, line: tuple[np.ndarray, np.ndarray], color: str
) -> None:
  """The values pale, and their running mean over 1/20 of the run on top."""
  steps, values = line
  width = len(values) // 20
  if width < 2 or not np.isfinite(values).all():
    axes.plot(steps, values, color=color, linewidth=1.6)
    return
  axes.plot(steps, values, color=color, alpha=0.3, linewidth=0.8)
  # Divided by the window's true length, so that the ends aren't pulled down.
  window = np.ones(width)
  mean = np.convolve(values, window, "same") / np.convolve(
    np.ones(len(values)), window, "same"
  )
  axes.plot(
    steps, mean, color=color, linewidth=1.8, label=f"mean over {width} rows"
  )
  axes.legend(loc="best", frameon=False)
