"""The metrics by the slow loops of the tests.

Each maps `Data` to the difference from ours, by metric.
"""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from experiments.metric_data import Data, compare, distances_of, pairs_of
from tests.metrics import oracles
from tripletjax import metrics as ours

KS = (1, 2, 5)
FAR = ("1e-01", "1e-02", "1e-03")


def retrieval(data: Data) -> dict[str, float]:
  """Every rank by sorting (distance, index)."""
  distances = distances_of(data)
  theirs = oracles.retrieval(
    distances, data.labels, data.labels, ks=KS, itself=True
  )
  return compare(theirs, ours.retrieval(data.embeddings, data.labels, ks=KS))


def verification(data: Data) -> dict[str, float]:
  """Every threshold there is, in fractions."""
  distances, is_same = pairs_of(data)
  theirs = {
    f"tar@far={far}": oracles.tar_at_far(distances, is_same, Fraction(far))
    for far in FAR
  }
  theirs["auc"] = oracles.auc(distances, is_same)
  theirs["eer"] = oracles.eer(distances, is_same)
  far = tuple(map(float, FAR))
  mine = ours.pair_verification(data.embeddings, data.labels, far=far)
  return compare(theirs, mine)


def identification(data: Data) -> dict[str, float]:
  """Every identity by its nearest image, each image asking the others."""
  distances = distances_of(data)
  np.fill_diagonal(distances, np.inf)
  labels = data.labels.tolist()
  theirs = oracles.identification(
    distances, labels, labels, ranks=KS, fpir=[("0.25", 0.25)]
  )
  mine = ours.identification(
    data.embeddings, data.labels, ranks=KS, fpir=(0.25,)
  )
  return compare(theirs, mine)


def clustering(data: Data) -> dict[str, float]:
  """BCubed image by image, pairs pair by pair, of a random partition."""
  rng = np.random.default_rng(len(data.labels))
  clusters = np.where(rng.random(len(data.labels)) < 0.3, 99, data.labels)
  labels, found = data.labels.tolist(), clusters.tolist()
  theirs = {"nmi": oracles.mutual_information(labels, found)}
  for name, oracle in (
    ("bcubed", oracles.bcubed),
    ("pairwise", oracles.pairwise),
  ):
    precision, recall = oracle(labels, found)
    theirs[f"{name}_f"] = 2 * precision * recall / (precision + recall)
  return compare(theirs, ours.agreement(data.labels, clusters))


def hubness(data: Data) -> dict[str, float]:
  """Every neighbour by sorting (distance, index)."""
  theirs = oracles.hubness(distances_of(data).tolist(), 10)
  return compare({"hubness": theirs}, ours.space(data.embeddings, data.labels))


def one_shot(data: Data) -> dict[str, float]:
  """Every identity that is nearest, one taken by chance."""
  half = len(data.labels) // 2
  theirs = oracles.one_shot_error(
    distances_of(data)[half:, :half].tolist(),
    data.labels[half:].tolist(),
    data.labels[:half].tolist(),
  )
  x, y = data.embeddings, data.labels
  mine = ours.one_shot(x[:half], y[:half], x[half:], y[half:])
  return compare({"one_shot_error": theirs}, mine)
