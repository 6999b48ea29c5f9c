"""Ranked retrieval: recall@k, R-precision and MAP@R."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import ArrayLike

from tripletjax.distances import check_embeddings, resolve_distance
from tripletjax.metrics.blocks import check_labels, row_blocks
from tripletjax.types import DistanceFn


def retrieval(
  query: ArrayLike,
  query_labels: ArrayLike,
  gallery: ArrayLike | None = None,
  gallery_labels: ArrayLike | None = None,
  *,
  distance: str | DistanceFn = "squared_euclidean",
  ks: Sequence[int] = (1, 2, 4, 8),
) -> dict[str, float]:
  """How well each query's nearest gallery entries share its label.

  With R the number of the query's matches in the gallery and P(i) the
  precision among its i nearest entries (Musgrave et al., 2020, "A Metric
  Learning Reality Check"):

    recall@k = [a match among the k nearest],  r_precision = P(R),
    map@r = 1/R Σ_{i<=R} P(i) [the i-th nearest is a match],

  each averaged over the queries that have a match. Entries at the same
  distance rank by gallery index, the lower first.

  Args:
    query: embeddings, `[Q, D]`, floating.
    query_labels: identities, `[Q]`, integer.
    gallery: embeddings to search, `[G, D]`; when None, the queries themselves,
      each without itself (by index: a duplicate of it stays).
    gallery_labels: identities, `[G]`; None exactly when `gallery` is.
    distance: a name from `DISTANCES`, or a function of `x` and `y`.
    ks: the k of each recall@k, in 1..gallery size.

  Returns:
    `recall@k` for each k, `r_precision`, `map@r`, `queries` (all of them) and
    `queries_without_match` (left out of the averages). The averages are nan
    when no query has a match, or when a distance of one that has is NaN.

  Raises:
    TypeError: embeddings not floating, labels not integer.
    ValueError: a shape doesn't fit, or a k is not in 1..gallery size.

  >>> points = jnp.array([[0.0], [1.0], [5.0], [7.0]])
  >>> scores = retrieval(points, jnp.array([0, 0, 1, 1]), ks=(1,))
  >>> scores["recall@1"], scores["map@r"], scores["queries_without_match"]
  (1.0, 1.0, 0.0)
  """
  query = check_embeddings(query, "query")
  query_labels = check_labels(query_labels, len(query), "query_labels")
  itself = gallery is None
  if itself != (gallery_labels is None):
    raise ValueError("expected gallery and gallery_labels together, got one")
  if gallery is None or gallery_labels is None:
    gallery, gallery_labels = query, query_labels
  else:
    gallery = check_embeddings(gallery, "gallery")
    gallery_labels = check_labels(
      gallery_labels, len(gallery), "gallery_labels"
    )
  if gallery.shape[1] != query.shape[1]:
    raise ValueError(
      f"expected gallery with {query.shape[1]} dimensions like query, "
      f"got {gallery.shape[1]}"
    )
  _check_ks(ks, len(gallery) - itself)

  query_codes, gallery_codes, matches = _encode(query_labels, gallery_labels)
  matches = matches - itself
  deepest = max([1, *ks, *matches.tolist()])
  # A power of two: other labels on the same shapes rarely compile again.
  depth = min(len(gallery), 1 << (deepest - 1).bit_length())
  found = [np.zeros((0, len(ks) + 2))]
  for rows, real in row_blocks(len(query)):
    scores = _score_block(
      query[rows],
      query_codes[rows],
      matches[rows],
      rows if itself else np.full_like(rows, -1),
      gallery,
      gallery_codes,
      distance_fn=resolve_distance(distance),
      ks=tuple(ks),
      depth=depth,
    )
    found.append(np.asarray(scores, np.float64)[:real])
  scored = np.concatenate(found)[matches > 0]
  means = scored.mean(axis=0) if len(scored) else np.full(len(ks) + 2, np.nan)
  names = [*(f"recall@{k}" for k in ks), "r_precision", "map@r"]
  return dict(zip(names, means.tolist(), strict=True)) | {
    "queries": float(len(query)),
    "queries_without_match": float(np.sum(matches == 0)),
  }


def _check_ks(ks: Sequence[int], size: int) -> None:
  for k in ks:
    if not 1 <= k <= size:
      raise ValueError(
        f"expected ks from 1 to {size}, the size of the gallery, got {k}"
      )


def _encode(
  query_labels: np.ndarray, gallery_labels: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Small codes of both label arrays and each query's number of matches."""
  _, codes = np.unique(
    np.concatenate([query_labels, gallery_labels]), return_inverse=True
  )
  codes = codes.astype(np.int32)
  query_codes, gallery_codes = np.split(codes, [len(query_labels)])
  counts = np.bincount(
    gallery_codes, minlength=int(np.max(codes, initial=0)) + 1
  )
  return query_codes, gallery_codes, counts[query_codes].astype(np.int32)


@functools.partial(jax.jit, static_argnames=("distance_fn", "ks", "depth"))
def _score_block(
  query: jax.Array,
  query_codes: jax.Array,
  matches: jax.Array,
  excluded: jax.Array,
  gallery: jax.Array,
  gallery_codes: jax.Array,
  *,
  distance_fn: DistanceFn,
  ks: tuple[int, ...],
  depth: int,
) -> jax.Array:
  """Scores `[B, len(ks) + 2]` of a block of queries, NaN from NaN distances."""
  distances = distance_fn(query, gallery)
  broken = jnp.any(jnp.isnan(distances), axis=1)
  # top_k orders -0 and 0; an overflown distance must still beat the excluded
  # entry, which alone is at +inf.
  distances = jnp.where(distances == 0, 0, distances)
  distances = jnp.minimum(distances, jnp.finfo(distances.dtype).max)
  column = jnp.arange(gallery.shape[0], dtype=excluded.dtype)
  distances = jnp.where(
    column[None, :] == excluded[:, None], jnp.inf, distances
  )
  # Among equals top_k takes the lower index first, which is our rule of ties.
  _, ranked = lax.top_k(-distances, depth)
  relevant = (gallery_codes[ranked] == query_codes[:, None]) & (
    ranked != excluded[:, None]
  )
  hits = jnp.cumsum(relevant, axis=1, dtype=jnp.int32)
  rank = jnp.arange(1, depth + 1, dtype=jnp.int32)[None, :]
  precision = hits.astype(jnp.float32) / rank.astype(jnp.float32)
  average = jnp.sum(
    jnp.where(relevant & (rank <= matches[:, None]), precision, 0), axis=1
  )
  # A query without a match divides by 1 here and is left out by the caller.
  size = jnp.maximum(matches, 1)
  precision_at_r = jnp.take_along_axis(precision, size[:, None] - 1, axis=1)
  scores = [(hits[:, k - 1] > 0).astype(jnp.float32) for k in ks]
  scores += [precision_at_r[:, 0], average / size.astype(jnp.float32)]
  return jnp.where(broken[:, None], jnp.nan, jnp.stack(scores, axis=1))
