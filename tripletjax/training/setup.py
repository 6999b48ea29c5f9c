"""From a config to what the loop runs: data, batches, functions, durations."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from tripletjax.data.augment import OF_IDENTITIES
from tripletjax.data.caching import hold
from tripletjax.data.pipeline import batches
from tripletjax.data.sampling import PKSampler
from tripletjax.data.sources import Source
from tripletjax.errors import UserError
from tripletjax.training import numbers, objective, parallel, processes
from tripletjax.training.chunks import check_chunk
from tripletjax.training.evaluation import (
  EmbedFn,
  MeasureFn,
  make_embed,
  make_measure,
)
from tripletjax.training.explicit import check_mining, triplets_of
from tripletjax.training.limits import check_sizes
from tripletjax.training.memory import check_memory
from tripletjax.training.network import check_places, make_model, uses_batch
from tripletjax.training.optimizer import make_optimizer
from tripletjax.training.run_data import (
  config_lines,
  describe_data,
  hold_train,
  make_sampler,
  place_table,
)
from tripletjax.training.schedule import Schedule, make_schedule
from tripletjax.training.splits import describe_part, open_parts
from tripletjax.training.starting import StartFn, prepare_start
from tripletjax.training.state import TrainState, state_maker
from tripletjax.training.step import make_drift_step, make_train_step
from tripletjax.training.views import make_evaluated_views

# State, an earlier batch, the run's key, the batch's step from 0, how many were
# stored before it.
DriftFn = Callable[[TrainState, Any, jax.Array, int, int], float]


class Run(NamedTuple):
  """What the loop needs beside the state; nothing here changes."""

  config: ConfigDict
  workdir: Path
  schedule: Schedule
  train_source: Source
  eval_source: Source
  sampler: PKSampler
  devices: parallel.Devices
  new_state: Callable[[jax.Array, dict[str, float]], TrainState]
  start: StartFn
  step: Callable[..., Any]  # of one device
  train_step: Callable[..., Any]
  drift: DriftFn | None
  embed: EmbedFn
  embed_views: EmbedFn  # to evaluate
  measure: MeasureFn
  table: jax.Array | None
  say: Callable[[str], None]

  def create(self) -> TrainState:
    """A fresh state, on one device, as the seed makes it.

    Training begins with what `start` makes of it.
    """
    return self.new_state(
      jax.random.fold_in(jax.random.key(self.config.seed), 0),
      objective.loss_parameters(self.config),
    )

  def load_here(
    self, start: int, stop: int, *, sampler: Any = None
  ) -> Iterator[Any]:
    """The batches `start` to `stop` of a sampler, on the host."""
    return batches(
      self.train_source,
      processes.share(sampler or self.sampler),
      start=start,
      stop=stop,
      pixels=self.table is None,
    )

  def load(
    self, start: int, stop: int, *, sampler: Any = None
  ) -> Iterator[Any]:
    """The batches `start` to `stop` of a sampler, on the devices."""
    loaded = parallel.ahead(
      self.load_here(start, stop, sampler=sampler), self.devices
    )
    if self.table is None:
      return loaded
    return ({"table": self.table, **batch} for batch in loaded)


def prepare_run(
  config: ConfigDict,
  workdir: Path,
  data_dir: Path,
  devices: parallel.Devices,
  say: Callable[[str], None],
) -> Run:
  """Opens the data and builds the functions of a run."""
  say(f"devices: {parallel.describe_devices(devices)}")
  say("config:\n" + "\n".join(f"  {line}" for line in config_lines(config)))
  batch_size = config.batch.identities * config.batch.images
  parallel.check_divisible(
    batch_size, "batch.identities x batch.images", len(devices)
  )
  share = batch_size // len(devices)
  if config.mining.name == "offline_triplets":
    share = 3 * triplets_of(config) // len(devices)
  check_chunk(
    config.batch.chunk,
    share=share,
    uses_batch=uses_batch(config.model),
  )
  check_mining(config, devices=len(devices))
  check_memory(
    config.memory.size,
    batch=batch_size,
    references=config.parallel.references,
    warped=not set(OF_IDENTITIES).isdisjoint(objective.augmentations(config)),
  )
  parallel.check_divisible(
    config.evaluation.batch_size,
    "evaluation.batch_size",
    len(parallel.here(devices)),
  )
  with processes.first_goes_first():  # who prepares a set that isn't there
    train_part, eval_part = open_parts(config, data_dir)
  check_sizes(config, train_part.image_shape, len(train_part))
  held = hold_train(config, train_part, devices)
  train_source = held.source
  held_eval = hold(eval_part, where=config.data.cache)
  eval_source = held_eval.source
  if max(config.evaluation.ks) >= len(eval_source):
    raise UserError(
      f"evaluation.ks: expected ranks below the {len(eval_source)} images "
      f"{describe_part(config, 'eval')}, got {max(config.evaluation.ks)}"
    )
  sampler = make_sampler(config, train_source)
  schedule = make_schedule(config, sampler.batches_per_epoch)
  for line in describe_data(config, train_source, eval_source, schedule):
    say(line)
  say(f"cache: train {held.describe()}; evaluate {held_eval.describe()}")
  if sampler.skipped_groups:
    say(
      f"batch.within: {sampler.skipped_groups} groups have fewer than "
      f"{sampler.identities} identities; their {sampler.skipped_identities} "
      "identities are never drawn"
    )
  make = functools.partial(
    make_embed,
    devices,
    batch_size=config.evaluation.batch_size,
    backend=config.parallel.backend,
  )
  embed, views = make(), make_evaluated_views(config)
  embed_views = make(views=views) if views else embed
  model = make_model(config, axis_name=parallel.AXIS)
  check_places(model, train_part.image_shape)
  make_tx = functools.partial(
    make_optimizer,
    config,
    total_steps=schedule.total,
    warmup_steps=schedule.warmup,
    decay_start=schedule.decay,
  )
  train_step = make_train_step(
    objective.make_loss(
      config,
      next_after=schedule.next_miner,
      margin_steps=schedule.margin,
    ),
    objective.make_augment(config),
    axis_name=parallel.AXIS,
    chunk=config.batch.chunk,
    ema=config.optimizer.ema,
    memory_start=schedule.memory,
    skip_nonfinite=config.train.on_nonfinite == "skip",
    norm_frozen=config.model.norm_frozen,
    freeze=config.optimizer.freeze,
    optimizer_fn=make_tx,
  )
  return Run(
    config=config,
    workdir=workdir,
    schedule=schedule,
    train_source=train_source,
    eval_source=eval_source,
    sampler=sampler,
    devices=devices,
    new_state=state_maker(
      model,
      make_tx(),
      image_shape=train_source.image_shape,
      averaged=config.optimizer.ema > 0,
      memory_shape=(config.memory.size, config.model.dimension),
    ),
    start=prepare_start(config, model, train_source.image_shape, workdir, say),
    step=train_step,
    train_step=parallel.data_parallel(
      train_step,
      devices,
      replicated=(2, 3),
      donate=(0,),
      backend=config.parallel.backend,
    ),
    drift=make_drift(config, devices) if config.memory.size else None,
    embed=embed,
    embed_views=embed_views,
    measure=make_measure(config, eval_source),
    table=place_table(held, devices),
    say=say,
  )


def run_of(
  run: Run, config: ConfigDict, workdir: Path, say: Callable[[str], None]
) -> Run:
  """Another run of the same program: nothing is opened or compiled anew.

  Args:
    run: a prepared one.
    config: of the other one; it differs in `numbers.NUMBERS` at most.
    workdir: its folder.
    say: is given lines for people.
  """
  assert numbers.program(config) == numbers.program(run.config)
  return run._replace(
    config=config,
    workdir=workdir,
    sampler=make_sampler(config, run.train_source),
    say=say,
  )


def make_drift(config: ConfigDict, devices: parallel.Devices) -> DriftFn:
  """How far an earlier batch has moved, measured on all devices."""
  size = config.memory.size
  count = config.batch.identities * config.batch.images
  run = parallel.data_parallel(
    make_drift_step(
      objective.make_augment(config),
      axis_name=parallel.AXIS,
      chunk=config.batch.chunk,
      norm_frozen=config.model.norm_frozen,
    ),
    devices,
    replicated=(2, 3, 4),
    backend=config.parallel.backend,
  )

  def drift(
    state: TrainState, batch: Any, key: jax.Array, step: int, before: int
  ) -> float:
    first = before * count % size
    found = run(state, batch, key, jnp.int32(step), jnp.int32(first))
    return float(parallel.first(found))

  return drift
