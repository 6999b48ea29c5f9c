"""Cells one by one: results, failures, configs; the test split; versions."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from tripletjax.report.page.differences import differences
from tripletjax.report.page.heat import arm_axes
from tripletjax.report.page.html import (
  Entry,
  Row,
  arm_word,
  details,
  esc,
  link,
  num,
  paragraph,
  pre,
  table,
  word,
)
from tripletjax.report.sweep_collapse import HEAD as COLLAPSE
from tripletjax.report.sweep_files import DONE, Cell, Sweep
from tripletjax.report.sweep_numbers import (
  Found,
  find,
  find_test,
  interval,
  number,
  signed,
)
from tripletjax.statistics import welch

_FILES = ("metrics.jsonl", "summary.json", "config.json")
_LONGEST = 40  # lines of a log's end


def cells_table(sweep: Sweep, metrics: tuple[str, ...]) -> str:
  """Every cell: its state, numbers, cost, and the files of its run."""
  columns = (*sweep.axes, *sweep.replicates)
  head = ["cell", *columns, "state", *metrics, "seconds", "files"]
  rows = []
  for cell in sweep.cells:
    seconds = cell.cost.get("seconds", math.nan)
    values = [cell.numbers.get(name, math.nan) for name in metrics]
    rows.append(
      Row(
        [
          arm_word(cell.name),
          *(word(cell.values.get(column, "")) for column in columns),
          word(cell.state, f"state {cell.state}"),
          *(num(value, number(value)) for value in values),
          num(seconds, number(seconds)),
          Entry(_files(sweep, cell)),
        ],
        {**cell.values, "state": cell.state},
      )
    )
  return table("cells", head, rows)


def collapses(rows: Sequence[tuple[str, ...]]) -> str:
  """Which arms collapsed, and when; nothing where none did."""
  if not rows:
    return ""
  said = (
    "A batch is collapsed where its distances lie on average within 5 % of the "
    "margin of the smallest one. Ranges are over runs."
  )
  entries = [Row([arm_word(row[0]), *map(word, row[1:])], {}) for row in rows]
  return paragraph(said) + table("collapse", COLLAPSE, entries)


def failures(sweep: Sweep) -> str:
  """What didn't end well, with the last lines of each."""
  lost = [c for c in sweep.cells if c.state in ("failed", "diverged")]
  parts = []
  for cell in lost:
    title = f"{cell.name}: {cell.state}"
    reason = paragraph(cell.reason) if cell.reason else ""
    tail = pre(cell.tail[-_LONGEST:]) if cell.tail else ""
    parts.append(details(title, reason + tail, shown=len(lost) <= 3))
  return "".join(parts)


def test_results(sweep: Sweep) -> str:
  """Means and differences on the test split, if it was measured."""
  if not sweep.test:
    return ""
  found = find_test(sweep)
  names = dict.fromkeys(name for row in sweep.test for name in row.numbers)
  shown = [name for name in names if "_low" not in name and "_high" not in name]
  others = {name: find_test(sweep, name) for name in shown}
  rows = [
    Row(
      [arm_word(arm)]
      + [
        num(other.means[arm].mean, interval(other.means[arm]))
        for other in others.values()
      ]
    )
    for arm in found.means
  ]
  said = (
    f"data.eval_split = {sweep.test_split}: measured once, after the arm was "
    "chosen on the evaluation split, so free of the luck of choosing. Mean ± "
    "95 % interval (runs)."
  )
  return (
    paragraph(said)
    + table("test", ["arm", *shown], rows)
    + differences(sweep, found, "test-paired")
  )


def comparison(sweep: Sweep, found: Found, others: list[Sweep]) -> str:
  """The same arms in other sweeps."""
  parts = []
  for index, other in enumerate(others):
    theirs = find(other, sweep.metric)
    only = [arm for arm in theirs.means if arm not in found.means]
    shared = _shared(sweep, other, found, theirs)
    rows = shared + [
      Row(
        [
          arm_word(arm),
          num(math.nan, "-"),
          _mean(theirs, arm),
          num(math.nan, "-"),
        ]
      )
      for arm in only
    ]
    changed = changes(flat(sweep.base), flat(other.base))
    head = ["arm", "this sweep", "the other", "difference"]
    parts.append(
      f"<h3>{esc(other.name)} ({esc(other.folder)})</h3>\n"
      + paragraph(
        f"{len(shared)} arms of the same name. {sweep.metric}, mean ± 95 % "
        "interval (runs). Difference: other minus this, Welch's interval: "
        "runs of two sweeps are not taken as pairs."
      )
      + table(f"compare-{index}", head, rows)
      + details(
        f"Base configs: {len(changed)} fields differ",
        pre(f"{name}: {a} -> {b}" for name, (a, b) in changed.items()),
      )
    )
  return "".join(parts)


