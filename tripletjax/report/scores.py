"""The scores of an evaluation as one table."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

SPACES = {
  "raw_pixels": "raw pixels",
  "untrained": "untrained",
  "trained": "trained",
}
_COUNTS = (
  "queries",
  "queries_without_match",
  "same_pairs",
  "different_pairs",
  "known_queries",
  "unknown_queries",
  "clusters",
)
_BOUNDS = ("_low", "_high", "_stderr")
_OF_GROUPS = ("recall@1", "map@r", "one_shot_error")


def scores_table(summary: Mapping[str, Any]) -> str:
  """A row for each score, a column for each representation, as Markdown.

  `a [b, c]` has a 95 % interval, `a ± b` a standard error. Below the table
  stands why a score has none.

  Args:
    summary: as in the evaluation's `summary.json`.
  """
  spaces = [name for name in SPACES if name in summary]
  names: dict[str, None] = {}
  for space in spaces:
    names |= dict.fromkeys(summary[space])
  names = {name: None for name in names if not name.endswith(_BOUNDS)}
  lines = [["", *(SPACES[space] for space in spaces)]]
  lines += [
    [name, *(format_score(summary[space], name) for space in spaces)]
    for name in names
  ]
  said = ["", "[low, high]: 95 % interval; ±: standard error"]
  for name, reason in summary.get("not_measurable", {}).items():
    said.append(f"{name}: {reason}")
  return "\n".join([_aligned(lines), *said])


def groups_table(summary: Mapping[str, Any]) -> str:
  """A row for each group, a column for each score of each representation.

  Args:
    summary: as in the evaluation's `summary.json`.

  Returns:
    Markdown between empty lines; "" where groups weren't measured.
  """
  groups = summary.get("by_group")
  if not groups:
    return ""
  spaces = [name for name in SPACES if name in summary]
  columns = [
    (name, space)
    for name in _OF_GROUPS
    for space in spaces
    if any(name in row[space] for row in groups.values())
  ]
  lines = [
    [
      "group",
      "images",
      "identities",
      *(f"{name}, {SPACES[space]}" for name, space in columns),
    ]
  ]
  lines += [
    [
      group,
      f"{row['images']:,}",
      f"{row['identities']:,}",
      *(format_score(row[space], name) for name, space in columns),
    ]
    for group, row in groups.items()
  ]
  said = [
    f"{group}, {name}: {reason}"
    for group, row in groups.items()
    for name, reason in row["not_measurable"].items()
  ]
  return "\n".join(["", _aligned(lines), *(["", *said] if said else []), ""])


def _aligned(lines: Sequence[Sequence[str]]) -> str:
  widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
  return "\n".join(
    "| "
    + " | ".join(c.ljust(w) for c, w in zip(line, widths, strict=True))
    + " |"
    for line in [lines[0], ["-" * width for width in widths], *lines[1:]]
  )


def format_score(scores: Mapping[str, Any], name: str) -> str:
  """One cell; a dash where it wasn't measured.

  >>> format_score({"auc": 0.5, "auc_stderr": 0.01}, "auc")
  '0.500 ± 0.010'
  >>> format_score({"auc": 0.5, "auc_low": 0.25, "auc_high": 0.75}, "auc")
  '0.500 [0.250, 0.750]'
  >>> format_score({"queries": 2223.0}, "queries"), format_score({}, "auc")
  ('2,223', '-')
  """
  value, low, high, error = (
    math.nan if scores.get(name + end) is None else scores[name + end]
    for end in ("", "_low", "_high", "_stderr")
  )
  if math.isnan(value):
    return "-"
  if name in _COUNTS:
    return f"{value:,.0f}"
  text = f"{value:z.3f}"
  if not math.isnan(error):
    text += f" ± {error:.3f}"
  if not math.isnan(low) and not math.isnan(high):
    text += f" [{low:z.3f}, {high:z.3f}]"
  return text
