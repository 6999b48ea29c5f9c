"""Arms against the baseline, and what they cost."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from tripletjax.report.page import svg
from tripletjax.report.page.heat import arm_axes, split_axes
from tripletjax.report.page.html import (
  Entry,
  Row,
  arm_word,
  axes_data,
  esc,
  num,
  paragraph,
  table,
  word,
)
from tripletjax.report.sweep_files import DONE, Sweep
from tripletjax.report.sweep_numbers import Found, arms, number, p_value, signed
from tripletjax.statistics import LEVEL, Interval, Paired

_STRIP = 220  # width of the plot in the table
_TALL = 26


def results_table(
  sweep: Sweep, found: Found, others: Mapping[str, Found]
) -> str:
  """Every arm: its mean by the metric, other metrics, cost, runs."""
  costs = arm_seconds(sweep)
  head = ["arm", *sweep.axes, found.metric, *others, "s of steps"]
  head += ["done", "not done"]
  rows = []
  axes = arm_axes(sweep)
  for arm, mean in found.means.items():
    cells = sweep.arms[arm]
    done = sum(cell.state == DONE for cell in cells)
    seconds = costs.get(arm, math.nan)
    values = [mean, *(other.means[arm] for other in others.values())]
    rows.append(
      Row(
        [
          arm_word(arm, _marks(sweep, found, arm)),
          *(word(axes[arm][name]) for name in sweep.axes),
          *(num(v.mean, _plain(v)) for v in values),
          num(seconds, number(seconds)),
          num(done, str(done)),
          num(len(cells) - done, _states(cells)),
        ],
        axes[arm],
        "base" if arm == sweep.baseline else "",
      )
    )
  return table("arms", head, rows)


def differences(sweep: Sweep, found: Found, name: str = "paired") -> str:
  """A strip for each arm: replicates' mean and interval, 0 the baseline."""
  if not found.paired:
    return ""
  ends = [0.0]
  for paired in found.paired.values():
    value = paired.difference
    half = 0.0 if math.isnan(value.half) else value.half
    ends += [value.mean - half, value.mean + half, *paired.differences]
  frame = svg.Frame(
    svg.padded(ends), (0.0, 1.0), _STRIP, _TALL,
    left=6, right=6, top=0, bottom=0,
  )  # fmt: skip
  head = ["arm", f"{found.metric}: difference to the baseline", "mean", "±"]
  head += ["p (t, Holm)", "p (sign flips, Holm)", "d_z", "g_z", "pairs"]
  head += ["excluded", "more seeds", "… after Holm"]
  axes = arm_axes(sweep)
  rows = [
    Row(_entries(sweep, found, arm, paired, frame), axes.get(arm, {}))
    for arm, paired in found.paired.items()
  ]
  most = max(p.difference.n for p in found.paired.values())
  said = (
    f"Arm minus baseline ({sweep.baseline}), taken run by run over what both "
    f"have ({', '.join(sweep.replicates) or 'nothing'}): a tick each. Bars: "
    "95 % interval (Student's t), not corrected; filled dots: p at most .05 "
    f"after Holm over {arms(found)}. d_z: mean / standard "
    "deviation of the differences; g_z: with Hedges' correction. More seeds: "
    "missing until the 95 % interval excludes 0 with power .8, if difference "
    "and spread stay."
  )
  limit = ""
  if 0 < most < 6:
    limit = (
      f"With {most} replicates the sign-flip test can't give less than "
      f"p = {2 / 2**most:.3g}, before Holm."
    )
  return paragraph(said) + table(name, head, rows) + paragraph(limit)


def cost_plot(sweep: Sweep, found: Found) -> str:
  """Seconds a run against the metric; what nothing beats is named."""
  costs = arm_seconds(sweep)
  points = {
    arm: (costs[arm], mean)
    for arm, mean in found.means.items()
    if arm in costs and math.isfinite(mean.mean) and costs[arm] > 0
  }
  if not points:
    return ""
  seconds = [x for x, _ in points.values()]
  wide = max(seconds) / min(seconds) > 4
  x = (min(seconds) / 1.1, max(seconds) * 1.1)
  x = x if wide else svg.padded(seconds, 0.1)
  heights = [
    m.mean + s * (0.0 if math.isnan(m.half) else m.half)
    for _, m in points.values()
    for s in (-1, 1)
  ]
  frame = svg.Frame(x, svg.padded(heights), 400, 250, wide)
  colored = split_axes(sweep)[0]
  labels = list(sweep.labels.get(colored, ()))
  labels = labels if len(labels) <= svg.COLORS else []
  best = unbeaten(
    {arm: (cost, mean.mean) for arm, (cost, mean) in points.items()},
    less_is_better=found.less_is_better,
  )
  axes = arm_axes(sweep)
  parts = [svg.axes(frame, "s of steps", found.metric)]
  for arm, (cost, mean) in points.items():
    label = axes[arm].get(colored, "")
    kind = svg.color(labels.index(label) if label in labels else 0)
    parts.append(
      f"<g{axes_data(axes[arm])}>{_point(frame, cost, mean, kind, arm)}</g>"
    )
  key = "".join(
    f'<li><span class="swatch {svg.color(i)}"></span>{esc(label)}</li>'
    for i, label in enumerate(labels)
  )
  listed = "".join(
    f"<li>{esc(arm)}: {esc(number(points[arm][1].mean))} in "
    f"{esc(number(points[arm][0]))} s</li>"
    for arm in best
  )
  plot = svg.figure(frame, parts, f"seconds a run against {found.metric}")
  return (
    paragraph(
      "Seconds of a run's steps on the sweep's machine, without compiling and "
      "evaluating, and the metric: means, with its 95 % interval."
    )
    + (f'<ul class="key"><li>{esc(colored)}:</li>{key}</ul>\n' if key else "")
    + f'<figure class="wide">{plot}</figure>\n'
    + paragraph("No arm is both cheaper and better than these:")
    + f"<ul>{listed}</ul>\n"
  )


