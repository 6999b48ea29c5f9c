"""Ranked retrieval: recall@k, R-precision, MAP@R, MAP, MRR and nDCG."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from jax.typing import ArrayLike

from tripletjax.distances import DISTANCES, resolve_distance
from tripletjax.metrics.blocks import (
  Rows,
  check_host,
  check_labels,
  check_same_dimension,
)
from tripletjax.metrics.intervals import resampled_means
from tripletjax.metrics.matches import Search
from tripletjax.metrics.ranks import Ranks, match_ranks
from tripletjax.types import DistanceFn

# Ranks of the matches [B, r], ascending and 0 where there is none, and how many
# there are [B], at least 1 -> the score of each query, [B].
ScoreFn = Callable[[np.ndarray, np.ndarray], np.ndarray]


def retrieval(
  query: ArrayLike,
  query_labels: ArrayLike,
  gallery: ArrayLike | None = None,
  gallery_labels: ArrayLike | None = None,
  *,
  distance: str | DistanceFn = "squared_euclidean",
  ks: Sequence[int] = (1, 2, 4, 8),
  scores: Sequence[str] | None = None,
  query_cameras: ArrayLike | None = None,
  gallery_cameras: ArrayLike | None = None,
  query_ids: ArrayLike | None = None,
  gallery_ids: ArrayLike | None = None,
  resamples: int = 0,
  seed: int = 0,
) -> dict[str, float]:
  """How well each query's nearest gallery entries share its label.

  With R the number of the query's matches in the gallery, r_1 < ... < r_R
  their ranks, and P(i) the precision among the i nearest entries:

    recall@k      [r_1 <= k]; the CMC at rank k of re-identification
    precision@1   [r_1 = 1]
    r_precision   P(R)
    map@r         1/R Σ_{i<=R} P(i) [the i-th nearest is a match]
                  (Musgrave et al., 2020, "A Metric Learning Reality Check")
    map           1/R Σ_i i / r_i, the average precision of scikit-learn and of
                  Market-1501's later code
    map_trapezoid 1/R Σ_i (i / r_i + (i - 1) / (r_i - 1)) / 2, the area by
                  trapezoids of Oxford Buildings' code, which Market-1501's
                  first one copies (Zheng et al., 2015); the second term is 1
                  where r_i = 1
    mrr           1 / r_1
    ndcg          Σ_i 1 / log2(1 + r_i) / Σ_{i<=R} 1 / log2(1 + i)

  each averaged over the queries that have a match. Entries at the same
  distance rank by gallery index, the lower first. Memory grows with a block of
  distances, not with Q x G; NumPy arrays are passed on a block at a time.

  Args:
    query: embeddings, `[Q, D]`, floating.
    query_labels: identities, `[Q]`, integer.
    gallery: embeddings to search, `[G, D]`; when None, the queries themselves,
      each without itself (by index: a duplicate of it stays).
    gallery_labels: identities, `[G]`; None exactly when `gallery` is.
    distance: a name from `DISTANCES`, or a function of `x` and `y`.
    ks: the k of each recall@k, in 1..gallery size.
    scores: which to compute, of `SCORES`; all when None. `recall`,
      `precision@1` and `mrr` alone take a half to a third of the time; with
      hundreds of images an identity, `r_precision` and `map@r` without the
      others take 40 % less.
    query_cameras: integer, `[Q]`: an entry of the query's identity that was
      taken by its camera isn't there for it (Market-1501's protocol).
    gallery_cameras: integer, `[G]`; with `query_cameras`, without a gallery
      None.
    query_ids: of the images, integer, `[Q]`: an entry of the query's identity
      with its id isn't there for it.
    gallery_ids: likewise, `[G]`.
    resamples: for an interval: how often the identities are drawn anew.
    seed: of these draws.

  Returns:
    `recall@k` for each k and the other scores; `queries` (all of them) and
    `queries_without_match` (left out of the averages); with `resamples`,
    `<score>_low` and `<score>_high`, a 95 % interval by bootstrap over
    identities. The averages are nan when no query has a match, or when a
    distance of one that has is NaN.

  Raises:
    TypeError: embeddings not floating; labels, cameras or ids not integer.
    ValueError: a shape doesn't fit, a k is not in 1..gallery size, or a score
      is unknown.

  >>> points = np.array([[0.0], [1.0], [5.0], [7.0]])
  >>> scores = retrieval(points, np.array([0, 0, 1, 1]), ks=(1,))
  >>> scores["recall@1"], scores["map@r"], scores["queries_without_match"]
  (1.0, 1.0, 0.0)
  """
  wanted = _score_fns(ks, scores)
  search, labels = make_search(
    query,
    query_labels,
    gallery,
    gallery_labels,
    distance=distance,
    keys=[
      ("cameras", query_cameras, gallery_cameras),
      ("ids", query_ids, gallery_ids),
    ],
  )
  _check_ks(ks, search.gallery.size - (gallery is None))
  found = np.full((len(labels), len(wanted)), np.nan)
  matched = np.zeros(len(labels), bool)
  asked = SCORES.keys() if scores is None else scores
  for ranks in match_ranks(
    search,
    first=FIRST.issuperset(asked),
    within=max(ks, default=1) if WITHIN.issuperset(asked) else None,
  ):
    matched[ranks.queries] = ranks.matches > 0
    found[ranks.queries] = _scored(ranks, wanted)
  scored = found[matched]
  means = scored.mean(axis=0) if len(scored) else np.full(len(wanted), np.nan)
  results = dict(zip(wanted, means.tolist(), strict=True))
  if resamples:
    results |= resampled_means(
      results, scored, labels[matched], resamples=resamples, seed=seed
    )
  return results | {
    "queries": float(len(labels)),
    "queries_without_match": float(np.sum(~matched)),
  }


def make_search(
  query: ArrayLike,
  query_labels: ArrayLike,
  gallery: ArrayLike | None,
  gallery_labels: ArrayLike | None,
  *,
  distance: str | DistanceFn,
  keys: Sequence[tuple[str, ArrayLike | None, ArrayLike | None]] = (),
) -> tuple[Search, np.ndarray]:
  """Checked arguments of `retrieval`, and the queries' labels as an array."""
  query = check_host(query, "query")
  labels = check_labels(query_labels, len(query), "query_labels")
  itself = gallery is None
  if itself != (gallery_labels is None):
    raise ValueError("expected gallery and gallery_labels together, got one")
  paired = []
  if gallery is None or gallery_labels is None:
    gallery, own_labels = query, labels
    paired.append((np.arange(len(query)), np.arange(len(query))))
  else:
    gallery = check_host(gallery, "gallery")
    own_labels = check_labels(gallery_labels, len(gallery), "gallery_labels")
  check_same_dimension(gallery, query)
  for name, of_query, of_gallery in keys:
    if of_query is None and of_gallery is None:
      continue
    if of_query is None or (of_gallery is None) != itself:
      raise ValueError(
        f"expected gallery_{name} where there are query_{name} and a gallery"
      )
    mine = check_labels(of_query, len(query), f"query_{name}")
    theirs = mine if of_gallery is None else of_gallery
    paired.append((mine, check_labels(theirs, len(gallery), f"gallery_{name}")))
  query_codes, gallery_codes = _encode(labels, own_labels)
  of_query = np.argsort(query_codes, kind="stable")
  of_gallery = np.argsort(gallery_codes, kind="stable")
  search = Search(
    Rows(query, of_query),
    Rows(gallery, of_gallery),
    query_codes[of_query],
    gallery_codes[of_gallery],
    tuple((a[of_query], b[of_gallery]) for a, b in paired),
    resolve_distance(distance),
    # A function of the user's may be anything.
    symmetric=itself and isinstance(distance, str) and distance in DISTANCES,
  )
  return search, labels


