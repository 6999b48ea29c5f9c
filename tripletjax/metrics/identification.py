"""Who is it? Closed-set rank and open-set identification."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jax.typing import ArrayLike

from tripletjax.metrics import curves
from tripletjax.metrics.blocks import distance_tile, starts, tile_edge
from tripletjax.metrics.intervals import resampled_means
from tripletjax.metrics.matches import Search
from tripletjax.metrics.retrieval import make_search
from tripletjax.types import DistanceFn

# Distances of queries to identities that are held at once.
_HELD = 1 << 23


class _Found(NamedTuple):
  """What a search says of each query, `[Q]`.

  Attributes:
    rank: of the query's own identity, from 1; 0 where the gallery lacks it.
    nearest: distance of the nearest entry; NaN where a distance is.
  """

  rank: np.ndarray
  nearest: np.ndarray


def identification(
  gallery: ArrayLike,
  gallery_labels: ArrayLike,
  query: ArrayLike | None = None,
  query_labels: ArrayLike | None = None,
  *,
  distance: str | DistanceFn = "squared_euclidean",
  ranks: Sequence[int] = (1, 5, 10),
  fpir: Sequence[float] = (1e-2,),
  resamples: int = 0,
  seed: int = 0,
) -> dict[str, float]:
  """Which identity of a gallery a query is, if it is one of them.

  An identity is as far as its nearest entry. Identities at the same distance
  rank by their first entry in the gallery, the lower index first.

    rank@k  closed set: share of the queries of a known identity that have it
            among the k nearest identities
    tpir@fpir=f  open set (NIST's FRVT 1:N, Grother et al.): share of these
            queries whose identity is nearest, and nearer than the threshold;
            the largest threshold at which at most a share f of the queries of
            an unknown identity is taken for anybody, by exact counting

  Args:
    gallery: embeddings, `[G, D]`, floating.
    gallery_labels: identities, `[G]`, integer.
    query: embeddings, `[Q, D]`; when None each of the gallery asks the others,
      and a single image of an identity is unknown.
    query_labels: identities, `[Q]`; those not in the gallery are unknown.
    distance: a name from `DISTANCES`, or a function of `x` and `y`.
    ranks: the k of each rank@k, in 1..number of identities in the gallery.
    fpir: false-positive identification rates, each in (0, 1).
    resamples: for an interval: how often the identities of the known queries
      are drawn anew (the threshold stays).
    seed: of these draws.

  Returns:
    `rank@k` and `tpir@fpir=1e-02` for each, `known_queries` and
    `unknown_queries`; with `resamples`, `<score>_low` and `<score>_high`. Not
    measurable, and nan: all without known queries or with a NaN distance, TPIR
    with fewer than 1/FPIR unknown queries.

  Raises:
    TypeError: embeddings not floating, or labels not integer.
    ValueError: a shape doesn't fit, a rank or a rate is out of its range.

  >>> people, labels = np.array([[0.0], [1.0], [5.0]]), np.array([1, 2, 3])
  >>> scores = identification(people, labels, people + 0.1, labels, ranks=(1,))
  >>> scores["rank@1"], scores["tpir@fpir=1e-02"]
  (1.0, nan)
  """
  curves.check_rates(fpir, "fpir")
  if (query is None) != (query_labels is None):
    raise ValueError("expected query and query_labels together, got one")
  if query is None or query_labels is None:
    search, labels = make_search(
      gallery, gallery_labels, None, None, distance=distance
    )
  else:
    search, labels = make_search(
      query, query_labels, gallery, gallery_labels, distance=distance
    )
  identities = len(np.unique(search.gallery_codes))
  for k in ranks:
    if not 1 <= k <= identities:
      raise ValueError(
        f"expected ranks from 1 to {identities}, the number of identities in "
        f"the gallery, got {k}"
      )
  found = _search(search)
  known = found.rank > 0
  right = np.stack([found.rank <= k for k in ranks], axis=1)[known]
  names = [f"rank@{k}" for k in ranks]
  columns = [right.astype(np.float64)]
  strangers = np.sort(found.nearest[~known])
  for rate in fpir:
    names.append(curves.rate_key("tpir@fpir", rate))
    most = curves.allowed(rate, len(strangers))
    values = np.full((int(known.sum()), 1), np.nan)
    if most:
      below = found.nearest[known] < strangers[most]
      values[:, 0] = below & (found.rank[known] == 1)
    columns.append(values)
  values = np.concatenate(columns, axis=1)
  if np.isnan(found.nearest).any():
    values[:] = np.nan
  means = values.mean(axis=0) if len(values) else np.full(len(names), np.nan)
  scores = dict(zip(names, means.tolist(), strict=True))
  if resamples:
    scores |= resampled_means(
      names, values, labels[known], resamples=resamples, seed=seed
    )
  return scores | {
    "known_queries": float(known.sum()),
    "unknown_queries": float((~known).sum()),
  }


def _search(search: Search) -> _Found:
  """Compares each query with each identity, a block of queries at a time."""
  total = search.query.size
  names, first, images = np.unique(
    search.gallery_codes, return_index=True, return_counts=True
  )
  # The gallery is in the order of its indices within an identity.
  lowest = search.gallery.order[first]
  rank, nearest = np.zeros(total, np.int64), np.full(total, np.nan)
  edge = tile_edge(min(total, max(64, _HELD // max(len(names), 1))))
  for start, count in starts(total, edge):
    distances = _to_identities(search, start, count, edge, names)
    queries = search.query.order[start : start + count]
    codes = search.query_codes[start : start + count]
    own = np.minimum(np.searchsorted(names, codes), len(names) - 1)
    mine = distances[np.arange(count), own]
    there = (names[own] == codes) & (images[own] > len(search.keys))
    before = (distances < mine[:, None]) | (
      (distances == mine[:, None]) & (lowest[None, :] < lowest[own][:, None])
    )
    rank[queries] = np.where(there, 1 + before.sum(axis=1), 0)
    nearest[queries] = distances.min(axis=1)
  return _Found(rank, nearest)


def _to_identities(
  search: Search, start: int, count: int, edge: int, names: np.ndarray
) -> np.ndarray:
  """Distance of each query to the nearest entry of each identity."""
  found = np.full((count, len(names)), np.inf)
  columns = tile_edge(search.gallery.size)
  for begin, many in starts(search.gallery.size, columns):
    tile = distance_tile(
      search.query,
      search.gallery,
      start,
      begin,
      edge,
      columns,
      distance_fn=search.distance_fn,
    )
    distances = np.asarray(tile)[:count, :many].astype(np.float64)
    codes = search.gallery_codes[begin : begin + many]
    for of_query, of_gallery in search.keys:
      itself = (
        of_query[start : start + count, None]
        == of_gallery[None, begin : begin + many]
      )
      distances[itself] = np.inf
    here, first = np.unique(codes, return_index=True)
    place = np.searchsorted(names, here)
    least = np.minimum.reduceat(distances, first, axis=1)
    found[:, place] = np.minimum(found[:, place], least)
  return found
