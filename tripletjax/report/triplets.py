"""A sheet of the triplets that a miner chose."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from tripletjax.report.canvas import (
  GRAY,
  GREEN,
  RED,
  blank,
  figure_of,
  paste_tile,
  short,
)
from tripletjax.report.files import MinedTriplets

SHOWN = 24
COLUMNS = 4
TILE = 80
LEFT = 24
TOP = 96
_GAP = 34
_CELL_WIDTH = 3 * (TILE + 4) + _GAP
_CELL_HEIGHT = TILE + 58


def draw_triplets(data: MinedTriplets) -> Figure:
  """Anchor, positive and negative of up to 24 triplets, hardest first.

  Below each its distances and its loss, max(d(A,P) - d(A,N) + margin, 0).
  """
  loss = np.maximum(data.distance_ap - data.distance_an + data.margin, 0)
  order = np.argsort(-loss, kind="stable")[:SHOWN]
  columns = COLUMNS if len(order) else 3
  rows = -(-len(order) // COLUMNS) or 1
  width = 2 * LEFT + columns * _CELL_WIDTH - _GAP - 4
  raster = blank(TOP + rows * _CELL_HEIGHT, width)
  texts = []
  for number, index in enumerate(order):
    top = TOP + number // COLUMNS * _CELL_HEIGHT
    left = LEFT + number % COLUMNS * _CELL_WIDTH
    parts = (
      (data.anchors, GRAY),
      (data.positives, GREEN),
      (data.negatives, RED),
    )
    for part, (images, frame) in enumerate(parts):
      x = left + part * (TILE + 4)
      paste_tile(raster, images[index], top, x, size=TILE, frame=frame)
    names = " against ".join(
      short(str(labels[index]), 16)
      for labels in (data.anchor_labels, data.negative_labels)
    )
    numbers = (
      f"AP {data.distance_ap[index]:.3f}   AN {data.distance_an[index]:.3f}   "
      f"loss {loss[index]:.3f}"
    )
    centre = left + 1.5 * (TILE + 4) - 2
    texts += [
      (centre, top + TILE + 5, names),
      (centre, top + TILE + 21, numbers),
    ]
  figure, axes = figure_of(raster)
  for centre, y, text in texts:
    axes.text(
      centre, y, text, ha="center", va="top", fontsize=8.5, parse_math=False
    )
  middle = width / 2
  axes.text(
    middle, 28, f"Triplets mined by {data.miner}, margin {data.margin:g}",
    ha="center", va="center", fontsize=15, parse_math=False,
  )  # fmt: skip
  said = (
    f"the {len(order)} with the largest loss of {len(loss):,}: "
    "anchor (gray), positive (green), negative (red), "
    "and the distances AP and AN"
  )
  if not len(order):
    said = ""
    axes.text(
      middle, TOP + _CELL_HEIGHT / 2 - 20, "no triplets were selected",
      ha="center", va="center", fontsize=14, color="0.35",
    )  # fmt: skip
  axes.text(
    middle, 56, said, ha="center", va="center", fontsize=10, color="0.35"
  )
  return figure