def _encode(
  query_labels: np.ndarray, gallery_labels: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
  """Codes of both, in the order of how many of a label the gallery has."""
  _, codes = np.unique(
    np.concatenate([query_labels, gallery_labels]), return_inverse=True
  )
  query_codes, gallery_codes = np.split(codes, [len(query_labels)])
  counts = np.bincount(gallery_codes, minlength=int(codes.max(initial=0)) + 1)
  # So that blocks of queries have about as many matches.
  code = np.empty(len(counts), np.int32)
  code[np.argsort(counts, kind="stable")] = np.arange(len(counts))
  return code[query_codes], code[gallery_codes]


def _recall(k: int) -> ScoreFn:
  return lambda ranks, matches: (ranks[:, 0] <= k).astype(np.float64)


def _of_ranks(
  value: Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray],
) -> ScoreFn:
  """The mean over R of `value(rank, number, R)` of each match."""

  def score(ranks: np.ndarray, matches: np.ndarray) -> np.ndarray:
    number = 1 + np.arange(ranks.shape[1], dtype=np.float64)[None, :]
    # Where there is no match the value isn't used.
    rank = np.maximum(ranks, 1).astype(np.float64)
    values = value(rank, number, matches[:, None])
    return np.where(ranks > 0, values, 0).sum(axis=1) / matches

  return score


