"""Scores of an embedding: arrays in, a dict of floats out.

A score that can't be measured on the given data is nan, never 0 or 1: it says
so in a table instead of looking like a result.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from tripletjax.metrics.clustering import agreement, clustering
from tripletjax.metrics.curves import det_curve, roc_curve
from tripletjax.metrics.identification import identification
from tripletjax.metrics.neighbours import nearest
from tripletjax.metrics.one_shot import episodes, one_shot
from tripletjax.metrics.pairs import pair_verification
from tripletjax.metrics.retrieval import retrieval
from tripletjax.metrics.space import space
from tripletjax.metrics.thresholds import threshold_at
from tripletjax.metrics.verification import verification
from tripletjax.metrics.viewed import nearest_views

# (embeddings [N, D], labels [N], *, distance="squared_euclidean", ...)
MetricFn = Callable[..., dict[str, float]]

METRICS: Mapping[str, MetricFn] = {
  "retrieval": retrieval,
  "verification": pair_verification,
  "identification": identification,
  "one_shot": episodes,
  "clustering": clustering,
  "space": space,
}

__all__ = [
  "METRICS",
  "MetricFn",
  "agreement",
  "clustering",
  "det_curve",
  "episodes",
  "identification",
  "nearest",
  "nearest_views",
  "one_shot",
  "pair_verification",
  "retrieval",
  "roc_curve",
  "space",
  "threshold_at",
  "verification",
]
