"""What a run trains on: batches as they come, or mined offline."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from tripletjax.data.triplets import TripletSampler
from tripletjax.errors import UserError
from tripletjax.training import processes
from tripletjax.training.explicit import triplets_of
from tripletjax.training.memory import stored_steps
from tripletjax.training.offline import (
  Mined,
  active_share,
  confused_identities,
  load_mined,
  mine,
  save_mined,
)
from tripletjax.training.setup import Run
from tripletjax.training.state import TrainState


class Feed:
  """The batches of a run, in order; mined anew where the config says so."""

  def __init__(self, run: Run, start: int, stop: int):
    """Begins with the batch of step `start`, and ends before `stop`."""
    self._run = run
    self._stop = stop
    self._every = run.schedule.mining
    self._folder = run.workdir / "mining"
    self._batches: Iterator[Any] = iter(())
    if not self._every:
      self._batches = run.load(start, stop)
    elif start % self._every:
      self._open(start, self._saved(start - start % self._every))

  def __next__(self) -> Any:
    return next(self._batches)

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
    fields, mined = run.config.mining, self._nothing()
    numbers: dict[str, float] = {}
    if processes.is_first():
      embeddings = run.embed(state, run.train_source)
      distance, margin = run.config.loss.distance, run.config.loss.margin
      mined = mine(
        embeddings,
        run.train_source.labels,
        count=fields.negatives,
        distance=distance,
        approximate=fields.approximate,
      )
      earlier = load_mined(self._folder, step - self._every)
      for name, found in (("active", mined), ("still_active", earlier)):
        if found is not None:
          numbers[f"mining/{name}"] = active_share(
            embeddings, found, distance=distance, margin=margin
          )
      save_mined(self._folder, step, mined)
    self._open(step, processes.from_first(mined))
    return numbers

  def _open(self, step: int, mined: Mined) -> None:
    run, fields = self._run, self._run.config.mining
    sampler: Any = run.sampler
    if fields.name == "offline_triplets":
      sampler = TripletSampler(
        mined.positives,
        mined.negatives,
        triplets=triplets_of(run.config),
        seed=run.config.seed,
      )
    else:
      sampler = sampler.with_neighbours(
        confused_identities(
          run.train_source.labels, mined.negatives, count=fields.neighbours
        )
      )
    end = min(step - step % self._every + self._every, self._stop)
    self._batches = run.load(step, end, sampler=sampler)

  def _saved(self, step: int) -> Mined:
    mined = load_mined(self._folder, step) if processes.is_first() else None
    if processes.is_first() and mined is None:
      raise UserError(
        f"--workdir: {self._folder / f'{step}.npz'} is missing, which the run "
        "goes on with; start again in another folder"
      )
    return processes.from_first(mined or self._nothing())

  def _nothing(self) -> Mined:
    """What stands for the first process's in the others."""
    size = len(self._run.train_source)
    count = self._run.config.mining.negatives
    return Mined(np.zeros(size, np.int32), np.zeros((size, count), np.int32))


def memory_drift(run: Run, state: TrainState, step: int) -> dict[str, float]:
  """How far the oldest and the newest remembered batch have moved."""
  config = run.config
  oldest, newest = stored_steps(
    step,
    size=config.memory.size,
    batch=config.batch.identities * config.batch.images,
  )
  assert run.drift is not None
  found = {"memory/age": float(step - oldest)}
  for name, earlier in (("drift", oldest), ("drift_of_newest", newest)):
    (batch,) = run.load(earlier, earlier + 1)
    found[f"memory/{name}"] = run.drift(state, batch, earlier)
  return found