def _trapezoid(
  rank: np.ndarray, number: np.ndarray, matches: np.ndarray
) -> np.ndarray:
  before = np.where(rank > 1, (number - 1) / np.maximum(rank - 1, 1), 1)
  return (number / rank + before) / 2


def _ndcg(ranks: np.ndarray, matches: np.ndarray) -> np.ndarray:
  gains = np.where(ranks > 0, 1 / np.log2(1 + np.maximum(ranks, 1)), 0)
  ideal = np.cumsum(1 / np.log2(2 + np.arange(ranks.shape[1])))
  return gains.sum(axis=1) / ideal[matches - 1]


# What follows from the first match alone.
FIRST = frozenset({"recall", "precision@1", "mrr"})
# What doesn't tell ranks beyond k and R from each other.
WITHIN = frozenset({"recall", "precision@1", "r_precision", "map@r"})
SCORES: Mapping[str, ScoreFn] = {
  "recall": _recall(1),  # one for each of `ks`
  "precision@1": _recall(1),
  "r_precision": _of_ranks(lambda rank, number, size: rank <= size),
  "map@r": _of_ranks(
    lambda rank, number, size: np.where(rank <= size, number / rank, 0)
  ),
  "map": _of_ranks(lambda rank, number, size: number / rank),
  "map_trapezoid": _of_ranks(_trapezoid),
  "mrr": lambda ranks, matches: 1 / ranks[:, 0],
  "ndcg": _ndcg,
}


def _score_fns(
  ks: Sequence[int], scores: Sequence[str] | None
) -> dict[str, ScoreFn]:
  for name in scores or ():
    if name not in SCORES:
      raise ValueError(f"expected scores of {', '.join(SCORES)}, got {name!r}")
  found: dict[str, ScoreFn] = {}
  for name, function in SCORES.items():
    if scores is not None and name not in scores:
      continue
    if name == "recall":
      found |= {f"recall@{k}": _recall(k) for k in ks}
    else:
      found[name] = function
  return found


def _scored(ranks: Ranks, wanted: Mapping[str, ScoreFn]) -> np.ndarray:
  """Scores `[B, len(wanted)]`: NaN from NaN distances, and without a match."""
  scores = np.full((len(ranks.queries), len(wanted)), np.nan)
  good = (ranks.matches > 0) & ~ranks.broken
  if good.any():
    for column, function in enumerate(wanted.values()):
      scores[good, column] = function(ranks.rank[good], ranks.matches[good])
  return scores


def _check_ks(ks: Sequence[int], size: int) -> None:
  for k in ks:
    if not 1 <= k <= size:
      raise ValueError(
        f"expected ks from 1 to {size}, the size of the gallery, got {k}"
      )
