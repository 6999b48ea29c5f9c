"""Scores of an embedding: arrays in, a dict of floats out.

A score that can't be measured on the given data is nan, never 0 or 1: it says
so in a table instead of looking like a result.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from tripletjax.metrics.retrieval import retrieval
from tripletjax.metrics.verification import pair_verification, verification

# (embeddings [N, D], labels [N], *, distance="squared_euclidean", ...)
MetricFn = Callable[..., dict[str, float]]

METRICS: Mapping[str, MetricFn] = {
  "retrieval": retrieval,
  "verification": pair_verification,
}

__all__ = [
  "METRICS",
  "MetricFn",
  "pair_verification",
  "retrieval",
  "verification",
]
