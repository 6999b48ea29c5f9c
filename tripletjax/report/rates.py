"""Curves of an evaluation: ROC and DET, histograms of distances, recall."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullLocator

from tripletjax.report.canvas import DPI
from tripletjax.report.evaluation_files import Curves
from tripletjax.report.scores import SPACES

COLORS = {"raw_pixels": "#8a8a8a", "untrained": "#d9722b", "trained": "#2f6db3"}
_SAME, _DIFFERENT = "#1f8f7b", "#c2452d"
# Of the DET's axes: a normal distribution would be a straight line there.
_DET_TICKS = (0.0001, 0.001, 0.01, 0.05, 0.2, 0.5, 0.8, 0.95)


def draw_roc(curves: dict[str, Curves]) -> Figure:
  """ROC over a logarithmic false-accept rate, and DET, of all representations.

  The operating points that were asked for are dots, the equal error rate a
  square.
  """
  figure = Figure(figsize=(11, 4.8), dpi=DPI, layout="constrained")
  left, right = figure.subplots(1, 2)
  least = min(
    (c.far[c.far > 0].min() for c in curves.values() if (c.far > 0).any()),
    default=1e-3,
  )
  for axes, title in ((left, "ROC"), (right, "DET")):
    _dress(axes, title, "false-accept rate (FAR)")
  left.set_xscale("log")
  left.set_ylabel("true-accept rate (TAR)")
  left.set_ylim(0, 1.02)
  left.set_xlim(least / 1.5, 1)
  _det_axes(right, float(least))
  chance = np.geomspace(least, 1, 100)
  left.plot(chance, chance, ":", color="0.6", linewidth=1, label="chance")
  for name, curve in curves.items():
    style: dict[str, Any] = {"color": COLORS[name], "linewidth": 1.8}
    label = f"{SPACES[name]}, AUC {curve.auc:.3f}"
    # A step: between two cuts no other rate can be had.
    left.step(curve.far, curve.tar, where="post", label=label, **style)
    rates = curve.tar_at[np.isfinite(curve.tar_at).all(axis=1)]
    left.plot(*rates.T, "o", color=COLORS[name], markersize=4.5)
    inside = (curve.far > 0) & (curve.tar < 1)
    label = f"{SPACES[name]}, EER {curve.eer:.1%}"
    right.plot(curve.far[inside], 1 - curve.tar[inside], label=label, **style)
    right.plot(curve.eer, curve.eer, "s", color=COLORS[name], markersize=5)
  if "trained" in curves:
    for rate, tar in curves["trained"].tar_at:
      if np.isfinite(tar) and rate >= least:
        # To the right of a dot at the left edge, where there is room.
        edge = rate < 4 * least
        left.annotate(
          f"{tar:.3f}", (rate, tar),
          # Below the rising curve, but not among the ticks.
          xytext=(4, -11) if edge and tar > 0.1 else (4 if edge else -4, 4),
          textcoords="offset points", ha="left" if edge else "right",
          fontsize=8, color=COLORS["trained"],
        )  # fmt: skip
  left.legend(loc="best", frameon=False, fontsize=9)
  right.legend(loc="best", frameon=False, fontsize=9)
  _source(figure, curves)
  return figure


def draw_distances(curves: dict[str, Curves]) -> Figure:
  """Histograms of the distances of same and of different pairs.

  Each kind sums to 1, since there are far more different pairs; the threshold
  is the one with the best accuracy on as many of both.
  """
  count = len(curves)
  figure = Figure(
    figsize=(1.2 + 3.9 * count, 3.8), dpi=DPI, layout="constrained"
  )
  for number, (name, curve) in enumerate(curves.items(), start=1):
    axes = figure.add_subplot(1, count, number)
    _dress(axes, SPACES[name], f"distance ({curve.distance.replace('_', ' ')})")
    for kind, counts, color in (
      ("same", curve.same, _SAME),
      ("different", curve.different, _DIFFERENT),
    ):
      total = int(counts.sum())
      axes.stairs(
        counts / max(total, 1), curve.edges, fill=True, alpha=0.45,
        color=color, label=f"{kind}, {total:,} pairs",
      )  # fmt: skip
    if np.isfinite(curve.threshold):
      axes.axvline(
        curve.threshold, color="0.15", linestyle="--", linewidth=1.2, ymax=0.7,
        label=f"threshold {curve.threshold:.3g}",
      )  # fmt: skip
    axes.set_ylim(bottom=0)
    # Room for the legend above the bars.
    axes.set_ylim(top=1.45 * axes.get_ylim()[1])
    axes.legend(loc="upper left", frameon=False, fontsize=8.5)
    if number == 1:
      axes.set_ylabel("share of the pairs of a kind")
  _source(figure, curves)
  return figure


def draw_recall(curves: dict[str, Curves]) -> Figure:
  """recall@k over k of all representations."""
  figure = Figure(figsize=(6.4, 4.2), dpi=DPI, layout="constrained")
  axes = figure.add_subplot()
  _dress(axes, "A match among the k nearest", "k (nearest images)")
  axes.set_xscale("log", base=2)
  axes.set_ylabel("recall@k (share of the queries)")
  lowest = 1.0
  ks: set[float] = set()
  for name, curve in curves.items():
    rows = curve.recall_at[np.isfinite(curve.recall_at).all(axis=1)]
    if not len(rows):
      continue
    first = f"{SPACES[name]}, recall@{rows[0, 0]:g} {rows[0, 1]:.3f}"
    axes.plot(*rows.T, "o-", color=COLORS[name], markersize=4, label=first)
    lowest, ks = min(lowest, rows[:, 1].min()), ks | set(rows[:, 0])
  if ks:
    axes.set_xticks(sorted(ks), [f"{k:g}" for k in sorted(ks)])
    axes.legend(loc="lower right", frameon=False, fontsize=9)
  axes.xaxis.set_minor_locator(NullLocator())
  # A curve near 1 would be a line at the top of a full axis.
  axes.set_ylim(np.floor(10 * max(lowest - 0.02, 0)) / 10, 1.01)
  return figure


def _dress(axes: Axes, title: str, xlabel: str) -> None:
  axes.set_title(title, fontsize=12)
  axes.set_xlabel(xlabel)
  axes.grid(color="0.92")
  axes.set_axisbelow(True)
  axes.spines[["top", "right"]].set_visible(False)


def _det_axes(axes: Axes, least: float) -> None:
  def forward(rate: np.ndarray) -> np.ndarray:
    return scipy.stats.norm.ppf(np.clip(rate, 1e-12, 1 - 1e-12))

  limits = (max(least, 1e-5), 0.9)
  ticks = [tick for tick in _DET_TICKS if limits[0] <= tick <= limits[1]]
  axes.set_xscale("function", functions=(forward, scipy.stats.norm.cdf))
  axes.set_yscale("function", functions=(forward, scipy.stats.norm.cdf))
  axes.set_xlim(*limits)
  axes.set_ylim(*limits)
  axes.set_xticks(ticks)
  axes.set_yticks(ticks)
  percent = FuncFormatter(lambda rate, _: f"{100 * rate:g} %")
  axes.xaxis.set_major_formatter(percent)
  axes.yaxis.set_major_formatter(percent)
  axes.set_ylabel("false-reject rate (1 - TAR)")


def _source(figure: Figure, curves: dict[str, Curves]) -> None:
  """Says so where the curves are of a part of the set."""
  drawn, whole = next(iter(curves.values())).images
  if drawn < whole:
    figure.supxlabel(
      f"curves: pairs of {drawn:,} images drawn from {whole:,}; "
      "dots and numbers: all",
      fontsize=9, color="0.35",
    )  # fmt: skip
