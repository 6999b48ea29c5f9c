"""One evaluation: `python -m tripletjax.benchmark.evaluation_worker`.

Arguments and output are those of `worker.py`.
"""

from __future__ import annotations

import functools
import itertools
import json
import resource
import sys
from collections.abc import Callable, Mapping

import numpy as np

from tripletjax.benchmark.data import (
  balanced_labels,
  make_embeddings,
  parse_size,
)
from tripletjax.benchmark.worker import Step, measure
from tripletjax.distances import DISTANCES
from tripletjax.metrics import pair_verification, retrieval
from tripletjax.metrics.blocks import distance_tile, in_order, starts, tile_edge


def our_step(score: str, embeddings: np.ndarray, labels: np.ndarray) -> Step:
  """A score of `retrieval` of a set against itself; all of them when empty."""
  name, _, _ = score.partition("@1")

  def step() -> float:
    found = retrieval(
      embeddings, labels, ks=(1,), scores=[name] if score else None
    )
    return found[score or "ndcg"]

  return step


def product_step(embeddings: np.ndarray, labels: np.ndarray) -> Step:
  """Only the distances of each pair, once: no exact search does less."""
  del labels
  rows = in_order(embeddings)
  edge = tile_edge(rows.size)
  distance_fn = DISTANCES["squared_euclidean"]

  def step() -> float:
    runs = [start for start, _ in starts(rows.size, edge)]
    for x, y in itertools.combinations_with_replacement(runs, 2):
      tile = distance_tile(
        rows, rows, x, y, edge, edge, distance_fn=distance_fn
      )
      tile.block_until_ready()
    return float(len(runs))

  return step


def pair_step(embeddings: np.ndarray, labels: np.ndarray) -> Step:
  """Verification over all pairs."""
  return lambda: pair_verification(embeddings, labels, far=(1e-6,))["auc"]


def pml_step(score: str, embeddings: np.ndarray, labels: np.ndarray) -> Step:
  """A score of pytorch-metric-learning's AccuracyCalculator, by FAISS."""
  import torch
  from pytorch_metric_learning.utils import accuracy_calculator

  calculator = accuracy_calculator.AccuracyCalculator(
    include=(score,),
    k=1 if score == "precision_at_1" else "max_bin_count",
    device=torch.device("cpu"),
  )
  return lambda: float(calculator.get_accuracy(embeddings, labels)[score])


STEPS: Mapping[str, Callable[[np.ndarray, np.ndarray], Step]] = {
  "map@r": functools.partial(our_step, "map@r"),
  "recall@1": functools.partial(our_step, "recall@1"),
  "all scores": functools.partial(our_step, ""),
  "pairs": pair_step,
  "distances": product_step,
  "pml_map@r": functools.partial(pml_step, "mean_average_precision_at_r"),
  "pml_recall@1": functools.partial(pml_step, "precision_at_1"),
}


def main(name: str, size: str, repeats: str, limit: str) -> None:
  """Measures one step and prints the results."""
  labels = balanced_labels(parse_size(size))
  step = STEPS[name](make_embeddings(labels), labels)
  resource.setrlimit(resource.RLIMIT_AS, (int(limit), int(limit)))
  print(json.dumps(measure(step, repeats=int(repeats))))


if __name__ == "__main__":
  main(*sys.argv[1:])
