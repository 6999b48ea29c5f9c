"""A map of the embedding space, with each picture at its place."""

from __future__ import annotations

import numpy as np
import scipy
from matplotlib.figure import Figure
from threadpoolctl import threadpool_limits

from tripletjax.report.canvas import (
  blank,
  class_colors,
  figure_of,
  ink_of,
  is_ink,
  paste_ink,
  paste_tile,
)
from tripletjax.report.files import Evaluation

SIDE = 1600
_HEADER = 84
_MARGIN = 16
_CAP = 2000


def draw_embedding(data: Evaluation, *, seed: int = 0) -> Figure:
  """The embeddings in two dimensions by t-SNE (van der Maaten, 2008).

  Args:
    data: the evaluated set; above 2,000 pictures a draw of them is shown.
    seed: of the draw and of t-SNE.

  Returns:
    a figure of 1600 pixels wide.
  """
  count = len(data.labels)
  chosen = np.arange(count)
  if count > _CAP:
    chosen = np.random.default_rng(seed).choice(count, _CAP, replace=False)
    chosen.sort()
  points = project(data.embeddings[chosen], seed=seed)
  glyph = int(np.clip(1.1 * SIDE / np.sqrt(len(chosen)), 30, 72))
  # Half a picture apart: much of a picture is its white rim.
  points = spread(points, gap=0.55 * glyph / SIDE)
  raster = place_glyphs(
    data.images[chosen],
    points,
    class_colors(len(data.label_names))[data.labels[chosen]],
    glyph=glyph,
  )
  figure, axes = figure_of(
    np.concatenate([blank(_HEADER, SIDE), raster], axis=0)
  )
  classes = len(np.unique(data.labels[chosen]))
  axes.text(
    SIDE / 2, 30, "The embedding space, t-SNE to two dimensions",
    ha="center", va="center", fontsize=19,
  )  # fmt: skip
  said = f"{len(chosen):,} pictures"
  if count > _CAP:
    said += f" drawn from {count:,}"
  said += f" of {classes} classes"
  if data.groups is not None:
    said += f" in {len(np.unique(data.groups[chosen]))} groups"
  axes.text(
    SIDE / 2, 62, f"{said}; coloured by class, parted where they overlapped",
    ha="center", va="center", fontsize=13, color="0.35",
  )  # fmt: skip
  return figure


def project(embeddings: np.ndarray, *, seed: int) -> np.ndarray:
  """Embeddings `[N, D]` in the unit square, `[N, 2]`.

  Starts from the first two principal components, so that the large picture is
  the data's and not the seed's.
  """
  count = len(embeddings)
  centred = embeddings.astype(np.float64) - embeddings.mean(axis=0)
  _, _, axes = np.linalg.svd(centred, full_matrices=False)
  # The sign of a singular vector is arbitrary: make its largest entry positive.
  largest = np.argmax(np.abs(axes), axis=1)[:, None]
  axes = axes * np.where(np.take_along_axis(axes, largest, axis=1) < 0, -1, 1)
  start = np.zeros((count, 2))
  components = min(2, len(axes))
  start[:, :components] = centred @ axes[:components].T
  spread = start.std()
  # Noise far below the data parts duplicates; a collapsed embedding is all
  # noise, a shapeless ball, which is what it should look like.
  noise = np.random.default_rng(seed).normal(size=start.shape)
  start = start / (spread if spread > 0 else 1) + 1e-2 * noise
  if count >= 5:
    # Its import takes a second, which a command that draws nothing saves.
    from sklearn.manifold import TSNE

    # One thread: the same picture on every machine, and on a shared machine
    # four times faster than threads that spin while they wait for each other.
    # The rate is above scikit-learn's "auto", which needs twice the steps.
    with threadpool_limits(1):
      start = TSNE(
        init=(1e-4 * start).astype(np.float32),
        perplexity=min(15.0, (count - 1) / 3),
        learning_rate=float(np.clip(count / 5, 20, 400)),
        max_iter=500,
        random_state=seed,
        n_jobs=1,
      ).fit_transform(embeddings)
  low, high = start.min(axis=0), start.max(axis=0)
  extent = np.where(high > low, high - low, 1)
  return np.where(high > low, (start - low) / extent, 0.5)


def spread(points: np.ndarray, *, gap: float) -> np.ndarray:
  """Pushes points `[N, 2]` of the unit square apart until `gap` divides them.

  Each close pair is pushed along the line between it, some fifty times; a
  crowd that still doesn't fit overlaps.
  """
  points = points.copy()
  for _ in range(50):
    pairs = scipy.spatial.KDTree(points).query_pairs(gap, output_type="ndarray")
    if not len(pairs):
      break
    first, second = pairs.T
    apart = points[second] - points[first]
    length = np.sqrt(np.sum(apart**2, axis=1, keepdims=True))
    # Two points at one place part sideways.
    apart = np.where(length > 0, apart, [1.0, 0.0])
    push = (gap - length) * apart / np.where(length > 0, length, 1) / 4
    np.add.at(points, first, -push)
    np.add.at(points, second, push)
    points = np.clip(points, 0, 1)
  return points


def place_glyphs(
  images: np.ndarray,
  points: np.ndarray,
  colors: np.ndarray,
  *,
  glyph: int,
) -> np.ndarray:
  """Paints each picture at its point.

  Args:
    images: `[N, H, W, C]`, uint8, ink high.
    points: centres in the unit square, `[N, 2]`, x to the right and y up.
    colors: `[N, 3]`.
    glyph: side of a picture in pixels.

  Returns:
    a raster `[SIDE, SIDE, 3]`.
  """
  raster = blank(SIDE, SIDE)
  room = SIDE - glyph - 2 * _MARGIN
  left = np.rint(_MARGIN + points[:, 0] * room).astype(int)
  top = np.rint(_MARGIN + (1 - points[:, 1]) * room).astype(int)
  for image, y, x, color in zip(images, top, left, colors, strict=True):
    if is_ink(image):
      # Six levels of ink are smooth enough and halve the PNG.
      paste_ink(raster, np.rint(ink_of(image, glyph) * 6) / 6, y, x, color)
    else:
      frame = (color[0], color[1], color[2])
      paste_tile(raster, image, y, x, size=glyph, frame=frame, border=2)
  return raster
