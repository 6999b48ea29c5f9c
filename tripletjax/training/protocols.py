"""The protocols of an evaluation: `METRICS` on an embedded set."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from tripletjax.metrics import METRICS, verification
from tripletjax.training.evaluation_settings import Labelled, Scores, Settings
from tripletjax.training.pairs import set_pairs
from tripletjax.training.views import compared_views, means


def measure_pairs(
  distances: np.ndarray,
  is_same: np.ndarray,
  fold: np.ndarray,
  settings: Settings,
) -> Scores:
  """Verification of listed pairs `[P]` in the folds `[P]` that they are in."""
  return verification(
    distances,
    is_same,
    fold=fold,
    far=settings.far,
    resamples=settings.resamples,
    seed=settings.seed,
  )


def measure_set(
  embeddings: np.ndarray, data: Labelled, distance: str, settings: Settings
) -> Scores:
  """All `METRICS` of an embedded set, or those of `settings.metrics`.

  With a gallery, retrieval, verification and identification are of the queries
  against it; the others are of all images together.

  Args:
    embeddings: `[N, D]`, or `[N, 1 + V, D]` with all views, which only
      one-shot tasks compare; the others are of their means.
    data: its labels.
    distance: a name from `DISTANCES`.
    settings: of the protocols.
  """
  scores: Scores = {}
  for name in settings.metrics or METRICS:
    of = embeddings if name == "one_shot" else means(embeddings)
    scores |= PROTOCOLS[name](of, data, distance, settings)
  return scores


def _retrieval(
  embeddings: np.ndarray, data: Labelled, distance: str, settings: Settings
) -> Scores:
  query, labels = embeddings, data.labels
  gallery: tuple[np.ndarray, ...] = ()
  keys = {"cameras": data.cameras, "ids": data.ids}
  keywords = {f"query_{key}": array for key, array in keys.items()}
  if data.gallery is not None:
    gallery = (embeddings[data.gallery], labels[data.gallery])
    query, labels = query[data.query], labels[data.query]
    for key, array in keys.items():
      if array is not None:
        keywords[f"query_{key}"] = array[data.query]
        keywords[f"gallery_{key}"] = array[data.gallery]
  return METRICS["retrieval"](
    query,
    labels,
    *gallery,
    distance=distance,
    ks=settings.ks,
    resamples=settings.resamples,
    seed=settings.seed,
    **keywords,
  )


def _verification(
  embeddings: np.ndarray, data: Labelled, distance: str, settings: Settings
) -> Scores:
  """Over all pairs of a set, or all of a query with a gallery entry."""
  keywords: dict[str, Any] = {
    "far": settings.far,
    "resamples": settings.resamples,
    "seed": settings.seed,
  }
  if data.gallery is None or data.query is None:
    return METRICS["verification"](
      embeddings,
      data.labels,
      distance=distance,
      folds=settings.folds,
      **keywords,
    )
  pairs = set_pairs(
    embeddings,
    data.labels,
    distance,
    query=data.query,
    gallery=data.gallery,
  )
  whole = verification(pairs.distances, pairs.is_same, **keywords)
  # As within one set: the accuracy is of as many pairs of one kind as of the
  # other, or "always different" would be right nearly always.
  rng = np.random.default_rng(settings.seed)
  kinds = [np.flatnonzero(pairs.is_same), np.flatnonzero(~pairs.is_same)]
  count = min(map(len, kinds))
  even = np.concatenate([rng.choice(k, count, replace=False) for k in kinds])
  balanced = verification(
    pairs.distances[even],
    pairs.is_same[even],
    folds=settings.folds,
    far=(),
    resamples=settings.resamples,
    seed=settings.seed,
  )
  of_folds = ("accuracy", "threshold")
  return whole | {k: x for k, x in balanced.items() if k.startswith(of_folds)}


def _identification(
  embeddings: np.ndarray, data: Labelled, distance: str, settings: Settings
) -> Scores:
  """Closed and open set.

  Within one set each identity enrols one image, drawn. In the open set every
  second identity, drawn, doesn't, and all its images ask as strangers.
  """

  def identify(gallery: np.ndarray, query: np.ndarray, **keywords) -> Scores:
    return METRICS["identification"](
      embeddings[gallery],
      data.labels[gallery],
      embeddings[query],
      data.labels[query],
      distance=distance,
      resamples=settings.resamples,
      seed=settings.seed,
      **keywords,
    )

  if data.gallery is not None and data.query is not None:
    return identify(
      data.gallery,
      data.query,
      ranks=_within(settings.ranks, data.labels[data.gallery]),
      fpir=settings.fpir,
    )
  enrolled, others, strangers = enrol(data.labels, seed=settings.seed)
  closed = identify(
    enrolled,
    others,
    ranks=_within(settings.ranks, data.labels[enrolled]),
    fpir=(),
  )
  open_set = identify(
    np.setdiff1d(enrolled, strangers),
    np.concatenate([np.setdiff1d(others, strangers), strangers]),
    ranks=(1,),
    fpir=settings.fpir,
  )
  of_open = ("tpir", "unknown_queries")
  return closed | {k: x for k, x in open_set.items() if k.startswith(of_open)}


def _within(ranks: tuple[int, ...], gallery_labels: np.ndarray) -> tuple:
  """The ranks that a gallery of so many identities has."""
  return tuple(r for r in ranks if r <= len(np.unique(gallery_labels)))


def enrol(
  labels: np.ndarray, *, seed: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Divides a set for identification.

  Returns:
    indices of: one image, drawn, of each identity; all other images; all
    images of every second identity, drawn, the strangers of the open set.
  """
  rng = np.random.default_rng(seed)
  order = rng.permutation(len(labels))
  names, first = np.unique(labels[order], return_index=True)
  enrolled = np.sort(order[first])
  others = np.setdiff1d(np.arange(len(labels)), enrolled)
  unknown = rng.permutation(names)[: len(names) // 2]
  return enrolled, others, np.flatnonzero(np.isin(labels, unknown))


def _episodes(
  embeddings: np.ndarray, data: Labelled, distance: str, settings: Settings
) -> Scores:
  tasks, between = compared_views(
    embeddings, distance, settings.view_temperature
  )
  return METRICS["one_shot"](
    tasks,
    data.labels,
    distance=between,
    ways=settings.ways,
    shots=settings.shots,
    queries=settings.queries,
    episodes=settings.episodes,
    seed=settings.seed,
    groups=data.groups,
    cameras=data.cameras,
  )


def _clustering(
  embeddings: np.ndarray, data: Labelled, distance: str, settings: Settings
) -> Scores:
  how: dict[str, Any] = {"method": "kmeans"}
  if settings.cluster_threshold is not None:
    how = {
      "method": "agglomerative",
      "threshold": settings.cluster_threshold,
    }
  return METRICS["clustering"](
    embeddings, data.labels, distance=distance, seed=settings.seed, **how
  )


def _space(
  embeddings: np.ndarray, data: Labelled, distance: str, settings: Settings
) -> Scores:
  del settings
  return METRICS["space"](embeddings, data.labels, distance=distance)


# Name in METRICS -> (embeddings, labelled, distance, settings) -> scores.
PROTOCOLS: Mapping[str, Callable[..., Scores]] = {
  "retrieval": _retrieval,
  "verification": _verification,
  "identification": _identification,
  "one_shot": _episodes,
  "clustering": _clustering,
  "space": _space,
}
