"""What a run trains on: the images where they are held, and who is drawn."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import jax
from ml_collections import ConfigDict

from tripletjax.data.caching import Held, free_memory, hold
from tripletjax.data.sampling import PKSampler, pk_sampler
from tripletjax.data.sources import Source, identity_counts
from tripletjax.data.turns import QuarterTurns, with_quarter_turns
from tripletjax.training import parallel
from tripletjax.training.schedule import Schedule
from tripletjax.training.splits import describe_part


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


def describe_data(
  config: ConfigDict, train: Source, evaluation: Source, schedule: Schedule
) -> Iterator[str]:
  """The data, its split and the batches in words, for people."""
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