def configs(sweep: Sweep) -> str:
  """The base config whole, what each cell changes, and the versions."""
  base = flat(sweep.base)
  names = list(
    dict.fromkeys(
      name
      for cell in sweep.cells
      for name in changes(base, flat(cell.config) or base)
    )
  )
  rows = []
  for cell in sweep.cells:
    own = flat(cell.config) or base
    rows.append(
      Row(
        [arm_word(cell.name)]
        + [word(json.dumps(own.get(name))) for name in names],
        cell.values,
      )
    )
  about = {
    "sweep": sweep.file,
    "metric": sweep.metric
    + (" (less is better)" if sweep.less_is_better else ""),
    "baseline": sweep.baseline,
    "budget": sweep.budget or "train.duration of each cell",
    "test split": sweep.test_split or "none",
    **sweep.versions,
  }
  listed = "".join(
    f"<dt>{esc(name)}</dt><dd>{esc(said)}</dd>" for name, said in about.items()
  )
  dumped = json.dumps(sweep.base, indent=2).splitlines()
  return (
    f"<dl>{listed}</dl>\n"
    + details(
      f"What the cells change: {len(names)} fields",
      table("configs", ["cell", *names], rows),
    )
    + details("The base config", pre(dumped))
  )


def flat(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
  """Dotted field -> value.

  >>> flat({"seed": 0, "loss": {"margin": 0.2}})
  {'seed': 0, 'loss.margin': 0.2}
  """
  found: dict[str, Any] = {}
  for name, value in config.items():
    if isinstance(value, Mapping):
      found |= flat(value, f"{prefix}{name}.")
    else:
      found[f"{prefix}{name}"] = value
  return found


def changes(
  first: Mapping[str, Any], second: Mapping[str, Any]
) -> dict[str, tuple[Any, Any]]:
  """Field -> both values, where they differ."""
  names = dict.fromkeys([*first, *second])
  return {
    name: (first.get(name), second.get(name))
    for name in names
    if first.get(name) != second.get(name)
  }


def _shared(sweep: Sweep, other: Sweep, found: Found, theirs: Found) -> list:
  """A row for each arm of both; other minus this."""
  rows = []
  for arm in found.means:
    if arm not in theirs.means:
      continue
    difference = welch(_values(sweep, found, arm), _values(other, found, arm))
    half = difference.half
    said = signed(difference.mean)
    said += "" if math.isnan(half) else f" ± {number(half)}"
    entries = [arm_word(arm), _mean(found, arm), _mean(theirs, arm)]
    rows.append(
      Row([*entries, num(difference.mean, said)], arm_axes(sweep)[arm])
    )
  return rows


def _values(sweep: Sweep, found: Found, arm: str) -> list[float]:
  return [
    cell.numbers.get(found.metric, math.nan)
    for cell in sweep.arms[arm]
    if cell.state == DONE
  ]


def _mean(found: Found, arm: str) -> Entry:
  value = found.means[arm]
  return num(value.mean, interval(value))


def _files(sweep: Sweep, cell: Cell) -> str:
  base = cell.folder.relative_to(sweep.folder).as_posix()
  names = ["index.html", *_FILES]
  if (cell.folder / "pictures").is_dir():
    pictures = (cell.folder / "pictures").glob("*.png")
    names += sorted(f"pictures/{path.name}" for path in pictures)
  return " ".join(
    link(f"{base}/{name}", _called(name))
    for name in names
    if (cell.folder / name).is_file()
  )


def _called(name: str) -> str:
  """What a link to a file of a run says."""
  if name == "index.html":
    return "page"
  return name.removeprefix("pictures/").partition(".")[0]
