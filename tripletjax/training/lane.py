"""A run on its way: what is done between its steps."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from tripletjax import checkpoint, writers
from tripletjax.training import processes, progress, reporting, run_folder
from tripletjax.training.feeding import Feed
from tripletjax.training.progress import Progress
from tripletjax.training.setup import Run
from tripletjax.training.state import TrainState
from tripletjax.training.timing import Stopwatch


class Lane:
  """A run, its log and its checkpoints; it doesn't run the steps itself.

  Attributes:
    run: its config and data.
    now: where it stands, by the last pause; its state by the last one that
      evaluated or saved.
    watch: its clocks.
    write: to its log.
  """

  def __init__(
    self,
    run: Run,
    begun: Progress,
    checkpoints: checkpoint.Checkpoints | None,
    feed: Feed,
    *,
    stop: int,
    write: writers.WriteFn,
    bar: Any,
  ) -> None:
    """Goes on from `begun`.

    Args:
      run: its config and data.
      begun: where it stands.
      checkpoints: to save to, unless another process does.
      feed: its batches.
      stop: number of steps to come to.
      write: to its log.
      bar: shows its progress.
    """
    self.run, self.now, self.write = run, begun, write
    self.watch = Stopwatch(begun.timers)
    self._checkpoints, self._feed, self._bar = checkpoints, feed, bar
    self._first, self._stop = begun.step + 1, stop

  def pauses(self, step: int) -> bool:
    """Whether something is to be done after a step, for which it is awaited."""
    schedule = self.run.schedule
    return (
      self._due(step, schedule.evaluate)
      or self._saving(step)
      or self._due(step, schedule.log)
      # The first step compiles: it is a lap of its own.
      or step == self._first
      or self._feed.due(step)
    )

  def pause(
    self,
    step: int,
    state: Callable[[], TrainState],
    rows: Sequence[dict[str, np.ndarray]],
    asked: Callable[[], str],
  ) -> None:
    """Logs, judges, evaluates and saves, whatever is due after a step.

    Args:
      step: that was the last one.
      state: that after it, on the devices; asked for where it is needed.
      rows: the numbers of each step since the last pause.
      asked: the signal that asked to stop, or "".

    Raises:
      UserError: the numbers went wrong, or the folder can't be written.
    """
    run, watch = self.run, self.watch
    rows = list(rows)
    lap = watch.lap()
    verdict = reporting.judge(run, self.now.health, rows, step)
    reporting.log(self.write, self._bar, verdict, rows, step, lap, run)
    if verdict.step:
      reporting.stop(run, self._feed, self._checkpoints, verdict)
    now = self.now._replace(
      step=step,
      mined=self._feed.mined,
      seconds=self.now.seconds + lap["input"] + lap["step"] + lap["mining"],
      timers=watch.total,
      health=verdict.health,
    )
    saving = self._saving(step)
    evaluating = self._due(step, run.schedule.evaluate)
    if evaluating or saving:
      now = now._replace(state=state())
    if evaluating:
      now = reporting.evaluate(run, now, watch, self.write)
    # Several processes can't but stop at the same step.
    if processes.any_of(bool(asked())):
      now = now._replace(stopped=asked() or "a signal", state=state())
    if self._checkpoints and (saving or now.stopped or now.best.step == step):
      with watch.time("checkpoint"):
        progress.save(run, self._checkpoints, now)
      taken = watch.lap()["checkpoint"]
      if saving:  # a stop leaves no line that a whole run lacks
        self.write(step, {"seconds/checkpoint": taken})
    self.now = now if step < self._stop else now._replace(stopped="")

  def _saving(self, step: int) -> bool:
    return self._due(step, self.run.schedule.checkpoint) or step == self._stop

  def _due(self, step: int, every: int) -> bool:
    total = self.run.schedule.total
    return every > 0 and (step % every == 0 or step == total)


@contextlib.contextmanager
def open_folder(run: Run) -> Iterator[checkpoint.Checkpoints | None]:
  """The run's folder, claimed, with its checkpoints; in the first process.

  Raises:
    UserError: it can't be written, another process trains in it, or it holds a
      run of another config.
  """
  if not processes.is_first():
    yield None
    return
  folder, config = run.workdir, run.config
  with (
    run_folder.claimed(folder, config),
    checkpoint.saving(folder / "checkpoints"),
  ):
    run_folder.note_data(folder, run.train_source)
    with checkpoint.open_checkpoints(
      folder / "checkpoints", keep=config.checkpoint.keep, say=run.say
    ) as checkpoints:
      yield checkpoints


@contextlib.contextmanager
def open_lane(
  run: Run,
  begun: Progress,
  checkpoints: checkpoint.Checkpoints | None,
  feed: Feed,
  *,
  stop: int,
  bar: bool = True,
) -> Iterator[Lane]:
  """A run from where it stands, with its log open.

  Args:
    run: its config and data.
    begun: where it stands.
    checkpoints: to save to, unless another process does.
    feed: its batches.
    stop: number of steps to come to.
    bar: show its progress.
  """
  quiet = not processes.is_first()
  with (
    writers.metrics_writer(run.workdir, start=begun.step, quiet=quiet) as write,
    writers.progress_bar(
      run.schedule.total, start=begun.step, quiet=quiet or not bar
    ) as shown,
  ):
    yield Lane(run, begun, checkpoints, feed, stop=stop, write=write, bar=shown)
