"""The metrics by other libraries.

Each maps `Data` to the difference from ours, by metric.
"""

from __future__ import annotations

import numpy as np

from experiments.metric_data import Data, compare, distances_of, pairs_of
from tripletjax import metrics as ours


def pml(data: Data) -> dict[str, float]:
  """AccuracyCalculator with its own search by FAISS."""
  import torch
  from pytorch_metric_learning.utils import accuracy_calculator

  names = {
    "precision_at_1": "precision@1",
    "r_precision": "r_precision",
    "mean_average_precision_at_r": "map@r",
    "mean_average_precision": "map",
    "mean_reciprocal_rank": "mrr",
  }
  calculator = accuracy_calculator.AccuracyCalculator(
    include=tuple(names), k=None, device=torch.device("cpu")
  )
  found = calculator.get_accuracy(data.embeddings, data.labels)
  theirs = {mine: float(found[name]) for name, mine in names.items()}
  return compare(theirs, ours.retrieval(data.embeddings, data.labels, ks=(1,)))


def sklearn_ranking(data: Data) -> dict[str, float]:
  """Its average precision and nDCG, query by query."""
  from sklearn import metrics

  scores = -distances_of(data)
  found = []
  for i, label in enumerate(data.labels):
    others = np.arange(len(data.labels)) != i
    match, score = data.labels[others] == label, scores[i, others]
    if match.any():
      gain = metrics.ndcg_score([match], [score], ignore_ties=True)
      found.append((metrics.average_precision_score(match, score), gain))
  theirs = dict(zip(("map", "ndcg"), np.mean(found, axis=0), strict=True))
  return compare(theirs, ours.retrieval(data.embeddings, data.labels))


def sklearn_pairs(data: Data) -> dict[str, float]:
  """Its AUC of all pairs."""
  from sklearn import metrics

  distances, is_same = pairs_of(data)
  theirs = {"auc": metrics.roc_auc_score(is_same, -distances)}
  return compare(theirs, ours.pair_verification(data.embeddings, data.labels))