def unbeaten(
  points: Mapping[str, tuple[float, float]], *, less_is_better: bool
) -> list[str]:
  """Arms that no other is both cheaper and better than, cheapest first."""
  sign = -1 if less_is_better else 1
  best: list[str] = []
  highest = -math.inf
  for arm in sorted(points, key=lambda a: (points[a][0], -sign * points[a][1])):
    if sign * points[arm][1] > highest:
      best.append(arm)
      highest = sign * points[arm][1]
  return best


def arm_seconds(sweep: Sweep) -> dict[str, float]:
  """Arm -> mean seconds of the steps of its finished cells."""
  found = {}
  for arm, cells in sweep.arms.items():
    seconds = [c.cost["training"] for c in cells if "training" in c.cost]
    finite = [value for value in seconds if math.isfinite(value)]
    if finite:
      found[arm] = float(np.mean(finite))
  return found


def _entries(
  sweep: Sweep, found: Found, arm: str, paired: Paired, frame: svg.Frame
) -> list[Entry]:
  value = paired.difference
  strip = _strip(frame, paired) if value.n else ""
  exact = "" if paired.exact or not paired.flips else " (random)"
  return [
    arm_word(arm, _marks(sweep, found, arm)),
    Entry(strip, value.mean if value.n else None, "strip"),
    num(value.mean, signed(value.mean)),
    num(value.half, number(value.half)),
    num(paired.t_holm, p_value(paired.t_holm).removeprefix("= ")),
    num(paired.flip_holm, p_value(paired.flip_holm).removeprefix("= ") + exact),
    num(paired.d_z, number(paired.d_z)),
    num(paired.g_z, number(paired.g_z)),
    num(value.n, str(value.n)),
    num(value.excluded, str(value.excluded)),
    *(_more(more, value) for more in (paired.more, paired.more_holm)),
  ]


def _more(more: int | None, value: Interval) -> Entry:
  if more is not None:
    return num(more, "settled" if more == 0 else str(more))
  unknown = value.n < 2 or value.sd == 0 or value.mean == 0
  return num(math.nan, "unknown" if unknown else "not within 1000")


def _strip(frame: svg.Frame, paired: Paired) -> str:
  value = paired.difference
  zero, _ = frame.place(0, 0)
  y = _TALL / 2
  parts = [f'<path class="mark zero" d="M{zero:.1f} 0V{_TALL}"/>']
  for own in filter(math.isfinite, paired.differences):
    x, _ = frame.place(own, 0)
    parts.append(f'<path class="one" d="M{x:.1f} {y - 8}v16"/>')
  if math.isfinite(value.half):
    left, _ = frame.place(value.mean - value.half, 0)
    right, _ = frame.place(value.mean + value.half, 0)
    parts.append(f'<path class="whisker" d="M{left:.1f} {y}H{right:.1f}"/>')
  x, _ = frame.place(value.mean, 0)
  kind = "dot sure" if paired.t_holm <= LEVEL else "dot"
  parts.append(f'<circle class="{kind}" cx="{x:.1f}" cy="{y}" r="4.5"/>')
  return svg.figure(frame, parts, f"difference {value.mean:.3g}")


def _point(
  frame: svg.Frame, cost: float, mean: Interval, kind: str, arm: str
) -> str:
  x, y = frame.place(cost, mean.mean)
  whisker = ""
  if math.isfinite(mean.half):
    _, low = frame.place(cost, mean.mean - mean.half)
    _, high = frame.place(cost, mean.mean + mean.half)
    whisker = f'<path class="line {kind}" d="M{x:.1f} {low:.1f}V{high:.1f}"/>'
  return (
    f'{whisker}<circle class="fill {kind}" cx="{x:.1f}" cy="{y:.1f}" r="4.5">'
    f"<title>{esc(arm)}</title></circle>"
  )


def _marks(sweep: Sweep, found: Found, arm: str) -> str:
  marks = []
  if arm == found.best:
    marks.append("best")
  if arm == sweep.baseline:
    marks.append("baseline")
  return "".join(f' <span class="mark">{mark}</span>' for mark in marks)


def _states(cells: list) -> str:
  states = [cell.state for cell in cells if cell.state != DONE]
  if not states:
    return "0"
  return ", ".join(
    f"{states.count(state)} {state}" for state in dict.fromkeys(states)
  )


def _plain(value: Interval) -> str:
  half = "" if math.isnan(value.half) else f" ± {number(value.half)}"
  return f"{number(value.mean)}{half}"
