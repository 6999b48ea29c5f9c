"""The space itself: how the embeddings lie in it, whoever asks."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import ArrayLike

from tripletjax.distances import normalized, resolve_distance
from tripletjax.metrics.blocks import (
  Rows,
  check_host,
  check_labels,
  distance_tile,
  encode,
  in_order,
  starts,
  tile_edge,
)
from tripletjax.metrics.pairs import ImageSet, count_different, same_pairs
from tripletjax.types import DistanceFn

_SPHERE = normalized("squared_euclidean")
NAMES = (
  "alignment",
  "uniformity",
  "effective_rank",
  "intra_distance",
  "inter_distance",
  "overlap",
  "hubness",
)


def space(
  embeddings: ArrayLike,
  labels: ArrayLike,
  *,
  distance: str | DistanceFn = "squared_euclidean",
  neighbours: int = 10,
) -> dict[str, float]:
  """How an embedding uses its space.

    alignment       mean |x - y|² of same pairs, on the unit sphere (Wang and
                    Isola, 2020)
    uniformity      log of the mean of exp(-2 |x - y|²) over all pairs, on the
                    unit sphere (likewise); 0 where all is one point, the lower
                    the more evenly spread
    effective_rank  exponential of the entropy of the singular values (Roy and
                    Vetterli, 2007): how many dimensions are used
    intra_distance, inter_distance  mean distance of same and different pairs
    overlap         least FAR + FRR of any threshold: 0 where all same pairs are
                    nearer than all different ones, 1 where no threshold helps
    hubness         skewness of how often an image is among the `neighbours`
                    nearest of the others (Radovanović et al., 2010); 0 where
                    all are as often

  Args:
    embeddings: `[N, D]`, floating.
    labels: identities, `[N]`, integer.
    distance: a name from `DISTANCES`, or a symmetric function of `x` and `y`;
      not of alignment, uniformity and the effective rank.
    neighbours: of hubness, at least 1; all others where there are fewer.

  Returns:
    These. nan: `alignment` and `intra_distance` without same pairs,
    `inter_distance` without different ones, `overlap` without either,
    `hubness` where all are equally often a neighbour; everything with a NaN
    embedding.

  Raises:
    TypeError: embeddings not floating, or labels not integer.
    ValueError: a shape doesn't fit, or `neighbours` is below 1.

  >>> points = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
  >>> scores = space(points, np.array([0, 0, 1, 1]))
  >>> scores["alignment"], scores["inter_distance"], scores["overlap"]
  (0.0, 2.0, 0.0)
  """
  array = check_host(embeddings, "embeddings")
  labels = check_labels(labels, len(array), "labels")
  if neighbours < 1:
    raise ValueError(f"expected neighbours of at least 1, got {neighbours}")
  distance_fn = resolve_distance(distance)
  if len(array) < 2 or np.isnan(np.asarray(array, np.float32)).any():
    return dict.fromkeys(NAMES, float("nan"))
  (codes,) = encode(labels)
  order = np.argsort(codes, kind="stable")
  rows = Rows(array, order)
  on_sphere, _ = same_pairs(ImageSet(rows, codes[order], _SPHERE))
  images = ImageSet(rows, codes[order], distance_fn)
  same, _ = same_pairs(images)
  pairs, _, total = count_different(images, same, np.zeros(0, np.int64))
  overlap = inter = np.nan
  if pairs is not None and pairs.different:
    inter = total / pairs.different
    if len(same):
      tar = np.arange(1, len(same) + 1) / len(same)
      # Best just at a same pair, or below them all.
      overlap = min(1.0, float(np.min(pairs.upto / pairs.different - tar)) + 1)
  values = (
    _mean(on_sphere),
    _uniformity(rows),
    _effective_rank(np.asarray(array)),
    _mean(same),
    inter,
    overlap,
    _hubness(array, distance_fn, min(neighbours, len(array) - 1)),
  )
  return dict(zip(NAMES, map(float, values), strict=True))


def _mean(values: np.ndarray) -> float:
  return float(np.mean(values, dtype=np.float64)) if len(values) else np.nan


def _uniformity(rows: Rows) -> float:
  """Over unordered pairs of different images."""
  edge, total, count = tile_edge(rows.size), 0.0, rows.size
  for start, height in starts(count, edge):
    for begin, width in starts(count, edge):
      if begin < start:
        continue
      tile = distance_tile(
        rows, rows, start, begin, edge, edge, distance_fn=_SPHERE
      )
      sums = np.asarray(_potentials(tile, begin == start))[:height]
      total += float(sums.sum(dtype=np.float64))
      del width
  return float(np.log(total / (count * (count - 1) / 2)))


@jax.jit
def _potentials(distances: jax.Array, diagonal: Any) -> jax.Array:
  """Sum of exp(-2 d) of each row; NaN is no pair, nor what is below `i < j`."""
  row = jnp.arange(distances.shape[0], dtype=jnp.int32)[:, None]
  column = jnp.arange(distances.shape[1], dtype=jnp.int32)[None, :]
  pair = ~jnp.isnan(distances) & ((row < column) | ~diagonal)
  return jnp.sum(jnp.where(pair, jnp.exp(-2 * distances), 0), axis=1)


def _effective_rank(embeddings: np.ndarray) -> float:
  points = embeddings.astype(np.float64)
  singular = np.linalg.svd(points, compute_uv=False)
  if not singular[0] > 0:
    return np.nan
  share = singular / singular.sum()
  share = share[share > 0]
  return float(np.exp(-np.sum(share * np.log(share))))


def _hubness(
  embeddings: np.ndarray | jax.Array, distance_fn: DistanceFn, k: int
) -> float:
  rows = in_order(embeddings)
  edge, count = tile_edge(rows.size), rows.size
  often = np.zeros(count, np.int64)
  for start, height in starts(count, edge):
    best = np.full((height, 0), np.inf)
    index = np.zeros((height, 0), np.int64)
    for begin, width in starts(count, edge):
      tile = distance_tile(
        rows, rows, start, begin, edge, edge, distance_fn=distance_fn
      )
      values, column = _smallest(tile, begin - start, k=min(k, edge))
      found = np.asarray(values, np.float64)[:height]
      best = np.concatenate([best, found], axis=1)
      at = begin + np.minimum(np.asarray(column)[:height], width - 1)
      index = np.concatenate([index, at], axis=1)
      # Of equals the lower index, which stands before.
      first = np.argsort(best, axis=1, kind="stable")[:, :k]
      best = np.take_along_axis(best, first, axis=1)
      index = np.take_along_axis(index, first, axis=1)
    if np.isnan(best).any():
      return np.nan
    often += np.bincount(index.ravel(), minlength=count)
  spread = often.std()
  if not spread:
    return np.nan
  return float(np.mean(((often - often.mean()) / spread) ** 3))


@jax.jit
def _others(distances: jax.Array, offset: jax.Array) -> jax.Array:
  row = jnp.arange(distances.shape[0], dtype=jnp.int32)[:, None]
  column = jnp.arange(distances.shape[1], dtype=jnp.int32)[None, :]
  # top_k orders -0 and 0, and would put NaN first.
  plain = jnp.where(distances == 0, 0, distances)
  gone = (row == column + offset) | jnp.isnan(distances)
  return jnp.where(gone, jnp.inf, plain)


def _smallest(
  distances: jax.Array, offset: int, *, k: int
) -> tuple[jax.Array, jax.Array]:
  """The k smallest of each row without itself, and their columns."""
  values, column = lax.top_k(-_others(distances, np.int32(offset)), k)
  return -values, column
