"""Learning curves, shares of the triplets, and gaps, arm by arm."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from tripletjax.report.page import svg
from tripletjax.report.page.heat import arm_axes, split_axes
from tripletjax.report.page.html import (
  axes_data,
  breakable,
  details,
  esc,
  paragraph,
)
from tripletjax.report.sweep_curves import (
  ALL_POINTS,
  POINTS,
  Curve,
  Runs,
  mean_curve,
  read_gaps,
)
from tripletjax.report.sweep_files import Sweep

# Logged number -> what it is called; "eval/..." of the metric comes first.
CURVES = {
  "loss": "training loss",
  "active_share": "active share of the mined triplets",
  "gap": "mean gap d(a,n) − d(a,p) in the batch",  # noqa: RUF001
  "mean_distance": "mean distance in the batch (0: collapsed)",
  "effective_rank": "effective rank of the batch's embeddings",
  "gradient_norm": "gradient norm",
}
_SHOWN = 3  # of them unfolded
SHARES = ("hard_share", "semi_hard_share", "easy_share")
_BINS = 24


class _Panel(NamedTuple):
  """A figure's arms: the title, what is filtered, label -> arm."""

  title: str
  axes: Mapping[str, str]
  arms: Mapping[str, str]


class _Curves(NamedTuple):
  """An arm's curves: the mean of its finished runs, and each other run."""

  mean: Curve | None
  others: list[Curve]


def learning_curves(sweep: Sweep, runs: Mapping[str, Runs]) -> str:
  """Every logged number of CURVES: a figure a row of the heat map."""
  if not runs:
    return ""
  panels, colored = _panels(sweep)
  points = points_of(runs)
  labels = sweep.labels[colored] if colored else ()
  key = "".join(
    f'<li><span class="swatch {svg.color(i)}"></span>{esc(label)}</li>'
    for i, label in enumerate(labels)
  )
  shown = '<ul class="key">' + (f"<li>{esc(colored)}:</li>" if colored else "")
  shown += key
  shown += '<li><span class="swatch base"></span>baseline</li></ul>\n'
  parts = [
    paragraph(
      "Lines: mean over the runs of an arm. Bands: from its lowest run to its "
      "highest. Dotted: single runs that failed, diverged or are at work."
    ),
    shown,
  ]
  names = {f"eval/{sweep.metric}": f"{sweep.metric} on the evaluation split"}
  for number, (name, title) in enumerate((names | CURVES).items()):
    curves = {
      arm: _Curves(
        mean_curve(own.done, name, points),
        [c for r in own.others if (c := mean_curve([r], name, points))],
      )
      for arm, own in runs.items()
    }
    found = {arm: own for arm, own in curves.items() if own.mean or own.others}
    every = (
      curve for own in found.values() for curve in (own.mean, *own.others)
    )
    # An evaluation at the end alone is a point, and in the tables.
    if any(curve is not None and len(curve.steps) > 1 for curve in every):
      inner = _figures(sweep, panels, labels, found, name, title)
      parts.append(details(title, inner, shown=number < _SHOWN))
  return "".join(parts)


