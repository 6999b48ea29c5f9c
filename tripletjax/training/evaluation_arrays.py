"""What an evaluation leaves for the report: arrays, no pictures."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tripletjax.data.pipeline import load_batch
from tripletjax.training.evaluated_set import EvaluatedSet
from tripletjax.training.evaluation_settings import Scores, Settings
from tripletjax.training.pairs import (
  Pairs,
  curve_arrays,
  listed_pairs,
  nearest_entries,
  set_pairs,
  worst_pairs,
)
from tripletjax.training.views import means

# Pictures, and the curves in them, are of at most so many images, and so many
# bytes of them; all numbers are of the whole set.
SHOWN = 4000
_BYTES = 1 << 28
_WORST = 12
_NEAREST = 8


class Space(NamedTuple):
  """One representation of the set.

  Attributes:
    embeddings: `[N, D]`, or `[N, 1 + V, D]` with all views.
    distance: by which it is measured, a name from `DISTANCES`.
  """

  embeddings: np.ndarray
  distance: str

  @property
  def means(self) -> np.ndarray:
    """`[N, D]`."""
    return means(self.embeddings)


def save_arrays(
  output: Path,
  data: EvaluatedSet,
  spaces: Mapping[str, Space],
  scores: Mapping[str, Scores],
  settings: Settings,
) -> None:
  """Writes `embeddings.npz`, and what the pictures are drawn from.

  `evaluation.npz` is the set with its nearest neighbours, `curves.npz` each
  representation's curves, `worst_pairs.npz` the trained network's mistakes.
  Listed pairs have no `evaluation.npz`: what is nearest isn't asked there.
  """
  trained = spaces["trained"]
  names = np.array(data.source.label_names)
  np.savez_compressed(
    output / "embeddings.npz",
    embeddings=trained.means,
    labels=data.labelled.labels,
    label_names=names,
  )
  shown = np.arange(len(data.source))
  if data.pairs is None:
    room = max(_BYTES // int(np.prod(data.source.image_shape)), 2)
    shown = draw_images(
      data.labelled.labels, min(SHOWN, room), seed=settings.seed
    )
  found = {name: _pairs(data, space, shown) for name, space in spaces.items()}
  curves = {"drawn": np.array(len(shown)), "of": np.array(len(data.source))}
  for name, space in spaces.items():
    arrays = curve_arrays(found[name]) | _points(scores[name])
    arrays["distance"] = np.array(space.distance)
    curves |= {f"{name}/{key}": array for key, array in arrays.items()}
  _save(output / "curves.npz", curves)
  _save_worst(output / "worst_pairs.npz", data, found["trained"], scores)
  evaluation = output / "evaluation.npz"
  evaluation.unlink(missing_ok=True)
  if data.pairs is None:
    _save_evaluation(evaluation, data, trained, shown)


def draw_images(labels: np.ndarray, count: int, *, seed: int) -> np.ndarray:
  """At most `count` images of a set, ascending.

  Drawn by identities, up to 20 images of one before any has more: of many small
  identities a draw of single images would have hardly a positive pair.
  """
  if len(labels) <= count:
    return np.arange(len(labels))
  rng = np.random.default_rng(seed)
  order = rng.permutation(len(labels))
  names, codes = np.unique(labels[order], return_inverse=True)
  grouped = np.argsort(codes, kind="stable")
  sizes = np.bincount(codes)
  starts = np.repeat(np.cumsum(sizes) - sizes, sizes)
  number = np.empty(len(labels), np.int64)
  number[grouped] = np.arange(len(labels)) - starts
  rank = rng.permutation(len(names))[codes]
  return np.sort(order[np.lexsort((rank, number // 20))[:count]])


def _pairs(data: EvaluatedSet, space: Space, shown: np.ndarray) -> Pairs:
  """Pairs among the images `shown`, as indices into the whole set."""
  listed, labelled = data.pairs, data.labelled
  if listed is not None:
    return listed_pairs(
      space.means,
      listed.first,
      listed.second,
      listed.is_same,
      space.distance,
    )
  if labelled.query is None or labelled.gallery is None:
    pairs = set_pairs(
      space.means[shown], labelled.labels[shown], space.distance
    )
    return pairs._replace(first=shown[pairs.first], second=shown[pairs.second])
  return set_pairs(
    space.means,
    labelled.labels,
    space.distance,
    query=np.intersect1d(labelled.query, shown),
    gallery=np.intersect1d(labelled.gallery, shown),
  )


def _points(scores: Scores) -> dict[str, np.ndarray]:
  """Single numbers of a picture: threshold, rates, ranks."""

  def table(prefix: str) -> np.ndarray:
    rows = [
      (float(name.removeprefix(prefix)), value)
      for name, value in scores.items()
      if name.startswith(prefix)
      and not name.endswith(("_low", "_high", "_stderr"))
    ]
    return np.array(sorted(rows), np.float64).reshape(-1, 2)

  single = {
    name: np.array(scores.get(name, np.nan), np.float64)
    for name in ("threshold", "auc", "eer")
  }
  return single | {"tar_at": table("tar@far="), "recall_at": table("recall@")}


def _save_worst(
  path: Path,
  data: EvaluatedSet,
  pairs: Pairs,
  scores: Mapping[str, Scores],
) -> None:
  labels = data.labelled.labels
  accepts, rejects = worst_pairs(pairs, labels, count=_WORST)
  names = np.array(data.source.label_names)
  arrays = {"threshold": np.array(scores["trained"].get("threshold", np.nan))}
  for kind, chosen in (("accept", accepts), ("reject", rejects)):
    ends = pairs.first[chosen], pairs.second[chosen]
    for side, index in zip(("first", "second"), ends, strict=True):
      arrays[f"{kind}_{side}"] = _images(data, index)
      arrays[f"{kind}_{side}_labels"] = names[labels[index]]
    arrays[f"{kind}_distances"] = pairs.distances[chosen]
  _save(path, arrays)


def _save_evaluation(
  path: Path, data: EvaluatedSet, space: Space, shown: np.ndarray
) -> None:
  labelled = data.labelled
  labels = labelled.labels[shown]
  query = gallery = np.arange(len(shown))
  itself = labelled.query is None or labelled.gallery is None
  if labelled.query is not None and labelled.gallery is not None:
    query = np.flatnonzero(np.isin(shown, labelled.query))
    gallery = np.flatnonzero(np.isin(shown, labelled.gallery))
  # Who has no match can't be taken for the right one.
  names, counts = np.unique(labels[gallery], return_counts=True)
  query = query[np.isin(labels[query], names[counts > itself])]
  embeddings = space.means[shown]
  nearest, distances = nearest_entries(
    embeddings,
    space.distance,
    count=_NEAREST,
    query=query,
    gallery=gallery,
    itself=itself,
  )
  arrays = {
    "embeddings": embeddings,
    "labels": labels,
    "label_names": np.array(data.source.label_names),
    "images": _images(data, shown),
    "queries": query,
    "nearest": nearest,
    "nearest_distances": distances,
    "distance": np.array(space.distance),
  }
  group_names = getattr(data.source, "group_names", None)
  if labelled.groups is not None and group_names is not None:
    arrays["groups"] = np.array(group_names)[labelled.groups[shown]]
  _save(path, arrays)


def _save(path: Path, arrays: Mapping[str, Any]) -> None:
  np.savez_compressed(path, **arrays)


def _images(data: EvaluatedSet, index: np.ndarray) -> np.ndarray:
  """uint8 `[n, H, W, C]`, none included."""
  if not len(index):
    return np.zeros((0, *data.source.image_shape), np.uint8)
  return load_batch(data.source, index)["image"]
