"""Steps with freed memory kept, or given back, in this process.

`python -m tripletjax.benchmark.heap_worker kept|given_back FILE`: a JSON file
of `config` and `image_shape`, or of `size` for a loss alone, and of `repeats`.
Prints a line of JSON: `seconds` (samples), `faults` (pages that came in, a
step), `peak_bytes` (the most that was resident while stepping).
"""

from __future__ import annotations

import json
import resource
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
from ml_collections import ConfigDict

import tripletjax
from tripletjax.benchmark.caching_worker import step_arguments, training_step
from tripletjax.benchmark.data import (
  balanced_labels,
  make_embeddings,
  parse_size,
)
from tripletjax.benchmark.timing import adaptive
from tripletjax.benchmark.worker import peak_bytes
from tripletjax.heap import keep_freed
from tripletjax.training import parallel

# Seconds after which no further sample begins, and steps before the first.
BUDGET, WARMUP = 20.0, 5


def training(asked: dict[str, Any]) -> Callable[[], object]:
  """Steps of a training, one after another, on random images."""
  config = ConfigDict(asked["config"])
  devices = parallel.local_devices()[:1]
  train_step = training_step(config, devices, donate=(0,))
  shape = tuple(asked["image_shape"])
  state, *others = step_arguments(config, shape, devices)

  def step() -> object:
    nonlocal state
    state, metrics = train_step(state, *others)
    return jax.block_until_ready(metrics)

  return step


def loss(size: str) -> Callable[[], object]:
  """Value and gradient of the loss over all triplets."""
  labels = balanced_labels(parse_size(size))
  embeddings = jax.numpy.asarray(make_embeddings(labels))

  @jax.jit
  def of(embeddings: jax.Array) -> tuple[jax.Array, jax.Array]:
    return jax.value_and_grad(
      lambda x: tripletjax.mined_triplet_loss(x, labels, miner="all")[0]
    )(embeddings)

  return lambda: jax.block_until_ready(of(embeddings))


def main(way: str, path: str) -> None:
  """Measures what the file asks for and prints the results."""
  if way == "kept":
    keep_freed()
  asked = json.loads(Path(path).read_text())
  step = loss(asked["size"]) if "size" in asked else training(asked)
  for _ in range(WARMUP):
    step()
  peak_bytes(anew=True)
  before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
  samples = adaptive(step, repeats=asked["repeats"], budget=BUDGET)
  faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
  found = {
    "seconds": samples,
    # The first one, which isn't a sample, was a step too.
    "faults": faults / (len(samples) + 1),
    "peak_bytes": peak_bytes(),
  }
  print(json.dumps(found))


if __name__ == "__main__":
  main(*sys.argv[1:])
