"""What a preparation found, from `findings.json`: as lines, as a picture."""

from __future__ import annotations

import itertools
import json
import pathlib
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from tripletjax.errors import UserError, printable
from tripletjax.report.canvas import DPI, GRAY, INK, RED, save_figure, short

BARS = 40  # most bars of the histogram
_SHOWN = 3  # examples of a kind
_WIDTH, _HEIGHT = 1000, 560  # of the picture, in pixels


def read_findings(path: pathlib.Path) -> dict[str, Any]:
  """Reads `findings.json`.

  Raises:
    UserError: it can't be read, or isn't one.
  """
  try:
    found = json.loads(path.read_text())
    found["images_per_identity"]["counts"], found["duplicates"]["surplus"]
  except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
    raise UserError(f"{path}: expected findings of a preparation") from error
  return found


def findings_lines(found: Mapping[str, Any]) -> list[str]:
  """What there is to know about a prepared set, a line each."""
  spread = found["images_per_identity"]
  groups = f" in {_many(found['groups'], 'group')}" if found["groups"] else ""
  formats = ", ".join(found["formats"])
  small, large = (_size(found["sizes"][key]) for key in ("smallest", "largest"))
  lines = [
    f"{_many(found['images'], 'image')} of "
    f"{_many(found['identities'], 'identity')}{groups}",
    f"images per identity: {_spread(spread)}",
    f"files: {formats}, {small if small == large else f'{small} to {large}'}, "
    f"{_colour(found['channels'])}",
  ]
  if len(found["splits"]) > 1:
    splits = ", ".join(
      f"{split} {_many(held['images'], 'image')} of "
      f"{_many(held['identities'], 'identity')}"
      for split, held in found["splits"].items()
    )
    shared = found["shared_identities"]
    lines.append(f"splits: {splits}; {shared:,} in more than one")
  lone = found["lone"]
  if lone["count"]:
    lines.append(
      f"identities with a single image: {lone['count']:,} "
      f"({_some(lone['examples'], lone['count'])})"
    )
  lines += _duplicates(found["duplicates"])
  bad = found["unreadable"]
  if bad["count"]:
    named = [f"{path}: {reason}" for path, reason in bad["examples"]]
    lines.append(
      f"unreadable, left out: {bad['count']:,} ({_some(named, bad['count'])})"
    )
  if found["passed_over"]:
    named = [
      f"{count:,} {ending or 'without ending'}"
      for ending, count in sorted(found["passed_over"].items())
    ]
    lines.append(f"files that are no images: {_some(named, len(named))}")
  # Lines with names of files in them; two spaces begin some of them.
  return [
    line[: len(line) - len(line.lstrip())] + printable(line) for line in lines
  ]


def draw_findings(path: pathlib.Path) -> pathlib.Path:
  """Draws images per identity, beside `findings.json`, as `findings.png`.

  Identities with a single image are red: they can't be anchors.
  """
  found = read_findings(path)
  spread = found["images_per_identity"]
  counts = {int(count): many for count, many in spread["counts"].items()}
  edges = _edges(min(counts), max(counts))
  heights, _ = np.histogram(
    list(counts), bins=edges - 0.5, weights=list(counts.values())
  )
  figure = Figure(figsize=(_WIDTH / DPI, _HEIGHT / DPI), dpi=DPI)
  axes = figure.add_axes((0.08, 0.36, 0.89, 0.54))
  places = np.arange(len(heights))
  axes.bar(
    places,
    heights,
    width=0.85,
    color=[RED if edge == 1 else INK for edge in edges[:-1]],
  )
  for place, height in zip(places, heights, strict=True):
    if height:
      axes.annotate(
        f"{height:,.0f}",
        (place, height),
        ha="center",
        va="bottom",
        fontsize=7,
      )
  names = [
    f"{low:,}" if high == low + 1 else f"{low:,}-{high - 1:,}"
    for low, high in itertools.pairwise(edges)
  ]
  every = max(-(-len(names) * max(map(len, names)) // 110), 1)
  axes.set_xticks(places[::every], names[::every], fontsize=8)
  axes.set_xlim(-1, max(len(places), 2))
  axes.margins(y=0.12)
  axes.set_xlabel("images of an identity")
  axes.set_ylabel("identities")
  axes.spines[["top", "right"]].set_visible(False)
  axes.spines[["left", "bottom"]].set_color(GRAY)
  lines = findings_lines(found)
  figure.text(
    0.08,
    0.94,
    short(f"{found['name']}: {lines[0]}", 100),
    fontsize=11,
    weight="bold",
    parse_math=False,
  )
  text = [part for line in lines[1:] for part in textwrap.wrap(line, 145)[:2]][
    :9
  ]
  figure.text(
    0.08, 0.24, "\n".join(text), va="top", fontsize=8, parse_math=False
  )
  return save_figure(figure, path.with_suffix(".png"))


def _edges(low: int, high: int) -> np.ndarray:
  """Ascending integers: bars of one count each, or growing by a factor."""
  if high - low < BARS:
    return np.arange(low, high + 2)
  steps = np.geomspace(low, high + 1, BARS + 1)
  edges = np.unique(np.ceil(steps).astype(int))
  edges[0], edges[-1] = low, high + 1
  return edges


def _duplicates(found: Mapping[str, Any]) -> list[str]:
  if not found["pictures"]:
    return ["duplicates: none"]
  lines = [
    f"duplicates: {_many(found['pictures'], 'picture')} more than once, "
    f"{found['surplus']:,} to spare"
  ]
  for kind, said in (
    ("within_identity", "within an identity of one split"),
    ("across_identities", "under two identities or more (a wrong label?)"),
    ("across_splits", "in two splits or more (leakage)"),
  ):
    count = found[kind]["count"]
    if count:
      same = " = ".join(found[kind]["examples"][0][:_SHOWN])
      lines.append(f"  {count:,} {said}, such as {same}")
  return lines


def _some(names: Sequence[str], count: int) -> str:
  more = ", …" if count > _SHOWN else ""
  return ", ".join(names[:_SHOWN]) + more


def _many(count: int, what: str) -> str:
  """Such as 3 images, 1 identity.

  >>> _many(1, "identity"), _many(2000, "identity")
  ('1 identity', '2,000 identities')
  """
  if count != 1:
    what = what.removesuffix("y") + "ies" if what[-1] == "y" else what + "s"
  return f"{count:,} {what}"


def _spread(spread: Mapping[str, Any]) -> str:
  if spread["smallest"] == spread["largest"]:
    return f"{spread['smallest']:,} each"
  return (
    f"{spread['smallest']:,} to {spread['largest']:,}, median "
    f"{spread['median']:,g}"
  )


def _size(size: Sequence[int]) -> str:
  return f"{size[0]} x {size[1]}"


def _colour(channels: Mapping[str, int]) -> str:
  if len(channels) > 1:
    return (
      f"{channels['1']:,} grey and {channels['3']:,} colour: kept as colour"
    )
  return "grey" if "1" in channels else "colour"
