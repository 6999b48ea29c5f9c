"""Distances of pairs, and what is drawn of them: curves, histograms, mistakes.

Only what pictures need; the numbers themselves are those of `METRICS`.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import jax
import numpy as np

from tripletjax.distances import DISTANCES
from tripletjax.metrics import roc_curve
from tripletjax.types import DistanceFn

BINS = 80
_BLOCK = 512
_POINTS = 400  # of a drawn curve


class Pairs(NamedTuple):
  """Pairs of a set of images and their distances.

  Attributes:
    first, second: indices into the set, `[P]`.
    is_same: whether they share their identity, `[P]`, bool.
    distances: `[P]`, float32.
  """

  first: np.ndarray
  second: np.ndarray
  is_same: np.ndarray
  distances: np.ndarray


def set_pairs(
  embeddings: np.ndarray,
  labels: np.ndarray,
  distance: str,
  *,
  query: np.ndarray | None = None,
  gallery: np.ndarray | None = None,
) -> Pairs:
  """All unordered pairs of a set, or all of a query with a gallery entry.

  Holds them all: 8 million, 130 MB, of 4,000 images.

  Args:
    embeddings: `[N, D]`.
    labels: `[N]`, integer.
    distance: a name from `DISTANCES`.
    query: indices of the queries, `[Q]`; None with `gallery`.
    gallery: indices of the gallery, `[G]`.
  """
  everything = np.arange(len(labels), dtype=np.int32)
  itself = query is None or gallery is None
  rows, columns = (
    (everything, everything) if query is None or gallery is None
    else (query.astype(np.int32), gallery.astype(np.int32))
  )  # fmt: skip
  first, second, distances = [], [], []
  for start in range(0, len(rows), _BLOCK):
    block = rows[start : start + _BLOCK]
    padded = np.pad(block, (0, _BLOCK - len(block)))
    found = np.asarray(
      _matrix(embeddings[padded], embeddings[columns], DISTANCES[distance])
    )[: len(block)]
    kept = np.ones(found.shape, bool)
    if itself:
      kept = columns[None, :] > block[:, None]
    i, j = np.nonzero(kept)
    first.append(block[i])
    second.append(columns[j])
    distances.append(found[kept])
  one, other = np.concatenate(first), np.concatenate(second)
  return Pairs(
    one, other, labels[one] == labels[other], np.concatenate(distances)
  )


def listed_pairs(
  embeddings: np.ndarray,
  first: np.ndarray,
  second: np.ndarray,
  is_same: np.ndarray,
  distance: str,
) -> Pairs:
  """The pairs of a file, `[P]`, of embeddings `[N, D]`."""
  parts = [np.zeros(0, np.float32)]
  for start in range(0, len(first), _BLOCK):
    stop = min(start + _BLOCK, len(first))
    pad = (0, _BLOCK - (stop - start))
    x = embeddings[np.pad(first[start:stop], pad)]
    y = embeddings[np.pad(second[start:stop], pad)]
    parts.append(np.asarray(_rows(x, y, DISTANCES[distance]))[: stop - start])
  return Pairs(first, second, is_same, np.concatenate(parts))


@functools.partial(jax.jit, static_argnums=2)
def _matrix(x: jax.Array, y: jax.Array, distance_fn: DistanceFn) -> jax.Array:
  return distance_fn(x, y)


@functools.partial(jax.jit, static_argnums=2)
def _rows(x: jax.Array, y: jax.Array, distance_fn: DistanceFn) -> jax.Array:
  pair = jax.vmap(lambda a, b: distance_fn(a[None], b[None])[0, 0])
  return pair(x, y)


def curve_arrays(pairs: Pairs) -> dict[str, np.ndarray]:
  """ROC and histograms of the distances of pairs.

  Returns:
    `far` and `tar` `[M]`, ascending, thinned to what a picture shows;
    `edges` `[BINS + 1]`, `same` and `different` `[BINS]`, counts.
  """
  nothing = np.zeros(0)
  arrays = {"far": nothing, "tar": nothing}
  if pairs.is_same.any() and not pairs.is_same.all():
    far, tar, _ = roc_curve(pairs.distances, pairs.is_same)
    kept = _thin(far, tar)
    arrays = {"far": far[kept], "tar": tar[kept]}
  edges = np.histogram_bin_edges(pairs.distances, BINS)
  for name, kind in (("same", pairs.is_same), ("different", ~pairs.is_same)):
    arrays[name] = np.histogram(pairs.distances[kind], edges)[0]
  return arrays | {"edges": edges}


def _thin(far: np.ndarray, tar: np.ndarray) -> np.ndarray:
  """Points of a curve that are apart on a linear or a logarithmic axis."""
  if len(far) <= 4 * _POINTS:
    return np.arange(len(far))
  even = np.linspace(0, 1, _POINTS)
  powers = np.logspace(-9, 0, _POINTS)
  at = [
    np.searchsorted(far, even),
    np.searchsorted(far, powers),
    np.searchsorted(tar, even),
    np.searchsorted(tar, 1 - powers),
  ]
  last = len(far) - 1
  return np.unique(np.append(np.minimum(np.concatenate(at), last), [0, last]))


def worst_pairs(
  pairs: Pairs, labels: np.ndarray, *, count: int
) -> tuple[np.ndarray, np.ndarray]:
  """The different pairs nearest to each other and the same ones farthest.

  One for each pair of identities, or each identity: an image that is mistaken
  for all of another's is one mistake.

  Args:
    pairs: with their distances.
    labels: of the whole set, `[N]`.
    count: of each kind, at most.

  Returns:
    positions in `pairs`: false accepts `[A]`, false rejects `[R]`, the worst
    first.
  """
  found = []
  for kind, sign in ((~pairs.is_same, 1), (pairs.is_same, -1)):
    at = np.flatnonzero(kind)
    ranked = sign * pairs.distances[at]
    if len(at) > 200 * count:
      nearest = np.argpartition(ranked, 200 * count)[: 200 * count]
      at, ranked = at[nearest], ranked[nearest]
    at = at[np.lexsort((at, ranked))]
    ends = np.stack([labels[pairs.first[at]], labels[pairs.second[at]]])
    _, first = np.unique(np.sort(ends, axis=0), axis=1, return_index=True)
    found.append(at[np.sort(first)[:count]])
  return found[0], found[1]


def nearest_entries(
  embeddings: np.ndarray,
  distance: str,
  *,
  count: int,
  query: np.ndarray,
  gallery: np.ndarray,
  itself: bool,
) -> tuple[np.ndarray, np.ndarray]:
  """Index and distance `[Q, K]` of what is nearest to each query.

  K is `count`, or the size of what is searched. Ties rank by index.

  Args:
    embeddings: `[N, D]`.
    distance: a name from `DISTANCES`.
    count: how many to find.
    query: indices of the queries, `[Q]`.
    gallery: indices of what is searched, `[G]`, ascending.
    itself: whether the queries stand in the gallery: each is left out of its
      own search.
  """
  kept = min(count, len(gallery) - itself)
  index = np.zeros((len(query), kept), np.int32)
  values = np.zeros((len(query), kept), np.float32)
  for start in range(0, len(query), _BLOCK):
    block = query[start : start + _BLOCK]
    padded = np.pad(block, (0, _BLOCK - len(block)))
    found = np.array(
      _matrix(embeddings[padded], embeddings[gallery], DISTANCES[distance])
    )[: len(block)]
    if itself:
      found[gallery[None, :] == block[:, None]] = np.inf
    order = np.argsort(found, axis=1, kind="stable")[:, :kept]
    here = slice(start, start + len(block))
    index[here] = gallery[order]
    values[here] = np.take_along_axis(found, order, axis=1)
  return index, values
