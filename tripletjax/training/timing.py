"""Where the time of a run goes: by part in the log, by operation in a trace."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import jax

from tripletjax.errors import UserError

# Waiting for the next batch; running the step and waiting for its results;
# mining offline; evaluating; as long as saving holds up training.
PARTS = ("input", "step", "mining", "evaluation", "checkpoint")


class Stopwatch:
  """Seconds of each of `PARTS`: since the last lap, and in all."""

  def __init__(self, total: Mapping[str, float] | None = None) -> None:
    """Goes on from the total of earlier starts."""
    self.total = dict.fromkeys(PARTS, 0.0) | dict(total or {})
    self._lap = dict.fromkeys(PARTS, 0.0)
    self._first = 0.0

  @contextlib.contextmanager
  def time(self, part: str) -> Iterator[None]:
    """Adds the time of its block to a part, and names it in a trace."""
    start = time.perf_counter()
    with jax.profiler.TraceAnnotation(part):
      yield
    self.add(part, time.perf_counter() - start)

  def add(self, part: str, seconds: float) -> None:
    """Adds seconds that were measured elsewhere."""
    self._lap[part] += seconds

  def lap(self) -> dict[str, float]:
    """Seconds of each part since the last call."""
    lap, self._lap = self._lap, dict.fromkeys(PARTS, 0.0)
    for part, seconds in lap.items():
      self.total[part] += seconds
    self._first = self._first or lap["step"]
    return lap

  def describe(self) -> str:
    """The parts in words, for people."""
    whole = sum(self.total.values()) or 1.0
    shares = (
      f"{part} {seconds:.1f} s ({seconds / whole:.0%})"
      for part, seconds in self.total.items()
      if seconds or part != "mining"
    )
    return (
      f"time: {', '.join(shares)}; "
      f"the first step, with compiling, {self._first:.1f} s"
    )


def parse_steps(text: str) -> tuple[int, int]:
  """The first and the last step of `--profile_steps`.

  Raises:
    UserError: these are not two steps in their order.

  >>> parse_steps("10,20")
  (10, 20)
  """
  try:
    first, last = (int(part) for part in text.split(","))
  except ValueError:
    first, last = 0, 0
  if not 1 <= first <= last:
    raise UserError(
      "--profile_steps: expected the first and the last step, such as 10,20, "
      f"got {text!r}"
    )
  return first, last


@contextlib.contextmanager
def tracing(
  folder: Path,
  steps: tuple[int, int] | None,
  *,
  run: tuple[int, int],
  say: Callable[[str], None],
) -> Iterator[Callable[[int, Any], None]]:
  """Writes a trace of some steps, for TensorBoard and Perfetto.

  Args:
    folder: where it goes.
    steps: the first and the last step; None writes nothing.
    run: the first and the last step that are run now.
    say: is told where the trace lies.

  Yields:
    What is to be called before each step, with its number and the state; it
    waits for the state where the trace begins or ends.

  Raises:
    UserError: none of the steps is run.
  """
  if steps is None:
    yield lambda step, state: None
    return
  first, last = max(steps[0], run[0]), min(steps[1], run[1])
  if first > last:
    raise UserError(
      f"--profile_steps: expected steps from {run[0]} to {run[1]}, which are "
      f"run now, got {steps[0]},{steps[1]}"
    )
  running = False

  def stop() -> None:
    nonlocal running
    jax.profiler.stop_trace()
    running = False
    say(f"profile: steps {first} to {last} in {folder}")

  def before(step: int, state: Any) -> None:
    nonlocal running
    if step == first:
      # What came before is not to be seen.
      jax.block_until_ready(state)
      jax.profiler.start_trace(folder, create_perfetto_trace=True)
      running = True
    if running and step == last + 1:
      jax.block_until_ready(state)
      stop()

  try:
    yield before
  finally:
    # The last step of the run, or an error in between.
    if running:
      stop()
