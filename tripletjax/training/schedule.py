"""The durations of a config in steps."""

from __future__ import annotations

from typing import NamedTuple

from ml_collections import ConfigDict

from tripletjax.training.duration import to_steps


class Schedule(NamedTuple):
  """The durations of a config in steps; 0 is never."""

  total: int
  warmup: int
  decay: int
  log: int
  evaluate: int
  checkpoint: int
  next_miner: int
  margin: int
  memory: int
  mining: int


def make_schedule(config: ConfigDict, batches_per_epoch: int) -> Schedule:
  """The config's durations in steps.

  Raises:
    UserError: one of them is not a duration.
  """

  def steps(field: str, value: str, total: int | None = None) -> int:
    return to_steps(
      value,
      field=field,
      batch_size=config.batch.identities * config.batch.images,
      steps_per_epoch=batches_per_epoch,
      total_steps=total,
    )

  total = steps("train.duration", config.train.duration)
  mining = max(steps("mining.every", config.mining.every, total), 1)
  return Schedule(
    total=total,
    warmup=steps("optimizer.warmup", config.optimizer.warmup, total),
    decay=steps("optimizer.decay_after", config.optimizer.decay_after, total),
    log=max(steps("log.every", config.log.every, total), 1),
    evaluate=steps("evaluation.every", config.evaluation.every, total),
    checkpoint=steps("checkpoint.every", config.checkpoint.every, total),
    next_miner=steps("loss.next_after", config.loss.next_after, total),
    margin=max(
      steps("loss.margin_duration", config.loss.margin_duration, total), 1
    ),
    memory=steps("memory.start", config.memory.start, total),
    mining=mining if config.mining.name.startswith("offline") else 0,
  )
