"""The nearest entries of a gallery: by FAISS, or by blocks; both exactly."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping

import numpy as np

from tripletjax.distances import pairwise_distance
from tripletjax.errors import UserError
from tripletjax.metrics import nearest

# Queries [Q, D], k -> indices [Q, k] and distances [Q, k], the nearest first.
SearchFn = Callable[[np.ndarray, int], tuple[np.ndarray, np.ndarray]]


def by_blocks(gallery: np.ndarray, distance: str) -> SearchFn:
  """Exact; ties rank by index. Nothing is built or copied."""

  def search(query: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    return nearest(query, gallery, k=k, distance=distance)

  return search


def by_faiss(gallery: np.ndarray, distance: str) -> SearchFn:
  """An `IndexFlat` of FAISS, which copies the gallery; as exact as by blocks.

  It finds what is nearest; the distances are then the run's own, and the order
  is by these, ties by index. Where the one after the k-th is as near but for
  rounding, it can't tell which of them they are: such a query is searched by
  blocks.

  Raises:
    UserError: FAISS isn't installed, or has no such distance.
  """
  if distance not in _METRICS:
    raise UserError(
      f"--search: expected blocks for the distance {distance}: faiss has "
      f"{', '.join(_METRICS)}"
    )
  if importlib.util.find_spec("faiss") is None:
    raise UserError(
      "--search: faiss isn't installed: pip install 'tripletjax[faiss]', or "
      "choose blocks"
    )
  import faiss

  normalized, product = _METRICS[distance]
  rows = np.ascontiguousarray(
    _normalized(gallery) if normalized else gallery, np.float32
  )
  index = (faiss.IndexFlatIP if product else faiss.IndexFlatL2)(rows.shape[1])
  index.add(rows)
  longest = float(np.max(np.einsum("ij,ij->i", rows, rows), initial=0))
  exactly = by_blocks(gallery, distance)

  def search(query: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    asked = np.ascontiguousarray(
      _normalized(query) if normalized else query, np.float32
    )
    scores, found = index.search(asked, min(k + 1, len(gallery)))
    unsure = np.zeros(len(query), bool)
    if found.shape[1] > k:
      lengths = np.einsum("ij,ij->i", asked, asked)
      gap = np.abs(scores[:, k] - scores[:, k - 1])
      unsure = gap <= _ROUNDING * (lengths + longest)
    found = found[:, :k]
    distances = np.stack(
      [
        np.asarray(
          pairwise_distance(one[None], gallery[entries], distance=distance)
        )[0]
        for one, entries in zip(query, found, strict=True)
      ]
    )
    order = np.lexsort((found, distances), axis=1)
    found = np.take_along_axis(found, order, axis=1)
    distances = np.take_along_axis(distances, order, axis=1)
    if unsure.any():
      found[unsure], distances[unsure] = exactly(query[unsure], k)
    return found, distances

  return search


# Of a product, or a squared distance, as a share of the squared lengths.
_ROUNDING = 1e-5
# Distance -> whether FAISS is given normalised embeddings, and whether it is to
# take the product.
_METRICS: Mapping[str, tuple[bool, bool]] = {
  "squared_euclidean": (False, False),
  "euclidean": (False, False),
  "cosine": (True, True),
  "angular": (True, True),
  "dot": (False, True),
}
SEARCHES: Mapping[str, Callable[[np.ndarray, str], SearchFn]] = {
  "blocks": by_blocks,
  "faiss": by_faiss,
}


def make_search(
  gallery: np.ndarray, distance: str, *, search: str = "auto"
) -> SearchFn:
  """A search of a gallery.

  Args:
    gallery: embeddings, float32 `[G, D]`.
    distance: a name from `DISTANCES`.
    search: a name from `SEARCHES`; "auto" is faiss where it is installed and
      has the distance, else blocks.

  Raises:
    UserError: there is no such search, or it can't be used.
  """
  if search == "auto":
    there = importlib.util.find_spec("faiss") is not None
    search = "faiss" if there and distance in _METRICS else "blocks"
  if search not in SEARCHES:
    raise UserError(
      f"--search: expected auto or one of {', '.join(SEARCHES)}, got {search!r}"
    )
  return SEARCHES[search](gallery, distance)


def _normalized(rows: np.ndarray) -> np.ndarray:
  length = np.linalg.norm(rows, axis=1, keepdims=True)
  return rows / np.where(length > 0, length, 1)
