"""From a config to what the loop runs: data, batches, functions, durations."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from tripletjax.data.caching import Held, free_memory, hold
from tripletjax.data.pipeline import batches
from tripletjax.data.sampling import PKSampler, pk_sampler
from tripletjax.data.sources import Source, identity_counts
from tripletjax.data.turns import QuarterTurns, with_quarter_turns
from tripletjax.errors import UserError
from tripletjax.training import objective, parallel, processes
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
from tripletjax.training.schedule import Schedule, make_schedule
from tripletjax.training.splits import describe_part, open_parts
from tripletjax.training.state import TrainState
from tripletjax.training.step import make_drift_step, make_train_step

# State, an earlier batch, its step from 0, how many were stored before it.
DriftFn = Callable[[TrainState, Any, int, int], float]


class Run(NamedTuple):
  """What the loop needs beside the state; nothing here changes."""

  config: ConfigDict
  workdir: Path
  schedule: Schedule
  train_source: Source
  eval_source: Source
  sampler: PKSampler
  devices: parallel.Devices
  train_step: Callable[..., Any]
  drift: DriftFn | None
  embed: EmbedFn
  measure: MeasureFn
  table: jax.Array | None
  say: Callable[[str], None]

  def load(
    self, start: int, stop: int, *, sampler: Any = None
  ) -> Iterator[Any]:
    """The batches `start` to `stop` of a sampler, on the devices."""
    loaded = parallel.ahead(
      batches(
        self.train_source,
        processes.share(sampler or self.sampler),
        start=start,
        stop=stop,
        pixels=self.table is None,
      ),
      self.devices,
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
    norm=config.model.norm,
  )
  check_mining(config, devices=len(devices))
  check_memory(
    config.memory.size,
    batch=batch_size,
    references=config.parallel.references,
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
  for line in _describe_data(config, train_source, eval_source, schedule):
    say(line)
  say(f"cache: train {held.describe()}; evaluate {held_eval.describe()}")
  if sampler.skipped_groups:
    say(
      f"batch.within: {sampler.skipped_groups} groups have fewer than "
      f"{sampler.identities} identities; their {sampler.skipped_identities} "
      "identities are never drawn"
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
  )
  return Run(
    config=config,
    workdir=workdir,
    schedule=schedule,
    train_source=train_source,
    eval_source=eval_source,
    sampler=sampler,
    devices=devices,
    train_step=parallel.data_parallel(
      train_step,
      devices,
      replicated=(2, 3),
      donate=(0,),
      backend=config.parallel.backend,
    ),
    drift=make_drift(config, devices) if config.memory.size else None,
    embed=make_embed(
      devices,
      batch_size=config.evaluation.batch_size,
      backend=config.parallel.backend,
    ),
    measure=make_measure(config, eval_source),
    table=place_table(held, devices),
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
    ),
    devices,
    replicated=(2, 3, 4),
    backend=config.parallel.backend,
  )
  key = objective.run_key(config)

  def drift(state: TrainState, batch: Any, step: int, before: int) -> float:
    first = before * count % size
    found = run(state, batch, key, jnp.int32(step), jnp.int32(first))
    return float(parallel.first(found))

  return drift


def hold_train(
  config: ConfigDict, source: Source, devices: parallel.Devices
) -> Held:
  """The images to train on, held where the config says."""
  free = parallel.free_memory(devices)
  if free is None:  # the devices of a CPU share its memory
    free = free_memory() // len(parallel.here(devices))
  held = hold(source, where=config.data.cache, free_device=free)
  if config.augment.rotation_classes:
    held = held._replace(source=with_quarter_turns(held.source))
  return held


def place_table(held: Held, devices: parallel.Devices) -> jax.Array | None:
  """All images on each device, `[D, N, H, W, C]`, if they are held there."""
  if held.place != "device":
    return None
  images = held.source.images
  if isinstance(images, QuarterTurns):
    images = images.images
  return parallel.replicate(images, devices)


def make_sampler(config: ConfigDict, source: Source) -> PKSampler:
  """The batches of a config.

  Raises:
    UserError: they don't fit the data.
  """
  return pk_sampler(
    source.labels,
    identities=config.batch.identities,
    images=config.batch.images,
    seed=config.seed,
    groups=source.groups,
    within=config.batch.within,
    weights=config.batch.weights,
  )


def _describe_data(
  config: ConfigDict, train: Source, evaluation: Source, schedule: Schedule
) -> Iterator[str]:
  for role, part, source in (
    ("train", "train", train),
    ("evaluate", "eval", evaluation),
  ):
    split = describe_part(config, part)
    counts = identity_counts(source.labels)
    yield (
      f"{role}: {config.data.name} {split}: {counts.images:,} images of "
      f"{counts.identities:,} identities, {counts.smallest} to "
      f"{counts.largest} each (median {counts.median:g}); {counts.lone} with a "
      "single image, which can't be an anchor"
    )
  common = set(train.label_names) & set(evaluation.label_names)
  yield (
    f"split: {len(common)} of {len(evaluation.label_names)} evaluated "
    "identities were seen in training"
  )
  yield (
    f"batch: {config.batch.identities} identities x {config.batch.images} "
    f"images; {schedule.total} steps"
  )


def config_lines(config: ConfigDict) -> list[str]:
  """`field = value` for every field."""

  def walk(prefix: str, node: Any) -> Iterator[str]:
    for name, value in node.items():
      if hasattr(value, "items"):
        yield from walk(f"{prefix}{name}.", value)
      else:
        yield f"{prefix}{name} = {value!r}"

  return list(walk("", config.to_dict()))
