"""Timing of several calls beside each other, so that their ratios are true.

A machine's speed drifts: calls that are timed one after the other, each as
often as wanted, are compared at different speeds. Here each pass times every
call once, forwards and backwards in turn (A B C, C B A, ...).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping

# A sample takes at least this long, in seconds: of a faster call it is the mean
# over several. Below, the clock and the dispatch are what is measured.
SAMPLE = 0.02


def interleaved(
  calls: Mapping[str, Callable[[], object]],
  *,
  repeats: int,
  clock: Callable[[], float] = time.perf_counter,
) -> dict[str, list[float]]:
  """Seconds of each call, `repeats` samples each.

  Args:
    calls: each is done when it returns.
    repeats: number of passes over all calls.
    clock: seconds.
  """

  def seconds(name: str, times: int) -> float:
    start = clock()
    for _ in range(times):
      calls[name]()
    return (clock() - start) / times

  def often(name: str) -> int:
    seconds(name, 1)  # what happens only once: a compilation, a first touch
    return math.ceil(SAMPLE / max(seconds(name, 1), SAMPLE / 1000))

  times = {name: often(name) for name in calls}
  samples: dict[str, list[float]] = {name: [] for name in calls}
  order = list(calls)
  for _ in range(repeats):
    for name in order:
      samples[name].append(seconds(name, times[name]))
    order.reverse()
  return samples


def adaptive(
  call: Callable[[], object],
  *,
  repeats: int,
  budget: float,
  clock: Callable[[], float] = time.perf_counter,
) -> list[float]:
  """Seconds of a call that may be slow.

  The first call is a warm-up and isn't among them, unless it alone took the
  budget.

  Args:
    call: done when it returns.
    repeats: number of samples, at most.
    budget: seconds after which no further call begins.
    clock: seconds.
  """
  samples: list[float] = []
  while len(samples) <= repeats and sum(samples) < budget:
    start = clock()
    call()
    samples.append(clock() - start)
  return samples[1:] or samples
