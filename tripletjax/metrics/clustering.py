"""Do clusters of the embeddings agree with the identities?"""

from __future__ import annotations

import warnings

import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from tripletjax.distances import (
  at_least_float32,
  l2_normalize,
  resolve_distance,
)
from tripletjax.metrics.blocks import (
  check_host,
  check_labels,
  distance_tile,
  encode,
  in_order,
  starts,
  tile_edge,
)
from tripletjax.types import DistanceFn

METHODS = ("kmeans", "agglomerative")
NAMES = (
  "nmi",
  "ami",
  "ari",
  "bcubed_f",
  "bcubed_precision",
  "bcubed_recall",
  "pairwise_f",
  "pairwise_precision",
  "pairwise_recall",
)


def clustering(
  embeddings: ArrayLike,
  labels: ArrayLike,
  *,
  distance: str | DistanceFn = "squared_euclidean",
  method: str = "kmeans",
  clusters: int | None = None,
  threshold: float | None = None,
  linkage: str = "average",
  seed: int = 0,
) -> dict[str, float]:
  """Clusters the embeddings and compares the clusters with the identities.

  The algorithms are scikit-learn's. k-means knows the Euclidean distance only:
  for `cosine` and `angular` it is given L2-normalised embeddings, for all other
  distances the embeddings. Agglomerative clustering takes the distance itself,
  and holds all of them, `[N, N]`.

  Args:
    embeddings: `[N, D]`, floating.
    labels: identities, `[N]`, integer.
    distance: a name from `DISTANCES`, or a function of `x` and `y`.
    method: `kmeans` or `agglomerative`.
    clusters: how many; as many as identities when both are None.
    threshold: agglomerative only, in place of `clusters`: clusters farther
      apart are not merged; in the unit of the distance.
    linkage: agglomerative: `average`, `complete` or `single`.
    seed: of k-means' start.

  Returns:
    The scores of `agreement`, and `clusters`, how many there are. nan with
    fewer than two identities, or with embeddings that aren't finite.

  Raises:
    TypeError: embeddings not floating, or labels not integer.
    ValueError: a shape doesn't fit, the method is unknown, or a number is out
      of its range.

  >>> points = np.array([[0.0], [0.1], [5.0], [5.1]])
  >>> clustering(points, np.array([0, 0, 1, 1]))["nmi"]
  1.0
  """
  array = check_host(embeddings, "embeddings")
  labels = check_labels(labels, len(array), "labels")
  _check(distance, method, clusters, threshold, len(labels))
  identities = len(np.unique(labels))
  nothing = dict.fromkeys((*NAMES, "clusters"), float("nan"))
  if identities < 2:
    return nothing
  if clusters is None and threshold is None:
    clusters = identities
  found = find_clusters(
    array,
    distance=distance,
    method=method,
    clusters=clusters,
    threshold=threshold,
    linkage=linkage,
    seed=seed,
  )
  if found is None:
    return nothing
  scores = agreement(labels, found)
  return scores | {"clusters": float(len(np.unique(found)))}


def find_clusters(
  embeddings: ArrayLike,
  *,
  distance: str | DistanceFn = "squared_euclidean",
  method: str = "kmeans",
  clusters: int | None = None,
  threshold: float | None = None,
  linkage: str = "average",
  seed: int = 0,
) -> np.ndarray | None:
  """The clusters that `clustering` compares with identities.

  Args:
    embeddings: `[N, D]`, floating.
    distance: as all that follows, as in `clustering`.
    method: `kmeans` or `agglomerative`.
    clusters: how many; this or a threshold has to be given.
    threshold: agglomerative only.
    linkage: agglomerative only.
    seed: of k-means' start.

  Returns:
    The cluster of each, from 0, integer `[N]`; None where an embedding or a
    distance isn't finite.

  Raises:
    TypeError: embeddings not floating.
    ValueError: a shape doesn't fit, the method is unknown, or a number is out
      of its range.

  >>> points = np.array([[0.0], [0.1], [5.0], [5.1]])
  >>> len(np.unique(find_clusters(points, clusters=2)))
  2
  """
  array = check_host(embeddings, "embeddings")
  _check(distance, method, clusters, threshold, len(array))
  if not np.isfinite(np.asarray(array, np.float32)).all():
    return None
  if threshold is None and clusters is None:
    raise ValueError("expected clusters or threshold, got neither")
  if method == "kmeans":
    return _kmeans(array, distance, int(clusters or 0), seed)
  matrix = _all_distances(np.asarray(array), resolve_distance(distance))
  if np.isnan(matrix).any():
    return None
  if len(array) == 1:  # scikit-learn wants two
    return np.zeros(1, np.int64)
  # Its import takes a second, which a command that clusters nothing saves.
  from sklearn import cluster

  return cluster.AgglomerativeClustering(
    n_clusters=clusters,
    distance_threshold=threshold,
    metric="precomputed",
    linkage=linkage,
  ).fit_predict(matrix)


