"""Draws every picture that a run's files allow."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Callable, Mapping

from matplotlib.figure import Figure

from tripletjax.errors import UserError
from tripletjax.report.canvas import save_figure
from tripletjax.report.curves import draw_curves
from tripletjax.report.embedding import draw_embedding
from tripletjax.report.files import (
  read_evaluation,
  read_series,
  read_triplets,
)
from tripletjax.report.neighbours import draw_neighbours
from tripletjax.report.triplets import draw_triplets

# picture -> (the file it reads, how it is drawn)
PICTURES: Mapping[str, tuple[str, Callable[[pathlib.Path], Figure]]] = {
  "curves.png": ("metrics.jsonl", lambda p: draw_curves(read_series(p))),
  "embedding.png": (
    "evaluation.npz",
    lambda p: draw_embedding(read_evaluation(p)),
  ),
  "neighbours.png": (
    "evaluation.npz",
    lambda p: draw_neighbours(read_evaluation(p)),
  ),
  "triplets.png": ("triplets.npz", lambda p: draw_triplets(read_triplets(p))),
}


def draw_pictures(workdir: str | os.PathLike[str]) -> list[pathlib.Path]:
  """Draws into `<workdir>/pictures/` what the files of a run allow.

  `metrics.jsonl` gives curves.png; `evaluation.npz` gives embedding.png and
  neighbours.png; `triplets.npz` gives triplets.png. A file that isn't there
  skips its pictures.

  Args:
    workdir: the folder of a run.

  Returns:
    the pictures drawn, and only those.

  Raises:
    UserError: `workdir` is no folder, or a file in it is broken.
  """
  workdir = pathlib.Path(workdir)
  if not workdir.is_dir():
    raise UserError(f"workdir: expected a folder of a run, got {workdir}")
  drawn = []
  for picture, (source, draw) in PICTURES.items():
    if (workdir / source).exists():
      figure = draw(workdir / source)
      drawn.append(save_figure(figure, workdir / "pictures" / picture))
  return drawn
