"""A race's loop, the same for each side: training steps, and the recall.

The file imports nothing of the package, so that the peer's process pays for
PyTorch and for nothing else.
"""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

Arrays = Mapping[str, np.ndarray]


class Racer(NamedTuple):
  """What a side has to be able to do.

  Attributes:
    step: rows of a batch and their labels, `[B]` each, to the loss; done when
      it returns.
    embed: embeddings of the images that are evaluated, `[N, D]`.
    parameters: how many weights there are.
    versions: of its libraries.
  """

  step: Callable[[np.ndarray, np.ndarray], float]
  embed: Callable[[], np.ndarray]
  parameters: int
  versions: dict[str, str]


def run_race(
  racer: Racer, asked: Mapping[str, Any], arrays: Arrays
) -> dict[str, Any]:
  """Trains, and looks at the recall on the way.

  Args:
    racer: a side, ready for its first step.
    asked: see `race_side`.
    arrays: `batches` and `labels`, integer `[S, B]`; `eval_labels`.

  Returns:
    `ready` and `end`, seconds since the process was started, the evaluations
    not counted; `steps`, seconds of each, and `work`, the seconds of all cores
    that it took; `evaluations` with `step`, `seconds` (since the start, without
    those before it) and `recall@1`; `evaluating`, the
    seconds of all of them; the last `loss`, `peak_bytes`, and what `Racer` has.
  """
  evaluating = 0.0

  def clock() -> float:
    return time.time() - asked["spawned"] - evaluating

  ready = clock()
  steps, work, evaluations, loss = [], [], [], float("nan")
  for number in range(asked["steps"]):
    start, worked = time.perf_counter(), time.process_time()
    loss = racer.step(arrays["batches"][number], arrays["labels"][number])
    steps.append(time.perf_counter() - start)
    work.append(time.process_time() - worked)
    if number + 1 in asked["evaluate"]:
      before = clock()
      start = time.perf_counter()
      recall = recall_at_1(racer.embed(), arrays["eval_labels"])
      evaluating += time.perf_counter() - start
      evaluations.append(
        {"step": number + 1, "seconds": before, "recall@1": recall}
      )
  return {
    "ready": ready,
    "end": clock(),
    "steps": steps,
    "work": work,
    "evaluations": evaluations,
    "evaluating": evaluating,
    "loss": loss,
    "peak_bytes": peak_bytes(),
    "parameters": racer.parameters,
    "versions": racer.versions,
    "imported": sorted({"jax", "torch"} & sys.modules.keys()),
  }


def recall_at_1(embeddings: np.ndarray, labels: np.ndarray) -> float:
  """How many have an image of their own identity as the nearest other one.

  >>> recall_at_1(np.array([[0.0], [1.0], [3.0]]), np.array([0, 0, 1]))
  0.6666666666666666
  """
  squares = np.sum(np.square(embeddings), axis=1)
  distances = squares[:, None] + squares - 2 * embeddings @ embeddings.T
  np.fill_diagonal(distances, np.inf)
  return float(np.mean(labels[np.argmin(distances, axis=1)] == labels))


def peak_bytes() -> int:
  """The most memory that was resident in this process; 0 where unknown."""
  try:
    status = Path("/proc/self/status").read_text()
  except OSError:
    return 0
  found = re.search(r"VmHWM:\s*(\d+) kB", status)
  return 1024 * int(found[1]) if found else 0