def _check(
  distance: str | DistanceFn,
  method: str,
  clusters: int | None,
  threshold: float | None,
  count: int,
) -> None:
  if method not in METHODS:
    raise ValueError(
      f"expected method to be one of {', '.join(METHODS)}, got {method!r}"
    )
  resolve_distance(distance)
  if threshold is not None and (method == "kmeans" or clusters is not None):
    raise ValueError(
      "expected threshold with method agglomerative and without clusters"
    )
  if clusters is not None and not 1 <= clusters <= count:
    raise ValueError(
      f"expected clusters from 1 to {count}, the number of embeddings, "
      f"got {clusters}"
    )


def agreement(labels: ArrayLike, clusters: ArrayLike) -> dict[str, float]:
  """How well clusters agree with identities; both are partitions of a set.

    nmi, ami, ari  scikit-learn's: mutual information, arithmetic mean; the same
                   and the Rand index, each adjusted for chance
    bcubed_*       Amigó et al., 2009: for each image the share of its cluster
                   that has its identity (precision), and of its identity that
                   is in its cluster (recall), itself included; means, and F of
                   the means
    pairwise_*     of the pairs in one cluster the share of one identity, of the
                   pairs of one identity the share in one cluster, and their F

  Args:
    labels: identities, `[N]`, integer.
    clusters: `[N]`, integer.

  Returns:
    These; a pairwise share of no pairs is nan, its F too.

  Raises:
    TypeError: labels or clusters not integer.
    ValueError: a shape doesn't fit.

  >>> scores = agreement(np.array([0, 0, 1, 1]), np.array([5, 5, 5, 6]))
  >>> round(scores["bcubed_precision"], 4), scores["pairwise_recall"]
  (0.6667, 0.5)
  """
  labels = check_labels(labels, np.size(labels), "labels")
  clusters = check_labels(clusters, len(labels), "clusters")
  (truth,), (found,) = encode(labels), encode(clusters)
  # Only the cells that aren't empty: identities times clusters may be many.
  cells, overlap = np.unique(
    np.stack([truth, found]), axis=1, return_counts=True
  )
  overlap = overlap.astype(np.float64)
  of_identity, of_cluster = (
    np.bincount(codes).astype(np.float64) for codes in (truth, found)
  )
  squares = overlap**2
  precision = np.sum(squares / of_cluster[cells[1]]) / len(labels)
  recall = np.sum(squares / of_identity[cells[0]]) / len(labels)
  both, of_one, of_other = (
    float(np.sum(sizes * (sizes - 1)) / 2)
    for sizes in (overlap, of_cluster, of_identity)
  )
  # Here for the same reason.
  from sklearn import metrics

  pair_precision = both / of_one if of_one else np.nan
  pair_recall = both / of_other if of_other else np.nan
  values = (
    metrics.normalized_mutual_info_score(truth, found),
    metrics.adjusted_mutual_info_score(truth, found),
    metrics.adjusted_rand_score(truth, found),
    _f(precision, recall),
    precision,
    recall,
    _f(pair_precision, pair_recall),
    pair_precision,
    pair_recall,
  )
  return dict(zip(NAMES, map(float, values), strict=True))


def _f(precision: float, recall: float) -> float:
  """The harmonic mean; 0 where both are 0, nan where one is."""
  if precision + recall == 0:
    return 0.0
  return 2 * precision * recall / (precision + recall)


def _kmeans(
  embeddings: ArrayLike,
  distance: str | DistanceFn,
  clusters: int,
  seed: int,
) -> np.ndarray:
  from sklearn import cluster, exceptions

  points = at_least_float32(jnp.asarray(embeddings))
  if distance in ("cosine", "angular"):
    points = l2_normalize(points)
  with warnings.catch_warnings():
    # Fewer distinct points than clusters: some clusters stay empty.
    warnings.simplefilter("ignore", exceptions.ConvergenceWarning)
    return cluster.KMeans(
      n_clusters=clusters, n_init=1, random_state=seed
    ).fit_predict(np.asarray(points))


def _all_distances(
  embeddings: np.ndarray, distance_fn: DistanceFn
) -> np.ndarray:
  rows, count = in_order(embeddings), len(embeddings)
  edge = tile_edge(count)
  found = np.empty((count, count), np.float32)
  for start, height in starts(count, edge):
    for begin, width in starts(count, edge):
      tile = distance_tile(
        rows, rows, start, begin, edge, edge, distance_fn=distance_fn
      )
      block = np.asarray(tile)[:height, :width]
      found[start : start + height, begin : begin + width] = block
  return found
