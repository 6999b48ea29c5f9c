"""The pictures of the results page."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tripletjax.report.canvas import DPI
from tripletjax.report.result_files import Ablation, OneShot
from tripletjax.statistics import LEVEL

_OURS, _THEIRS, _INK = "#2f6db3", "#c8553d", "0.15"
# Lake et al., 2019, as remembered; on other alphabets, so other tasks.
PUBLISHED: Mapping[str, float] = {
  "BPL": 0.042,
  "ConvNet": 0.232,
  "prototypical": 0.301,
}
_NAMES: Mapping[str, str] = {
  "raw_pixels": "raw pixels",
  "untrained": "untrained network",
  "trained": "trained",
}


def draw_one_shot(trainings: Sequence[OneShot]) -> Figure:
  """Errors of each training beside the published ones."""
  rows = [(of, name) for of in trainings for name in (*of.errors, "committee")]
  rows = [row for row in rows if row[1] != "committee" or row[0].committee]
  figure = Figure(
    figsize=(9, 1.3 + 0.32 * len(rows)), dpi=DPI, layout="constrained"
  )
  axes = figure.subplots()
  labels = []
  for place, (of, name) in enumerate(rows):
    if name == "committee" and of.committee:
      value, low, high = of.committee
      ends = (value - low, high - value)
    else:
      value, half = of.errors[name].mean, of.errors[name].half
      ends = (half, half)
    trained = name in ("trained", "committee")
    axes.errorbar(
      value, place, xerr=[[end] for end in ends], fmt="o", markersize=6,
      capsize=4, color=_OURS if trained else "0.55",
    )  # fmt: skip
    axes.annotate(
      f"{value:.3f}", (value, place), (0, 7), textcoords="offset points",
      ha="center", fontsize=8.5, color=_INK,
    )  # fmt: skip
    labels.append(f"{of.name}: {_NAMES.get(name, name)}")
  axes.set_yticks(range(len(rows)), labels)
  axes.set_ylim(len(rows) - 0.4, -1.2)
  for name, error in PUBLISHED.items():
    axes.axvline(error, color=_THEIRS, linewidth=1, linestyle="--")
    axes.annotate(
      name, (error, -1.1), (3, 0), textcoords="offset points", va="top",
      fontsize=8.5, color=_THEIRS,
    )  # fmt: skip
  axes.set_xlim(0, None)
  axes.set_xlabel(
    "error of 20-way one-shot tasks within an alphabet; dashed: published, "
    "other alphabets"
  )
  _plain(axes, "x")
  return figure


def draw_ablation(found: Ablation) -> Figure:
  """Differences to the baseline with their intervals; blue where settled."""
  figure = Figure(
    figsize=(9, 1.1 + 0.29 * len(found.paired)), dpi=DPI, layout="constrained"
  )
  axes = figure.subplots()
  for place, paired in enumerate(found.paired.values()):
    value = paired.difference
    settled = paired.t_holm <= LEVEL
    axes.errorbar(
      value.mean, place, xerr=value.half, fmt="o", markersize=5, capsize=3,
      color=_OURS if settled else "0.55",
    )  # fmt: skip
  axes.axvline(0, color=_INK, linewidth=1)
  axes.set_yticks(range(len(found.paired)), list(found.paired))
  axes.invert_yaxis()
  axes.set_xlabel(
    f"error minus that of the {found.baseline} "
    f"({found.means[found.baseline]:.3f}), 95 % interval of pairs; blue: p at "
    f"most {LEVEL:g} after Holm"
  )
  _plain(axes, "x")
  return figure


def draw_race(runs: Sequence[Mapping[str, Any]]) -> Figure:
  """Recall@1 over seconds of every training, a panel for each batch and loss.

  Args:
    runs: those of `experiments.race`, of trainings that ended.
  """
  cells = list(dict.fromkeys(run["cell"] for run in runs))
  columns = min(3, len(cells))
  rows = -(-len(cells) // columns)
  figure = Figure(
    figsize=(3.6 * columns, 2.7 * rows), dpi=DPI, layout="constrained"
  )
  panels = [*figure.subplots(rows, columns, squeeze=False).flat]
  for axes, cell in zip(panels, cells, strict=False):
    of_cell = [run for run in runs if run["cell"] == cell]
    for run in of_cell:
      curve = run["evaluations"]
      axes.plot(
        [point["seconds"] for point in curve],
        [point["recall@1"] for point in curve],
        color=_OURS if run["side"] == "ours" else _THEIRS,
        linewidth=1, marker=".", markersize=3,
      )  # fmt: skip
    axes.set_title(cell, fontsize=10)
    axes.set_xlim(0, None)
    _plain(axes, "both")
    for side, color in (("ours", _OURS), ("theirs", _THEIRS)):
      own = [run["end"] for run in of_cell if run["side"] == side]
      if own:
        axes.axvline(statistics.mean(own), color=color, linestyle=":")
  for axes in panels[len(cells) :]:
    axes.set_visible(False)
  figure.supxlabel("seconds since the process was started", fontsize=10)
  figure.supylabel("recall@1", fontsize=10)
  figure.suptitle("blue: tripletjax; red: PyTorch; a line a seed", fontsize=10)
  return figure


def _plain(axes: Axes, grid: Any) -> None:
  axes.grid(color="0.92", axis=grid)
  axes.set_axisbelow(True)
  axes.spines[["top", "right"]].set_visible(False)
