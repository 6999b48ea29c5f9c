"""Draws the pictures of an evaluation."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Callable, Mapping

from matplotlib.figure import Figure

from tripletjax.errors import UserError
from tripletjax.report.canvas import save_figure
from tripletjax.report.confusion import draw_confusion
from tripletjax.report.embedding import draw_embedding
from tripletjax.report.evaluation_files import read_curves, read_worst_pairs
from tripletjax.report.files import read_evaluation
from tripletjax.report.neighbours import draw_neighbours
from tripletjax.report.rates import draw_distances, draw_recall, draw_roc
from tripletjax.report.worst_pairs import draw_worst_pairs

# picture -> (the file it reads, how it is drawn)
PICTURES: Mapping[str, tuple[str, Callable[[pathlib.Path], Figure]]] = {
  "roc.png": ("curves.npz", lambda p: draw_roc(read_curves(p))),
  "distances.png": ("curves.npz", lambda p: draw_distances(read_curves(p))),
  "recall.png": ("curves.npz", lambda p: draw_recall(read_curves(p))),
  "confusion.png": (
    "evaluation.npz",
    lambda p: draw_confusion(read_evaluation(p)),
  ),
  "worst_pairs.png": (
    "worst_pairs.npz",
    lambda p: draw_worst_pairs(read_worst_pairs(p)),
  ),
  "neighbours.png": (
    "evaluation.npz",
    lambda p: draw_neighbours(read_evaluation(p)),
  ),
  "embedding.png": (
    "evaluation.npz",
    lambda p: draw_embedding(read_evaluation(p)),
  ),
}


def draw_evaluation(folder: str | os.PathLike[str]) -> list[pathlib.Path]:
  """Draws into `<folder>/pictures/` what the files of an evaluation allow.

  Args:
    folder: as `evaluate_run` leaves it.

  Returns:
    the pictures drawn, and only those; what an earlier evaluation drew there
    and this one doesn't is removed.

  Raises:
    UserError: there is no such folder, or a file in it is broken.
  """
  folder = pathlib.Path(folder)
  if not folder.is_dir():
    raise UserError(f"expected a folder of an evaluation, got {folder}")
  drawn = []
  for picture, (source, draw) in PICTURES.items():
    path = folder / "pictures" / picture
    path.unlink(missing_ok=True)
    if picture == "recall.png" and not _has_recall(folder / source):
      continue
    if (folder / source).exists():
      drawn.append(save_figure(draw(folder / source), path))
  return drawn


def _has_recall(path: pathlib.Path) -> bool:
  return path.exists() and any(
    len(curve.recall_at) for curve in read_curves(path).values()
  )
