"""Queries and their nearest neighbours, some right and some wrong."""

from __future__ import annotations

import textwrap
import unicodedata
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tripletjax.report.canvas import (
  GREEN,
  RED,
  blank,
  figure_of,
  paste_tile,
  short,
)
from tripletjax.report.files import Evaluation

SHOWN = 8
ROWS_OF_A_KIND = 4
TILE = 88
_NAME_WIDTH = 212
_QUERY_LEFT = _NAME_WIDTH + 12
FIRST_LEFT = _QUERY_LEFT + TILE + 36
_PITCH = TILE + 14
_ROW = TILE + 46
_WIDTH = FIRST_LEFT + SHOWN * _PITCH + 6
TOP = 60
HEADING = 50
_BLOCK_ROWS = 512


def draw_neighbours(data: Evaluation) -> Figure:
  """Rows of a query and its 8 nearest others.

  First queries whose nearest is of their class, of classes spread evenly over
  the set; then the most confident mistakes: the smallest distances to a
  nearest of another class, one for each pair of classes.
  """
  queries, nearest, distance = with_nearest(data)
  asked = data.labels[queries]
  right, wrong = choose_queries(asked, nearest, distance, data.labels)
  share = 1.0
  if nearest.shape[1]:
    share = float(np.mean(data.labels[nearest[:, 0]] == asked))
  of_whom = "all queries"
  if data.queries is not None:
    of_whom = "the queries that have a match"
  kinds = [
    (f"Nearest is right ({share:.1%} of {of_whom})", right),
    ("Nearest is wrong, the most confident mistakes", wrong),
  ]
  rows = sum(max(1, len(chosen)) for _, chosen in kinds)
  raster = blank(TOP + 2 * HEADING + rows * _ROW, _WIDTH)
  texts: list[tuple[float, float, str, dict[str, Any]]] = []
  style = {"fontsize": 12, "va": "center", "weight": "bold"}
  top = TOP
  for heading, chosen in kinds:
    texts.append((14, top + 28, heading, style))
    top += HEADING
    for row in chosen:
      found = nearest[row], distance[row]
      _draw_row(raster, texts, data, queries[row], *found, top)
      top += _ROW
    if not len(chosen):
      texts.append((14, top + 20, "none", {"fontsize": 11}))
      top += _ROW
  figure, axes = figure_of(raster)
  _draw_texts(axes, texts)
  axes.text(
    _WIDTH / 2, 26, f"The {SHOWN} nearest neighbours of a query",
    ha="center", va="center", fontsize=15,
  )  # fmt: skip
  axes.text(
    _WIDTH / 2, 48,
    "green: same class, red: another class; "
    f"{data.distance.replace('_', ' ')} distance below",
    ha="center", va="center", fontsize=10, color="0.35",
  )  # fmt: skip
  return figure


def nearest_others(
  embeddings: np.ndarray, count: int
) -> tuple[np.ndarray, np.ndarray]:
  """Index and Euclidean distance `[N, K]` of each point's nearest others.

  K is `count`, or N - 1 in a smaller set. Ties rank by index.
  """
  points = embeddings.astype(np.float64)
  squares = np.sum(points * points, axis=1)
  kept = min(count, len(points) - 1)
  index = np.zeros((len(points), kept), np.int64)
  distance = np.zeros((len(points), kept))
  for start in range(0, len(points), _BLOCK_ROWS):
    rows = np.arange(start, min(start + _BLOCK_ROWS, len(points)))
    squared = squares[rows, None] + squares[None] - 2 * points[rows] @ points.T
    squared[rows - start, rows] = np.inf
    index[rows] = np.argsort(squared, axis=1, kind="stable")[:, :kept]
    found = np.take_along_axis(squared, index[rows], axis=1)
    # Rounding may leave a duplicate slightly below zero.
    distance[rows] = np.sqrt(np.maximum(found, 0))
  return index, distance


