"""What a run trains on: batches as they come, or mined offline."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from tripletjax.data.pipeline import Batch, load_batch
from tripletjax.data.sources import take
from tripletjax.data.triplets import TripletSampler
from tripletjax.training import objective, processes
from tripletjax.training.explicit import triplets_of
from tripletjax.training.memory import stored_steps
from tripletjax.training.offline import (
  Mined,
  active_share,
  confused_identities,
  mine,
)
from tripletjax.training.setup import Run
from tripletjax.training.state import TrainState


class Feed:
  """The batches of a run, in order; mined anew where the config says so.

  Attributes:
    mined: what the batches are made of; None of a run that doesn't mine.
  """

  def __init__(
    self,
    run: Run,
    start: int,
    stop: int,
    mined: Mined | None,
    *,
    load: Callable[..., Iterator[Any]] | None = None,
  ):
    """Begins with the batch of step `start`, and ends before `stop`.

    Args:
      run: its data.
      start: number of steps done.
      stop: number of steps to come to.
      mined: what was mined last, by step `start`.
      load: `(start, stop)` to batches; the run's own unless given.
    """
    self._load = load or run.load
    self._run = run
    self._stop = stop
    self._every = run.schedule.mining
    self._sampler: Any = run.sampler
    self._batches: Iterator[Any] = iter(())
    self.mined = mined
    if not self._every:
      self._batches = self._load(start, stop)
    elif start % self._every:
      self._open(start)

  def __next__(self) -> Any:
    return next(self._batches)

  def batch(self, step: int) -> Batch:
    """The batch of a step since it was last mined, whole and on the host."""
    return load_batch(self._run.train_source, self._sampler[step])

  def due(self, step: int) -> bool:
    """Whether the set is to be mined before this step, counted from 0."""
    return self._every > 0 and step % self._every == 0

  def mine(self, step: int, state: TrainState) -> dict[str, float]:
    """Mines the set by the weights before a step; the batches change.

    Returns:
      For the log: `mining/active`, the share of what was mined that costs
      something now, and `mining/still_active`, that of what was mined the last
      time and used until now.
    """
    run = self._run
    fields, mined = run.config.mining, nothing_mined(run)
    numbers: dict[str, float] = {}
    embeddings = embed_together(run, state)
    if processes.is_first():
      distance, margin = run.config.loss.distance, run.config.loss.margin
      mined = mine(
        embeddings,
        run.train_source.labels,
        count=fields.negatives,
        distance=distance,
        approximate=fields.approximate,
      )
      for name, found in (("active", mined), ("still_active", self.mined)):
        if found is not None:
          numbers[f"mining/{name}"] = active_share(
            embeddings, found, distance=distance, margin=margin
          )
    self.mined = processes.from_first(mined)
    self._open(step)
    return numbers

  def _open(self, step: int) -> None:
    run, fields, mined = self._run, self._run.config.mining, self.mined
    assert mined is not None
    if fields.name == "offline_triplets":
      self._sampler = TripletSampler(
        mined.positives,
        mined.negatives,
        triplets=triplets_of(run.config),
        seed=run.config.seed,
      )
    else:
      self._sampler = run.sampler.with_neighbours(
        confused_identities(
          run.train_source.labels, mined.negatives, count=fields.neighbours
        )
      )
    end = min(step - step % self._every + self._every, self._stop)
    self._batches = self._load(step, end, sampler=self._sampler)


def embed_together(run: Run, state: TrainState) -> np.ndarray:
  """The training set embedded by the devices of all processes, `[N, D]`."""
  source, size = run.train_source, run.config.evaluation.batch_size
  if processes.is_alone():
    return run.embed(state, source)
  own = processes.blocks_of_this(len(source), size)
  rows = np.zeros((0, run.config.model.dimension), np.float32)
  if len(own):
    rows = run.embed(state, take(source, own))
  return processes.joined(rows, len(source), size)


def nothing_mined(run: Run) -> Mined:
  """What stands for what is mined, by its shapes."""
  size, count = len(run.train_source), run.config.mining.negatives
  return Mined(np.zeros(size, np.int32), np.zeros((size, count), np.int32))


def memory_drift(
  run: Run, state: TrainState, step: int, *, skipped: Sequence[int] = ()
) -> dict[str, float]:
  """How far the oldest and the newest remembered batch have moved.

  Args:
    run: with a memory.
    state: after `step` steps.
    step: number of steps done.
    skipped: those from 1 that changed nothing (`train.on_nonfinite`).
  """
  config = run.config
  skipped = [number - 1 for number in skipped]
  stored = stored_steps(
    step,
    size=config.memory.size,
    batch=config.batch.identities * config.batch.images,
    skipped=skipped,
  )
  if stored is None:
    return {}
  assert run.drift is not None
  key = objective.run_key(config)
  found = {"memory/age": float(step - stored[0])}
  for name, earlier in zip(("drift", "drift_of_newest"), stored, strict=True):
    (batch,) = run.load(earlier, earlier + 1)
    before = earlier - sum(number < earlier for number in skipped)
    found[f"memory/{name}"] = run.drift(state, batch, key, earlier, before)
  return found
