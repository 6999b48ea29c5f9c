"""What the page asks, answered; knows nothing of HTTP."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from tripletjax.errors import UserError, printable
from tripletjax.explore.map import (
  TILE,
  Map,
  draw_map,
  encode_png,
  palette,
  thumbnail,
)
from tripletjax.explore.pair_counts import (
  PairCounts,
  count_pairs,
  histograms,
  rates,
)
from tripletjax.explore.space import Space
from tripletjax.inference.embedder import Embedder

UPLOAD = 16 * 2**20  # bytes of an image that is dropped, at most
SHOWN = 160  # pixels of a picture's side
NEIGHBOURS = 12


class QuestionError(ValueError):
  """A question that can't be answered, in one line."""


class Threshold(NamedTuple):
  """Up to which distance two images are the same, and who says so."""

  value: float
  said: str


class Explorer(NamedTuple):
  """A set, and all that is known of it.

  Attributes:
    embedder: the run.
    space: the set.
    map: where it lies.
    pairs: distances of its pairs.
    threshold: where the page begins.
    embed: uint8 `[1, H, W, C]` to `[1, D]`, of one at a time.
  """

  embedder: Embedder
  space: Space
  map: Map
  pairs: PairCounts
  threshold: Threshold
  embed: Callable[[np.ndarray], np.ndarray]


def make_explorer(
  embedder: Embedder, space: Space, threshold: Threshold | None
) -> Explorer:
  """Places the set on a map, and counts its pairs.

  Args:
    embedder: the run.
    space: the set.
    threshold: where the page begins; a quantile of the set's own distances
      when None.
  """
  seed = int(embedder.config.seed)
  pairs = count_pairs(
    space.embeddings, space.labels, embedder.distance, seed=seed
  )
  forward, lock = jax.jit(embedder.forward()), threading.Lock()

  def embed(images: np.ndarray) -> np.ndarray:
    with lock:  # one image in memory at a time
      return np.asarray(forward(images))

  return Explorer(
    embedder=embedder,
    space=space,
    map=draw_map(space.embeddings, space.images, space.labels, seed=seed),
    pairs=pairs,
    threshold=threshold or _own_threshold(embedder, space, pairs),
    embed=embed,
  )


def _own_threshold(
  embedder: Embedder, space: Space, pairs: PairCounts
) -> Threshold:
  """One of the set's own, where the run has none."""
  different = pairs.different
  if len(different):
    # The largest that accepts at most a hundredth of them.
    below = np.nextafter(different[len(different) // 100], np.float32(-np.inf))
    return Threshold(
      float(below), "of this set itself, at a false-accept rate of 0.01"
    )
  some = space.embeddings[:500]
  found = embedder.distances(some, some)[np.triu_indices(len(some), 1)]
  value = float(np.quantile(found, 0.05)) if len(found) else 1.0
  return Threshold(value, "a guess: the nearest 5 % of this set's pairs")


def overview(explorer: Explorer) -> dict[str, Any]:
  """All that the page is drawn from, but for pictures."""
  embedder, space, placed = explorer.embedder, explorer.space, explorer.map
  pairs = explorer.pairs
  labels = space.labels[placed.chosen]
  return {
    "run": printable(embedder.workdir.absolute().name),
    "step": int(embedder.step),
    "set": printable(space.name),
    "images": len(space),
    "identities": len(np.unique(space.labels[space.labels >= 0])),
    "distance": embedder.distance,
    "map": {
      "index": placed.chosen.tolist(),
      "x": np.round(placed.points[:, 0], 4).tolist(),
      "y": np.round(placed.points[:, 1], 4).tolist(),
      "label": labels.tolist(),
      "name": [printable(space.names[i]) for i in placed.chosen],
      "glyph": placed.glyph,
      "ink": placed.ink,
      "columns": placed.columns,
      "tile": TILE,
    },
    "labels": [printable(name) for name in space.label_names],
    "colors": palette(),
    "threshold": explorer.threshold._asdict(),
    "pairs": {
      "images": pairs.images,
      "known": pairs.known,
      "same": len(pairs.same),
      "different": len(pairs.different),
      **histograms(pairs),
    },
    "upload": UPLOAD,
  }


def picture(explorer: Explorer, index: int) -> bytes:
  """An image of the set as a PNG, as the network sees it."""
  _check_index(explorer, index)
  return encode_png(thumbnail(explorer.space.images[index], SHOWN))


def neighbours(
  explorer: Explorer, index: int, count: int = NEIGHBOURS
) -> dict[str, Any]:
  """The images nearest to one of the set, by exact search.

  Returns:
    `image`, and `neighbours` with the `distance` of each and whether it is of
    the `same` identity: None where that is unknown.
  """
  _check_index(explorer, index)
  if not 1 <= count <= 100:
    raise QuestionError(f"count: expected 1 to 100, got {count}")
  space = explorer.space
  found = explorer.embedder.distances(
    space.embeddings[index : index + 1], space.embeddings
  )[0]
  found[index] = np.inf
  count = min(count, len(space) - 1)
  nearest = np.argsort(found, kind="stable")[:count]
  own = int(space.labels[index])
  return {
    "image": _image(space, index),
    "neighbours": [
      {
        **_image(space, int(other)),
        "distance": float(found[other]),
        "same": _same(own, int(space.labels[other])),
      }
      for other in nearest
    ],
  }


def count_rates(explorer: Explorer, threshold: float) -> dict[str, Any]:
  """False accepts and rejects of the set at a threshold."""
  if not math.isfinite(threshold) or abs(threshold) > 1e30:
    raise QuestionError(f"threshold: expected a distance, got {threshold}")
  return {"threshold": threshold, **rates(explorer.pairs, threshold)}


def verify(explorer: Explorer, images: Sequence[int | bytes]) -> dict[str, Any]:
  """The distance of two images: of the set, by index, or files' bytes."""
  found = []
  for image in images:
    if isinstance(image, int):
      _check_index(explorer, image)
      found.append(explorer.space.embeddings[image])
      continue
    try:
      pixels = explorer.embedder.read(image)
    except UserError as error:
      raise QuestionError(str(error)) from None
    found.append(explorer.embed(pixels[None])[0])
  first, second = (x[None] for x in found)
  if not (np.isfinite(first).all() and np.isfinite(second).all()):
    raise QuestionError("the network gives NaN or infinity for this image")
  distance = float(explorer.embedder.distances(first, second)[0, 0])
  return {"distance": distance}


def _image(space: Space, index: int) -> dict[str, Any]:
  label = int(space.labels[index])
  return {
    "index": index,
    "name": printable(space.names[index]),
    "label": printable(space.label_names[label]) if label >= 0 else "",
  }


def _same(own: int, other: int) -> bool | None:
  return None if own < 0 or other < 0 else own == other


def _check_index(explorer: Explorer, index: int) -> None:
  if not 0 <= index < len(explorer.space):
    raise QuestionError(
      f"image: expected 0 to {len(explorer.space) - 1}, got {str(index)[:20]}"
    )