def points_of(runs: Mapping[str, Runs]) -> int:
  """Points of a curve, fewer for many arms: the page stays small."""
  return max(12, min(POINTS, ALL_POINTS // max(len(runs), 1)))


def _panels(sweep: Sweep) -> tuple[list[_Panel], str]:
  """A panel for each combination of all axes but the one with the colours."""
  rows, columns, others = split_axes(sweep)
  # A margin, say, is coloured; a single axis is, too, and fills one panel;
  # more labels than colours are not.
  colored = columns or rows
  if len(sweep.labels.get(colored, ())) > svg.COLORS:
    apart, colored = [rows, columns, *others], ""  # a panel each
  else:
    apart = [rows, *others]
  apart = [axis for axis in apart if axis and axis != colored]
  panels = []
  for chosen in itertools.product(*(sweep.labels[axis] for axis in apart)):
    fixed = dict(zip(apart, chosen, strict=True))
    arms = {
      axes.get(colored, ""): arm
      for arm, axes in arm_axes(sweep).items()
      if all(axes[name] == label for name, label in fixed.items())
    }
    if arms:
      title = ", ".join(f"{name} {label}" for name, label in fixed.items())
      panels.append(_Panel(title, fixed, arms))
  return panels, colored


def _figures(
  sweep: Sweep,
  panels: Sequence[_Panel],
  labels: Sequence[str],
  curves: Mapping[str, _Curves],
  name: str,
  title: str,
) -> str:
  frame = _frame(curves)
  base = curves.get(sweep.baseline, _Curves(None, [])).mean
  figures = []
  for number, panel in enumerate(panels):
    here = {label: arm for label, arm in panel.arms.items() if arm in curves}
    if not here:
      continue
    bands, lines = [], []
    if base is not None and sweep.baseline not in here.values():
      lines.append(svg.line(frame, base.steps, base.mean, "base", "baseline"))
    for label, arm in here.items():
      mean, others = curves[arm]
      kind = svg.color(list(labels).index(label) if label in labels else 0)
      group = f"<g{axes_data(arm_axes(sweep)[arm])}>"
      drawn = [
        svg.line(frame, one.steps, one.mean, f"{kind} other", f"{arm}, a run")
        for one in others
      ]
      if mean is not None:
        area = svg.band(frame, mean.steps, mean.low, mean.high, kind)
        bands.append(f"{group}{area}</g>")
        drawn.append(svg.line(frame, mean.steps, mean.mean, kind, arm))
      lines.append(f"{group}{''.join(drawn)}</g>")
    figures.append(
      _figure(
        panel.title,
        panel.axes,
        svg.figure(
          frame,
          [
            svg.axes(frame, "step", ""),
            svg.clipped(frame, f"clip-{name}-{number}", [*bands, *lines]),
          ],
          f"{title}; {panel.title}",
        ),
      )
    )
  return f'<div class="figures">{"".join(figures)}</div>\n'


def _frame(curves: Mapping[str, _Curves]) -> svg.Frame:
  """One frame for all panels, so that they compare."""
  means = [own.mean for own in curves.values() if own.mean is not None]
  others = [curve for own in curves.values() for curve in own.others]
  values = np.concatenate([x for c in means or others for x in c[1:]])
  values = values[np.isfinite(values)]
  # What diverged would flatten all others.
  ends = np.percentile(values, (0.5, 99.5)) if len(values) else np.zeros(2)
  last = float(max(curve.steps[-1] for curve in (*means, *others)))
  return svg.Frame((0.0 if last > 0 else -1.0, last), svg.padded(ends.tolist()))


def triplet_shares(sweep: Sweep, runs: Mapping[str, Runs]) -> str:
  """Of all valid triplets, how many are hard, semi-hard, easy, over time."""
  figures = []
  for arm, own in runs.items():
    used = own.done or own.others
    curves = [mean_curve(used, name, points_of(runs)) for name in SHARES]
    if any(curve is None for curve in curves):
      continue
    steps = curves[0].steps  # type: ignore[union-attr]
    if steps[-1] <= steps[0]:
      continue
    frame = svg.Frame(
      (float(steps[0]), float(steps[-1])), (0.0, 1.0), height=180
    )
    below = np.zeros_like(steps)
    parts = []
    for name, curve in zip(SHARES, curves, strict=True):
      share = curve.mean  # type: ignore[union-attr]
      parts.append(svg.band(frame, steps, below, below + share, name))
      below = below + share
    parts.append(svg.axes(frame, "step", ""))
    said = "shares of hard, semi-hard and easy triplets by step"
    figures.append(
      _figure(arm, arm_axes(sweep)[arm], svg.figure(frame, parts, said))
    )
  if not figures:
    return ""
  said = (
    "A histogram of the gaps d(a,n) − d(a,p) of all valid triplets of a "  # noqa: RUF001
    "batch in three bins, step by step: hard (0 or below), semi-hard (up to "
    "the margin), easy (beyond it)."
  )
  key = "".join(
    f'<li><span class="swatch {name}"></span>'
    f"{name.removesuffix('_share').replace('_', '-')}</li>"
    for name in SHARES
  )
  return (
    paragraph(said)
    + f'<ul class="key">{key}</ul>\n'
    + f'<div class="figures small">{"".join(figures)}</div>\n'
  )


def gap_histograms(sweep: Sweep) -> str:
  """The gaps of the triplets that were mined last, a histogram an arm."""
  found = {arm: read_gaps(cells) for arm, cells in sweep.arms.items()}
  gaps = {arm: own for arm, own in found.items() if own is not None}
  if not gaps:
    return ""
  ends = np.percentile(np.concatenate([g.gaps for g in gaps.values()]), (1, 99))
  margins = [g.margin for g in gaps.values()]
  low, high = svg.padded([*ends.tolist(), 0.0, *margins])
  edges = np.linspace(low, high, _BINS + 1)
  figures = []
  for arm, own in gaps.items():
    counts, _ = np.histogram(own.gaps.clip(low, high), edges)
    shares = counts / len(own.gaps)
    frame = svg.Frame(
      (low, high), (0.0, float(shares.max()) * 1.08), height=170
    )
    parts = [_bar(frame, edges[i : i + 2], s) for i, s in enumerate(shares)]
    parts.append(svg.axes(frame, "gap", ""))
    for place, kind in ((0.0, "zero"), (own.margin, "margin")):
      if math.isfinite(place):
        x, bottom = frame.place(place, 0)
        parts.append(
          f'<path class="mark {kind}" d="M{x:.1f} {bottom:.1f}V{frame.top}"/>'
        )
    said = f"gaps of {len(own.gaps)} mined triplets at the end"
    figures.append(
      _figure(arm, arm_axes(sweep)[arm], svg.figure(frame, parts, said))
    )
  said = (
    "Gaps d(a,n) − d(a,p) of the triplets that the miner chose last, all runs "  # noqa: RUF001
    "of an arm. Lines: 0 and, dashed, the margin; left of it a triplet has a "
    "loss."
  )
  return (
    paragraph(said) + f'<div class="figures small">{"".join(figures)}</div>'
  )


def _bar(frame: svg.Frame, edges: np.ndarray, share: float) -> str:
  left, top = frame.place(float(edges[0]), float(share))
  right, bottom = frame.place(float(edges[1]), 0)
  return (
    f'<path class="bar" d="M{left + 0.5:.1f} {bottom:.1f}V{top:.1f}'
    f'H{right - 0.5:.1f}V{bottom:.1f}z"/>'
  )


def _figure(title: str, axes: Mapping[str, str], inner: str) -> str:
  caption = f"<figcaption>{breakable(title)}</figcaption>" if title else ""
  return f"<figure{axes_data(axes)}>{caption}{inner}</figure>\n"
