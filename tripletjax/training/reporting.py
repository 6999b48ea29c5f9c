"""What a run tells of its steps: the log, evaluations, and why it stops."""

from __future__ import annotations

import bisect
from typing import Any, NoReturn

import numpy as np

from tripletjax import checkpoint, heap, writers
from tripletjax.errors import DivergedError
from tripletjax.training import health, processes, progress
from tripletjax.training.feeding import Feed, memory_drift
from tripletjax.training.health import Health, Verdict
from tripletjax.training.progress import Progress
from tripletjax.training.setup import Run
from tripletjax.training.timing import Stopwatch


def judge(
  run: Run, so_far: Health, rows: list[dict[str, Any]], step: int
) -> Verdict:
  """What the numbers of the steps up to `step` say; says what is to be said."""
  verdict = health.judge(
    so_far,
    rows,
    first=step - len(rows) + 1,
    fields=run.config.train,
    window=run.schedule.log,
  )
  for warning in verdict.warnings:
    run.say(warning)
  return verdict


def stop(
  run: Run,
  feed: Feed,
  checkpoints: checkpoint.Checkpoints | None,
  verdict: Verdict,
) -> NoReturn:
  """Ends the run for its numbers; all processes come here."""
  said = ""
  if checkpoints:
    path = progress.save_batch(
      run.workdir, verdict.step, feed.batch(verdict.step - 1)
    )
    said = f"its batch is in {path}; {progress.last_good(checkpoints)}"
  said = processes.text_from_first(said)
  raise DivergedError(f"{verdict.reason}, at step {verdict.step}; {said}")


def evaluate(
  run: Run, now: Progress, watch: Stopwatch, write: writers.WriteFn
) -> Progress:
  """Measures the network in between; by the first process."""
  if run.drift:
    with watch.time("evaluation"):
      moved = memory_drift(run, now.state, now.step, skipped=now.health.skipped)
    write(now.step, moved)
  if not processes.is_first():
    return now
  with watch.time("evaluation"):
    numbers = progress.evaluate(run, now.state)
    # No step needs what an evaluation has left free.
    heap.give_back()
  taken = {"seconds/evaluation": watch.lap()["evaluation"]}
  write(now.step, {f"eval/{name}": x for name, x in numbers.items()} | taken)
  return now._replace(best=progress.better(run, now.best, now.step, numbers))


def log(
  write: writers.WriteFn,
  bar: Any,
  verdict: Verdict,
  rows: list[dict[str, np.ndarray]],
  step: int,
  lap: dict[str, float],
  run: Run,
) -> None:
  """Writes every step's numbers; shows the last ones on the bar."""
  images = len(rows) * run.sampler.identities * run.sampler.images
  seconds = lap["input"] + lap["step"]
  rate = images / seconds
  clocks = {
    "images_per_second": rate,
    "seconds/input": lap["input"] / len(rows),
    "seconds/step": lap["step"] / len(rows),
  }
  for number, row in enumerate(rows, start=step - len(rows) + 1):
    numbers = {name: float(value) for name, value in row.items()}
    if run.config.train.on_nonfinite == "skip":
      skipped = bisect.bisect_right(verdict.health.skipped, number)
      numbers["skipped"] = float(skipped)
    write(number, numbers | clocks)
    if number == verdict.step:  # what comes after it follows from it
      break
  bar.set_postfix_str(
    f"loss {float(rows[-1]['loss']):.4f}, "
    f"active {float(rows[-1]['active_share']):.1%}, {rate:,.0f} images/s, "
    f"input {lap['input'] / seconds:.0%}",
    refresh=False,
  )
  bar.update(len(rows))