def with_nearest(
  data: Evaluation,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Queries `[Q]`, what is nearest to them `[Q, K]` and how far, `[Q, K]`.

  As the file has it; else all ask all others by the Euclidean distance.
  """
  if (
    data.queries is None
    or data.nearest is None
    or data.nearest_distances is None
  ):
    return np.arange(len(data.labels)), *nearest_others(data.embeddings, SHOWN)
  return data.queries, data.nearest, data.nearest_distances


def choose_queries(
  labels: np.ndarray,
  nearest: np.ndarray,
  distance: np.ndarray,
  searched_labels: np.ndarray | None = None,
) -> tuple[list[int], list[int]]:
  """Queries to show: (right, wrong), at most `ROWS_OF_A_KIND` of each.

  Args:
    labels: of the queries, `[Q]`.
    nearest: what is nearest to each, `[Q, K]`.
    distance: how far, `[Q, K]`.
    searched_labels: what `nearest` counts, `[N]`; `labels` when None.
  """
  if not nearest.shape[1]:
    return [], []
  searched = labels if searched_labels is None else searched_labels
  taken = searched[nearest[:, 0]]
  is_right = taken == labels
  candidates = np.flatnonzero(is_right)
  _, first = np.unique(labels[candidates], return_index=True)
  spread = candidates[first]
  if len(spread) > ROWS_OF_A_KIND:
    # The middles of equal stretches, not the ends of the alphabet.
    at = (np.arange(ROWS_OF_A_KIND) + 0.5) * len(spread) / ROWS_OF_A_KIND
    spread = spread[at.astype(int)]
  wrong: list[int] = []
  seen = set()
  mistakes = np.flatnonzero(~is_right)
  for query in mistakes[np.argsort(distance[mistakes, 0], kind="stable")]:
    # Two points are often each other's nearest: that is one mistake.
    pair = frozenset((labels[query], taken[query]))
    if pair not in seen and len(wrong) < ROWS_OF_A_KIND:
      seen.add(pair)
      wrong.append(int(query))
  return spread.tolist(), wrong


def describe(label: str) -> str:
  """The character's name for a label such as "U+0561", else "".

  >>> describe("U+0561"), describe("3")
  ('ARMENIAN SMALL LETTER AYB', '')
  """
  if not label.startswith("U+"):
    return ""
  try:
    return unicodedata.name(chr(int(label[2:], 16)), "")
  except (ValueError, OverflowError):
    return ""


def _draw_row(
  raster: np.ndarray,
  texts: list[tuple[float, float, str, dict[str, Any]]],
  data: Evaluation,
  query: int,
  nearest: np.ndarray,
  distance: np.ndarray,
  top: int,
) -> None:
  """One query and its `[K]` into the raster, their texts into a list."""
  label = str(data.label_names[data.labels[query]])
  lines = [short(label, 26), *textwrap.wrap(describe(label), 23)[:3]]
  if data.groups is not None and len(lines) == 1:
    lines.append(short(str(data.groups[query]), 26))
  place = {"va": "center", "ha": "right", "linespacing": 1.35, "fontsize": 9}
  texts.append((_NAME_WIDTH, top + TILE / 2, "\n".join(lines), place))
  paste_tile(raster, data.images[query], top, _QUERY_LEFT, size=TILE)
  for rank, other in enumerate(nearest[:SHOWN]):
    left = FIRST_LEFT + rank * _PITCH
    right = data.labels[other] == data.labels[query]
    color = GREEN if right else RED
    paste_tile(
      raster, data.images[other], top, left, size=TILE, frame=color, border=4
    )
    name = short(str(data.label_names[data.labels[other]]), 12)
    centre = left + TILE / 2
    style = {"ha": "center", "va": "top", "fontsize": 9}
    texts.append((centre, top + TILE + 4, f"{distance[rank]:.3f}", style))
    texts.append(
      (centre, top + TILE + 19, name, style | {"color": color, "fontsize": 8})
    )


def _draw_texts(
  axes: Axes, texts: list[tuple[float, float, str, dict[str, Any]]]
) -> None:
  for x, y, text, style in texts:
    # parse_math: a "$" in a label is a dollar.
    axes.text(x, y, text, parse_math=False, **style)
