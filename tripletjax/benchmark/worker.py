"""One peer in this process: `python -m tripletjax.benchmark.worker`.

Arguments: the peer's name, the size, the number of repeats, the limit of memory
in bytes. Prints a line of JSON: `samples` (seconds), `peak_bytes` (the memory
that the calls added) and `value`, or `failure`.
"""

from __future__ import annotations

import contextlib
import functools
import json
import re
import resource
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tripletjax.benchmark.data import (
  balanced_labels,
  make_embeddings,
  parse_size,
)
from tripletjax.benchmark.peers import OUT_OF_MEMORY
from tripletjax.benchmark.timing import adaptive

MARGIN = 0.2
# Seconds of calls after which no further one begins.
BUDGET = 60.0

Step = Callable[[], float]


def torch_step(
  loss_fn: Callable[[Any, Any], Any], embeddings: np.ndarray, labels: np.ndarray
) -> Step:
  """Value and gradient by PyTorch."""
  import torch

  leaf = torch.from_numpy(embeddings).requires_grad_()
  identities = torch.from_numpy(labels).long()

  def step() -> float:
    leaf.grad = None
    loss = loss_fn(leaf, identities)
    loss.backward()
    return loss.item()

  return step


def pml_step(miner: str, embeddings: np.ndarray, labels: np.ndarray) -> Step:
  """A miner of pytorch-metric-learning with its triplet loss."""
  from pytorch_metric_learning import distances, losses, miners

  # The embeddings are normalised, so that nobody needs to do it once more.
  distance = distances.LpDistance(power=2, normalize_embeddings=False)
  miner_fn = {
    "all": lambda: miners.TripletMarginMiner(
      MARGIN, type_of_triplets="all", distance=distance
    ),
    "semi_hard": lambda: miners.TripletMarginMiner(
      MARGIN, type_of_triplets="semihard", distance=distance
    ),
    "batch_hard": lambda: miners.BatchHardMiner(distance=distance),
    "distance_weighted": lambda: miners.DistanceWeightedMiner(),
  }[miner]()
  loss_fn = losses.TripletMarginLoss(MARGIN, distance=distance)
  return torch_step(
    lambda x, y: loss_fn(x, y, miner_fn(x, y)), embeddings, labels
  )


def pml_multi_similarity(embeddings: np.ndarray, labels: np.ndarray) -> Step:
  """A loss of all pairs of pytorch-metric-learning, as ours by default."""
  from pytorch_metric_learning import losses

  return torch_step(losses.MultiSimilarityLoss(), embeddings, labels)


def st_step(name: str, embeddings: np.ndarray, labels: np.ndarray) -> Step:
  """A batch loss of sentence-transformers, without its model."""
  from sentence_transformers.sentence_transformer import losses

  metric = losses.BatchHardTripletLossDistanceFunction
  loss_fn = getattr(losses, name)(
    None, functools.partial(metric.euclidean_distance, squared=True), MARGIN
  )
  return torch_step(
    lambda x, y: loss_fn.compute_loss_from_embeddings([x], y),
    embeddings,
    labels,
  )


def tfa_semi_hard(embeddings: np.ndarray, labels: np.ndarray) -> Step:
  """TensorFlow Addons' semi-hard loss, compiled by XLA."""
  import tensorflow as tf
  import tensorflow_addons as tfa

  x, y = tf.constant(embeddings), tf.constant(labels)

  @tf.function(jit_compile=True)
  def value_and_gradient(x: Any) -> tuple[Any, Any]:
    with tf.GradientTape() as tape:
      tape.watch(x)
      loss = tfa.losses.triplet_semihard_loss(
        y, x, margin=MARGIN, distance_metric="squared-L2"
      )
    return loss, tape.gradient(loss, x)

  def step() -> float:
    value, gradient = value_and_gradient(x)
    gradient.numpy()
    return float(value)

  return step


STEPS: Mapping[str, Callable[[np.ndarray, np.ndarray], Step]] = {
  "pml_all": functools.partial(pml_step, "all"),
  "pml_semi_hard": functools.partial(pml_step, "semi_hard"),
  "pml_batch_hard": functools.partial(pml_step, "batch_hard"),
  "pml_distance_weighted": functools.partial(pml_step, "distance_weighted"),
  "pml_multi_similarity": pml_multi_similarity,
  "st_all": functools.partial(st_step, "BatchAllTripletLoss"),
  "st_semi_hard": functools.partial(st_step, "BatchSemiHardTripletLoss"),
  "st_batch_hard": functools.partial(st_step, "BatchHardTripletLoss"),
  "tfa_semi_hard": tfa_semi_hard,
}


def measure(step: Step, *, repeats: int) -> dict[str, Any]:
  """Seconds, memory and value of a step; or that there is no memory."""
  before = peak_bytes(anew=True)
  values = []
  try:
    samples = adaptive(
      lambda: values.append(step()), repeats=repeats, budget=BUDGET
    )
  except Exception as error:  # each library has its own
    if isinstance(error, MemoryError) or re.search(
      "allocate memory|out of memory|bad_alloc", str(error), re.IGNORECASE
    ):
      return {"failure": OUT_OF_MEMORY}
    raise
  return {
    "samples": samples,
    "peak_bytes": peak_bytes() - before,
    "value": values[-1],
  }


def peak_bytes(*, anew: bool = False) -> int:
  """The most memory that was resident so far; from now on where `anew`."""
  if anew:
    with contextlib.suppress(OSError):
      Path("/proc/self/clear_refs").write_text("5")
  # Not ru_maxrss where there is another: on Linux it begins with the peak of
  # the process that started this one.
  with contextlib.suppress(OSError):
    status = Path("/proc/self/status").read_text()
    if found := re.search(r"VmHWM:\s*(\d+) kB", status):
      return 1024 * int(found[1])
  peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
  return peak if sys.platform == "darwin" else 1024 * peak


def main(name: str, size: str, repeats: str, limit: str) -> None:
  """Measures one peer and prints the results."""
  labels = balanced_labels(parse_size(size))
  step = STEPS[name](make_embeddings(labels), labels)
  # After the imports: what is asked is whether the loss fits.
  resource.setrlimit(resource.RLIMIT_AS, (int(limit), int(limit)))
  print(json.dumps(measure(step, repeats=int(repeats))))


if __name__ == "__main__":
  main(*sys.argv[1:])
