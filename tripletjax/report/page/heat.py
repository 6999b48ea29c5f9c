"""Heat maps: the mean of each arm, with its interval in the cell."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping

from tripletjax.report.page.html import axes_data, breakable, esc
from tripletjax.report.sweep_files import DONE, Sweep
from tripletjax.report.sweep_numbers import Found, number

_STRONGEST = 0.62  # of the colour, so that the text stays readable on it


def split_axes(sweep: Sweep) -> tuple[str, str, tuple[str, ...]]:
  """The axes of rows and of columns, and the others.

  The two with the most labels, the earlier one where two have as many. "" is
  none.
  """
  many = [axis for axis in sweep.axes if len(sweep.labels.get(axis, ())) > 1]
  chosen = sorted(many, key=lambda axis: -len(sweep.labels[axis]))[:2]
  rows, columns = ([axis for axis in many if axis in chosen] + ["", ""])[:2]
  others = tuple(axis for axis in many if axis not in (rows, columns))
  return rows, columns, others


def arm_axes(sweep: Sweep) -> dict[str, Mapping[str, str]]:
  """Arm -> axis -> label."""
  return {
    arm: {axis: cells[0].values.get(axis, "") for axis in sweep.axes}
    for arm, cells in sweep.arms.items()
  }


def heat_maps(sweep: Sweep, found: Found) -> str:
  """A table for each combination of the axes beyond two."""
  rows, columns, others = split_axes(sweep)
  if not rows:
    return ""
  arms = arm_axes(sweep)
  finite = [m.mean for m in found.means.values() if math.isfinite(m.mean)]
  bounds = (min(finite), max(finite)) if finite else (0.0, 1.0)
  maps = []
  for labels in itertools.product(*(sweep.labels[a] for a in others)):
    fixed = dict(zip(others, labels, strict=True))
    here = {
      (axes.get(rows, ""), axes.get(columns, "")): arm
      for arm, axes in arms.items()
      if all(axes[name] == label for name, label in fixed.items())
    }
    if here:
      maps.append(_map(sweep, found, (rows, columns), fixed, here, bounds))
  return f'<div class="maps">{"".join(maps)}</div>\n'


def _map(
  sweep: Sweep,
  found: Found,
  axes: tuple[str, str],
  fixed: Mapping[str, str],
  arms: Mapping[tuple[str, str], str],
  bounds: tuple[float, float],
) -> str:
  rows, columns = axes
  labels = [
    label
    for label in (sweep.labels[columns] if columns else ("",))
    if any(key[1] == label for key in arms)
  ]
  title = ", ".join(f"{name} {label}" for name, label in fixed.items())
  head = "".join(f'<th scope="col">{esc(label)}</th>' for label in labels)
  corner = f"{esc(rows)} ↓" + (f" {esc(columns)} →" if columns else "")
  body = []
  for label in sweep.labels[rows]:
    entries = [
      _entry(sweep, found, arms.get((label, column), ""), bounds)
      for column in labels
    ]
    body.append(
      f"<tr{axes_data({rows: label, **fixed})}>"
      f'<th scope="row">{breakable(label)}</th>{"".join(entries)}</tr>\n'
    )
  caption = f"<caption>{esc(title)}</caption>" if title else ""
  return (
    '<div class="scroll" tabindex="0" role="region" aria-label="heat map">'
    f'<table class="heat">{caption}<thead><tr><th class="corner">{corner}</th>'
    f"{head}</tr></thead>\n<tbody>{''.join(body)}</tbody></table></div>\n"
  )


def _entry(
  sweep: Sweep, found: Found, arm: str, bounds: tuple[float, float]
) -> str:
  if not arm:
    return '<td class="none"></td>'
  value = found.means[arm]
  cells = sweep.arms[arm]
  lacking = sum(cell.state != DONE for cell in cells)
  notes = [f"{lacking} of {len(cells)} missing"] if lacking else []
  marks = [
    mark
    for mark, holds in (
      ("best", arm == found.best),
      ("base", arm == sweep.baseline),
    )
    if holds
  ]
  if arm == found.best:
    notes.append("best")
  if arm == sweep.baseline:
    notes.append("baseline")
  shade = 0.0
  if math.isfinite(value.mean):
    low, high = bounds
    share = (value.mean - low) / (high - low) if high > low else 0.5
    shade = _STRONGEST * ((1 - share) if found.less_is_better else share)
  half = "" if math.isnan(value.half) else f"± {number(value.half)}"
  return (
    f'<td class="{" ".join(marks)}" style="--a:{shade:.3f}" title="{esc(arm)}">'
    f"<b>{esc(number(value.mean))}</b><span>{esc(half)}</span>"
    f"<i>{esc(' · '.join(notes))}</i></td>"
  )
