"""Steps of cells that share a program, and how often that was traced."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax

from tripletjax.training import objective, parallel
from tripletjax.training.numbers import step_numbers
from tripletjax.training.setup import Run
from tripletjax.training.together import Members


class Firsts(NamedTuple):
  """The first steps of cells, one after another.

  Attributes:
    seconds: of each, with what was compiled for it.
    programs: traced up to and with each.
  """

  seconds: list[float]
  programs: list[int]


class Together(NamedTuple):
  """Cells that step at once.

  Attributes:
    step: of all of them.
    first: seconds of the first one, with what was compiled for it.
    programs: how many were traced so far.
  """

  step: Callable[[], object]
  first: float
  programs: Callable[[], int]


class Traced:
  """A step that counts how often it is traced: once for each program."""

  def __init__(self, step: Callable[..., Any]) -> None:
    """Wraps a step."""
    self.count = 0

    @functools.wraps(step)
    def counted(*arguments: Any) -> Any:
      self.count += 1
      return step(*arguments)

    self.step = counted


def same_program(runs: Sequence[Run]) -> list[tuple[Run, Traced]]:
  """The runs with one step for all of them that wasn't compiled yet."""
  traced = Traced(runs[0].step)
  step = parallel.data_parallel(
    traced.step,
    runs[0].devices,
    replicated=(2, 3),
    donate=(0,),
    backend=runs[0].config.parallel.backend,
  )
  return [(run._replace(train_step=step), traced) for run in runs]


def first_steps(cells: Sequence[tuple[Run, Traced]]) -> Firsts:
  """Takes the first step of each cell, one after another."""
  found = Firsts([], [])
  # Of the cells that share theirs, a program counts once.
  counters = list({id(traced): traced for _, traced in cells}.values())
  for run, _ in cells:
    step = step_in_turn(run, 1)
    found.seconds.append(_seconds(step))
    found.programs.append(sum(traced.count for traced in counters))
  return found


def programs_of(cells: Sequence[tuple[Run, Traced]]) -> list[int]:
  """Programs traced up to and with each cell; none of them is compiled."""
  found = []
  counters = list({id(traced): traced for _, traced in cells}.values())
  for run, _ in cells:
    (batch,) = run.load(0, 1)
    state = parallel.replicate(run.create(), run.devices)
    step: Any = run.train_step  # compiled as a whole: pmap, or jit
    step.lower(
      state, batch, objective.run_key(run.config), step_numbers(run.config)
    )
    found.append(sum(traced.count for traced in counters))
  return found


def step_in_turn(run: Run, times: int) -> Callable[[], object]:
  """A call for so many steps of one run, one after another."""
  key, numbers = objective.run_key(run.config), step_numbers(run.config)
  (batch,) = run.load(0, 1)
  state = parallel.replicate(run.create(), run.devices)
  jax.block_until_ready((batch, state))

  def step() -> object:
    nonlocal state
    for _ in range(times):
      state, metrics = run.train_step(state, batch, key, numbers)
      # A run's log is read now and then, not at each step.
    return jax.block_until_ready(metrics)

  return step


def step_together(runs: Sequence[Run]) -> Together:
  """One step of all runs, side by side in a program of their own."""
  traced = Traced(runs[0].step)
  seats = Members(
    [run._replace(step=traced.step) for run in runs],
    [jax.device_get(run.create()) for run in runs],
    count=len(runs),
  )
  batches = seats.place([next(run.load_here(0, 1)) for run in runs])
  jax.block_until_ready((batches, seats.state))

  def step() -> object:
    return jax.block_until_ready(seats.step(batches))

  return Together(step, _seconds(step), lambda: traced.count)


def _seconds(step: Callable[[], object]) -> float:
  start = time.perf_counter()
  step()
  return time.perf_counter() - start
