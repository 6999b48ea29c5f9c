"""Groups of images as a contact sheet: a row for each group."""

from __future__ import annotations

import pathlib
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure

from tripletjax.report.canvas import (
  GRAY,
  RED,
  blank,
  figure_of,
  paste_tile,
  save_figure,
  short,
)

ROWS = 20
COLUMNS = 12
TILE = 64
_LEFT = 150
_PITCH = TILE + 6
_TOP = 48
_ROW = TILE + 24
_WIDTH = _LEFT + COLUMNS * _PITCH + 8


class Group(NamedTuple):
  """Images that were found to belong together.

  Attributes:
    name: of the group.
    size: how many images it has.
    images: those that are shown, uint8 `[H, W, C]` each.
    labels: what is known of them, a line below each; "" where nothing.
    odd: those whose label isn't the group's usual one, bool.
  """

  name: str
  size: int
  images: Sequence[np.ndarray]
  labels: Sequence[str]
  odd: Sequence[bool]


def draw_clusters(
  path: pathlib.Path,
  cluster: np.ndarray,
  labels: Sequence[str],
  read: Callable[[int], np.ndarray],
  *,
  title: str,
  subtitle: str,
) -> pathlib.Path:
  """Draws the largest clusters of a set.

  Of each at most `COLUMNS` images, spread evenly over it; red: another label
  than most of its cluster.

  Args:
    path: of the picture.
    cluster: of each image, from 0, `[N]`; in this order they are drawn.
    labels: of the images, `[N]`; "" where not known.
    read: gives an image, uint8 `[H, W, C]`.
    title: a line above.
    subtitle: a smaller one.

  Returns:
    The path.
  """
  names = np.asarray(labels)
  groups = []
  for number in range(min(int(cluster.max()) + 1, ROWS)):
    members = np.flatnonzero(cluster == number)
    kinds, counts = np.unique(names[members], return_counts=True)
    at = np.linspace(0, len(members) - 1, min(len(members), COLUMNS))
    shown = members[np.rint(at).astype(int)]
    groups.append(
      Group(
        name=f"cluster {number:04}",
        size=len(members),
        images=[read(int(index)) for index in shown],
        labels=names[shown].tolist(),
        odd=(names[shown] != kinds[counts.argmax()]).tolist(),
      )
    )
  return save_figure(
    draw_contact_sheet(groups, title=title, subtitle=subtitle), path
  )


def draw_contact_sheet(
  groups: Sequence[Group], *, title: str, subtitle: str
) -> Figure:
  """Draws the groups in their order.

  A red frame: another label than most of the group, which the subtitle then
  says. Ink is black on white, any other image as it is.
  """
  raster = blank(_TOP + max(len(groups), 1) * _ROW, _WIDTH)
  texts: list[tuple[float, float, str, dict[str, Any]]] = []
  for row, group in enumerate(groups):
    top = _TOP + row * _ROW
    images = "image" if group.size == 1 else "images"
    name = f"{short(group.name, 20)}\n{group.size:,} {images}"
    place: dict[str, Any] = {
      "ha": "right",
      "va": "center",
      "fontsize": 9,
      "linespacing": 1.4,
    }
    texts.append((_LEFT - 14, top + TILE / 2, name, place))
    for column, image in enumerate(group.images):
      left = _LEFT + column * _PITCH
      odd = group.odd[column]
      paste_tile(
        raster, image, top, left, size=TILE, frame=RED if odd else GRAY,
        border=3 if odd else 1,
      )  # fmt: skip
      style: dict[str, Any] = {"ha": "center", "va": "top", "fontsize": 7}
      style["color"] = RED if odd else "0.35"
      label = _ending(group.labels[column], 11)
      texts.append((left + TILE / 2, top + TILE + 3, label, style))
  figure, axes = figure_of(raster)
  for x, y, text, style in texts:
    axes.text(x, y, text, parse_math=False, **style)
  middle: dict[str, Any] = {"ha": "center", "va": "center", "parse_math": False}
  axes.text(_WIDTH / 2, 16, short(title, 110), fontsize=13, **middle)
  if any(any(group.odd) for group in groups):
    subtitle += "; red: another folder than most of the cluster"
  axes.text(
    _WIDTH / 2, 36, short(subtitle, 150), fontsize=9, color="0.35", **middle
  )  # fmt: skip
  return figure


def _ending(text: str, limit: int) -> str:
  """The end of a folder's name, which tells it from others."""
  text = short(text, 10_000)
  return text if len(text) <= limit else "…" + text[1 - limit :]
