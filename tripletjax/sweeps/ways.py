"""Side by side or in turn: what a step of one cell takes, measured."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
from ml_collections import ConfigDict

from tripletjax.sweeps.plans import IN_TURN, TOGETHER
from tripletjax.training import objective, parallel
from tripletjax.training.numbers import program, step_numbers
from tripletjax.training.setup import Run
from tripletjax.training.together import Members

STEPS = 4  # timed, of which the fastest counts


def kind_of(config: ConfigDict) -> str:
  """Equal of configs whose network, images and batches are.

  How a convolution fares under `vmap` depends on these, and not on the miner.
  """
  fields = json.loads(program(config))
  return json.dumps(
    {name: fields[name] for name in ("data", "batch", "model", "augment")},
    sort_keys=True,
  )


def seconds_in_turn(run: Run, *, steps: int = STEPS) -> float:
  """Seconds of a step of one run, compiled before."""
  key, numbers = objective.run_key(run.config), step_numbers(run.config)
  (batch,) = run.load(0, 1)
  state = parallel.replicate(run.create(), run.devices)

  def step() -> Any:
    nonlocal state
    state, metrics = run.train_step(state, batch, key, numbers)
    return metrics

  return _fastest(step, steps)


def seconds_together(
  runs: Sequence[Run], *, members: int, steps: int = STEPS
) -> float:
  """Seconds of a step of one of so many members, compiled before."""
  runs = runs[:members]
  seats = Members(
    runs,
    [jax.device_get(run.create()) for run in runs],
    count=members,
  )
  batches = seats.place([next(run.load_here(0, 1)) for run in runs])
  return _fastest(lambda: seats.step(batches), steps) / members


def measure_ways(runs: Sequence[Run], *, members: int) -> dict[str, float]:
  """Way -> seconds of a step of one cell; each of them compiles a program."""
  return {
    IN_TURN: seconds_in_turn(runs[0]),
    TOGETHER: seconds_together(runs, members=members),
  }


def faster(seconds: Mapping[str, float]) -> str:
  """The way to take, of way -> seconds of a step of one cell.

  >>> faster({"in_turn": 0.2, "together": 0.2})
  'together'
  """
  return TOGETHER if seconds[TOGETHER] <= seconds[IN_TURN] else IN_TURN


def _fastest(step: Callable[[], Any], steps: int) -> float:
  jax.block_until_ready(step())
  taken = []
  for _ in range(steps):
    start = time.perf_counter()
    jax.block_until_ready(step())
    taken.append(time.perf_counter() - start)
  return min(taken)
