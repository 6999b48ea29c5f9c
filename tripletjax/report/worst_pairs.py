"""The worst mistakes of a verification, as pairs of pictures."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.figure import Figure

from tripletjax.report.canvas import (
  GREEN,
  RED,
  blank,
  figure_of,
  paste_tile,
  short,
)
from tripletjax.report.evaluation_files import WorstPairs

COLUMNS = 6
TILE = 80
LEFT = 24
TOP = 64
HEADING = 44
_PAIR = 2 * TILE + 4
_PITCH = _PAIR + 26
_ROW = TILE + 52


def draw_worst_pairs(data: WorstPairs) -> Figure:
  """Different pairs at the smallest distances, same pairs at the largest.

  A red frame: on the wrong side of the threshold. Green: on the right one, as
  where there are fewer mistakes than places.
  """
  kinds = [
    ("Worst false accepts: different identities, nearest", data.accepts, 1),
    ("Worst false rejects: one identity, farthest apart", data.rejects, -1),
  ]
  rows = sum(max(1, -(-len(part.distances) // COLUMNS)) for _, part, _ in kinds)
  width = 2 * LEFT + COLUMNS * _PITCH - (_PITCH - _PAIR)
  raster = blank(TOP + 2 * HEADING + rows * _ROW, width)
  texts: list[tuple[float, float, str, dict[str, Any]]] = []
  top = TOP
  for heading, part, sign in kinds:
    texts.append((LEFT, top + 24, heading, {"weight": "bold", "fontsize": 12}))
    top += HEADING
    if not len(part.distances):
      texts.append((LEFT, top + 20, "none", {"fontsize": 11}))
    for number, distance in enumerate(part.distances):
      y = top + number // COLUMNS * _ROW
      x = LEFT + number % COLUMNS * _PITCH
      wrong = sign * (data.threshold - distance) >= 0
      frame = RED if wrong or np.isnan(data.threshold) else GREEN
      for side, images in enumerate((part.first, part.second)):
        paste_tile(
          raster, images[number], y, x + side * (TILE + 4), size=TILE,
          frame=frame,
        )  # fmt: skip
      first, second = part.first_labels[number], part.second_labels[number]
      names = short(str(first), 13)
      if first != second:
        names += f" / {short(str(second), 13)}"
      style: dict[str, Any] = {"ha": "center", "fontsize": 8.5}
      middle = x + _PAIR / 2
      texts.append((middle, y + TILE + 10, names, style))
      texts.append((middle, y + TILE + 26, f"{distance:.3f}", style))
    top += max(1, -(-len(part.distances) // COLUMNS)) * _ROW
  figure, axes = figure_of(raster)
  for at, height, text, style in texts:
    axes.text(at, height, text, va="center", parse_math=False, **style)
  said = "distance below each pair, one pair for each two identities"
  if np.isfinite(data.threshold):
    said += (
      f"; accepted up to the threshold of {data.threshold:.3f}: red is wrong, "
      "green right"
    )
  axes.text(
    width / 2, 24, "The worst mistakes of the trained network",
    ha="center", va="center", fontsize=15,
  )  # fmt: skip
  axes.text(
    width / 2, 47, said,
    ha="center", va="center", fontsize=10, color="0.35",
  )  # fmt: skip
  return figure
