"""Which identities the network takes for each other."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure
from matplotlib.offsetbox import AnnotationBbox, OffsetImage

from tripletjax.report.canvas import DPI, short, tile
from tripletjax.report.files import Evaluation
from tripletjax.report.neighbours import with_nearest

SHOWN = 16
_ICON = 34


def draw_confusion(data: Evaluation) -> Figure:
  """Identities of the most frequent mistakes, by nearest neighbour.

  A row is an identity that asks, a column what it was taken for; a cell is the
  share of the row's queries. Chosen pair by pair, the most confused first.
  """
  shares, chosen = confusion(data)
  size = len(chosen)
  side = 2.6 + 0.5 * max(size, 4)
  figure = Figure(figsize=(side + 1.2, side), dpi=DPI, layout="constrained")
  axes = figure.add_subplot()
  if not size:
    axes.set_axis_off()
    axes.text(0.5, 0.5, "no query's nearest is of another identity",
              ha="center", va="center", fontsize=12)  # fmt: skip
    return figure
  image = axes.imshow(shares, vmin=0, vmax=1, cmap="Blues")
  names = [short(str(data.label_names[label]), 14) for label in chosen]
  ticks = np.arange(size)
  axes.set_xticks(ticks, names, rotation=90, fontsize=8, parse_math=False)
  axes.set_yticks(ticks, names, fontsize=8, parse_math=False)
  axes.tick_params(length=0, pad=_ICON * 72 / DPI + 8)
  for i, j in np.argwhere(shares > 0):
    axes.text(
      j, i, f"{100 * shares[i, j]:.0f}", ha="center", va="center", fontsize=7.5,
      color="white" if shares[i, j] > 0.55 else "0.15",
    )  # fmt: skip
  for place, label in enumerate(chosen):
    picture = tile(data.images[np.argmax(data.labels == label)], _ICON)
    # Inches of the figure, not of the screen: 72 points at DPI pixels.
    icon = OffsetImage(picture, zoom=72 / DPI)
    away = -_ICON * 36 / DPI - 6
    for xy, shift in (
      ((-0.5, place), (away, 0)),
      ((place, size - 0.5), (0, away)),
    ):
      box = AnnotationBbox(
        icon, xy, xybox=shift, xycoords="data", boxcoords="offset points",
        frameon=False, pad=0, annotation_clip=False,
      )  # fmt: skip
      axes.add_artist(box)
  axes.set_xticks(ticks[1:] - 0.5, minor=True)
  axes.set_yticks(ticks[1:] - 0.5, minor=True)
  axes.grid(which="minor", color="0.9", linewidth=0.6)
  axes.tick_params(which="minor", length=0)
  axes.spines[:].set_visible(False)
  axes.set_title(
    "The identities most taken for each other\n", fontsize=13, loc="left"
  )
  axes.text(
    0, 1.01, "% of a row's queries whose nearest image is the column's",
    transform=axes.transAxes, fontsize=9, color="0.35", va="bottom",
  )  # fmt: skip
  axes.set_ylabel("identity of the query")
  axes.set_xlabel("identity of its nearest")
  bar = figure.colorbar(image, ax=axes, shrink=0.5, pad=0.02)
  bar.ax.yaxis.set_major_formatter(lambda share, _: f"{100 * share:.0f} %")
  bar.outline.set_visible(False)
  return figure


def confusion(data: Evaluation) -> tuple[np.ndarray, np.ndarray]:
  """Shares `[n, n]` of the n most confused identities, and these `[n]`.

  Row i, column j: the share of the queries of identity i whose nearest is of
  identity j. Pairs of identities are taken by the share of the queries of both
  that the other one takes, until `SHOWN` are there.
  """
  queries, nearest, _ = with_nearest(data)
  if not nearest.shape[1]:
    return np.zeros((0, 0)), np.zeros(0, int)
  asked, taken = data.labels[queries], data.labels[nearest[:, 0]]
  labels, counts = np.unique(asked, return_counts=True)
  size = dict(zip(labels.tolist(), counts.tolist(), strict=True))
  wrong = asked != taken
  pairs, times = np.unique(
    np.sort(np.stack([asked[wrong], taken[wrong]]), axis=0),
    axis=1,
    return_counts=True,
  )
  both = [size.get(a, 0) + size.get(b, 0) for a, b in pairs.T.tolist()]
  order = np.argsort(-times / np.maximum(both, 1), kind="stable")
  chosen: list[int] = []
  for pair in pairs.T[order].tolist():
    new = [label for label in pair if label not in chosen]
    if len(chosen) + len(new) <= SHOWN:
      chosen += new
  shares = np.zeros((len(chosen), len(chosen)))
  for i, label in enumerate(chosen):
    of_row = taken[asked == label]
    if len(of_row):
      shares[i] = [np.mean(of_row == other) for other in chosen]
  return shares, np.array(chosen, int)
