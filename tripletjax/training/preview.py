"""What the network sees of a training batch, to be looked at."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from ml_collections import ConfigDict

from tripletjax.data.augment import AUGMENTATIONS
from tripletjax.data.pipeline import load_batch
from tripletjax.errors import UserError
from tripletjax.training import objective, parallel
from tripletjax.training.limits import check_sizes
from tripletjax.training.run_data import hold_train, make_sampler
from tripletjax.training.splits import describe_part, open_part
from tripletjax.training.step import network_input, step_keys


class Sheet(NamedTuple):
  """A batch as the network sees it.

  Attributes:
    name: the one augmentation that is shown; "" for all that the config turns
      on.
    title: lines for people.
    images: float32 `[P, K, H, W, C]`.
    identities: names of the P identities.
  """

  name: str
  title: str
  images: np.ndarray
  identities: list[str]


def preview(
  config: ConfigDict, *, data_dir: Path, step: int, show: str
) -> Iterator[Sheet]:
  """The batch of a step, by the very functions that training runs.

  Args:
    config: the whole config.
    data_dir: folder of the prepared data sets.
    step: number of the step, from 0.
    show: "": as the config augments; a name of `AUGMENTATIONS`: that one alone,
      with example parameters where the config turns it off; "all": a sheet for
      each of them.

  Yields:
    The sheets.

  Raises:
    UserError: a field of the config, the step or the name can't be right.
  """
  objective.check_config(config)
  if step < 0:
    raise UserError(f"--step: expected 0 or more, got {step}")
  if show not in ("", "all", *AUGMENTATIONS):
    raise UserError(
      f"--augment: expected all or one of {', '.join(AUGMENTATIONS)}, got "
      f"{show!r}"
    )
  shown: list[Sequence[str] | None] = [None] if not show else [[show]]
  if show == "all":
    shown = [[name] for name in AUGMENTATIONS]
  # One batch is seen: whatever the config says, no other is decoded.
  config = config.copy_and_resolve_references()
  config.data.cache = "none"
  devices = parallel.local_devices()[:1]
  source = open_part(config, data_dir, "train")
  check_sizes(config, source.image_shape, len(source))
  source = hold_train(config, source, devices).source
  sampler = make_sampler(config, source)
  batch = load_batch(source, sampler[step])
  shape = (sampler.identities, sampler.images, *source.image_shape)
  first = batch["label"].reshape(shape[:2])[:, 0]
  for only in shown:
    images = _see(config, batch, step, only, devices).reshape(shape)
    yield Sheet(
      name=only[0] if only else "",
      title=_title(config, step, only),
      images=images,
      identities=[source.label_names[label] for label in first],
    )


def _see(
  config: ConfigDict,
  batch: dict[str, np.ndarray],
  step: int,
  only: Sequence[str] | None,
  devices: parallel.Devices,
) -> np.ndarray:
  """The images of a batch as the network gets them, `[B, H, W, C]`."""
  augment_fn = objective.make_augment(config, only=only)

  def see(batch: dict[str, jax.Array], key: jax.Array) -> jax.Array:
    return network_input(
      batch, key, augment_fn=augment_fn, axis_name=parallel.AXIS
    )

  key, _ = step_keys(objective.run_key(config), step)
  seen = {name: batch[name] for name in ("image", "label")}
  run = parallel.data_parallel(see, devices, replicated=(1,))
  return parallel.unshard(run(parallel.shard(seen, len(devices)), key))


def _title(config: ConfigDict, step: int, only: Sequence[str] | None) -> str:
  chosen = objective.augmentations(config, only=only)
  said = "; ".join(
    f"{name} ("
    + ", ".join(f"{field} {value:g}" for field, value in values.items())
    + ")"
    for name, values in chosen.items()
  )
  return (
    f"{config.data.name} {describe_part(config, 'train')}, step {step}: "
    f"{config.batch.identities} identities x {config.batch.images} images\n"
    f"{said or 'without augmentation'}"
  )
