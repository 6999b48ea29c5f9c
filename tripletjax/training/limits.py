"""What no number of a config may be, whatever the field."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from ml_collections import ConfigDict

from tripletjax.errors import UserError

INT32 = 2**31 - 1  # steps and images are counted in int32

# Beyond, a picture is noise or black: angle, log-size, slope, shares of a side.
LARGEST = {
  "seed": 2**32 - 1,  # of which JAX's keys have the lower half
  "augment.rotation": 360,
  "augment.scale": 5,
  "augment.shear": 5,
  "augment.translation": 1,
  "augment.elastic": 1,
  "augment.elastic_smoothness": 10,
  "augment.identity_rotation": 360,
  "augment.identity_scale": 5,
  "augment.identity_shear": 5,
  "augment.identity_elastic": 1,
  "augment.identity_smoothness": 10,
}


# Of a config.json: what each field is, and the least that it may be.
_KINDS = {
  str: "text",
  int: "a whole number",
  bool: "true or false",
  (list, tuple): "a list",
  (int, float): "a finite number",
}
SAVED: dict[str, tuple[Any, int | None]] = {
  "seed": (int, 0),
  **{
    f"data.{name}": (str, None)
    for name in (
      "name",
      "train_split",
      "eval_split",
      "image_key",
      "label_key",
      "group_key",
      "image_size",
      "frame",
      "unseen",
      "beside",
      "beside_split",
      "split_by",
      "split_file",
      "cache",
    )
  },
  "data.channels": (int, 0),
  "data.invert": (bool, None),
  "data.split_names": ((list, tuple), None),
  "model.name": (str, None),
  "model.features": ((list, tuple), None),
  "model.dimension": (int, 1),
  "model.normalize": (bool, None),
  "model.norm": (str, None),
  "model.dtype": (str, None),
  "model.pixels": (str, None),
  "model.pooling": (str, None),
  "model.head": (str, None),
  "model.norm_frozen": (bool, None),
  "model.pretrained": (str, None),
  "model.pretrained_ignore": (str, None),
  "loss.name": (str, None),
  "loss.distance": (str, None),
  "evaluation.batch_size": (int, 1),
  "evaluation.folds": (int, 2),
  "evaluation.cameras": (str, None),
  "evaluation.views": (int, 1),
  "evaluation.view_temperature": ((int, float), 0),
}
# Of these, the names that there are.
CHOSEN = (
  "model.name",
  "model.norm",
  "model.dtype",
  "data.frame",
  "model.pixels",
  "model.pooling",
  "model.head",
  "loss.distance",
  "data.unseen",
)


def check_numbers(config: ConfigDict) -> None:
  """Raises a `UserError` for a number that is not finite, or absurd.

  >>> check_numbers(ConfigDict({"loss": {"beta": float("nan")}}))
  Traceback (most recent call last):
  tripletjax.errors.UserError: loss.beta: expected a finite number, got nan
  """
  for field, value in _numbers(config):
    if not math.isfinite(value):
      raise UserError(f"{field}: expected a finite number, got {value}")
    most = LARGEST.get(field, INT32 if isinstance(value, int) else math.inf)
    if value > most:
      raise UserError(f"{field}: expected at most {most:,}, got {value:,}")
  cap, batch = config.loss.triplets_per_anchor, _references(config)
  if cap > batch**2:
    raise UserError(
      f"loss.triplets_per_anchor: expected 0, or at most {batch**2:,} of "
      f"{batch:,} references, got {cap:,}"
    )


def check_sizes(
  config: ConfigDict, image_shape: Sequence[int], images: int
) -> None:
  """Raises a `UserError` for a size that doesn't fit the training images.

  Args:
    config: the whole config.
    image_shape: `(H, W, C)` of the images.
    images: how many there are.
  """
  side = min(image_shape[:2])
  if config.augment.crop > side:
    raise UserError(
      f"augment.crop: expected at most the {side} pixels of a side, got "
      f"{config.augment.crop:,}"
    )
  # More would hold some images many times over.
  most = 100 * max(images, config.batch.identities * config.batch.images)
  if config.memory.size > most:
    raise UserError(
      f"memory.size: expected at most {most:,}, which is a hundred times the "
      f"training set, got {config.memory.size:,}"
    )


def check_saved(
  config: ConfigDict, choices: Mapping[str, Mapping[str, Any]]
) -> None:
  """Raises a `UserError` unless a saved config's fields can be used.

  Only those that an evaluation needs: a run of before some other field came is
  as good as any.

  Args:
    config: of a `config.json`; has all of `SAVED`.
    choices: field -> what it may be; those that aren't in the config are
      passed over.
  """
  for field, (kind, least) in SAVED.items():
    value = functools.reduce(getattr, field.split("."), config)
    fits = isinstance(value, kind) and isinstance(value, bool) == (kind is bool)
    # JSON as Python writes and reads it has NaN and Infinity.
    fits &= not isinstance(value, float) or math.isfinite(value)
    if not fits or (least is not None and value < least):
      bound = "" if least is None else f" from {least}"
      raise UserError(f"{field}: expected {_KINDS[kind]}{bound}, got {value!r}")
  for size in (*config.model.features, config.model.dimension):
    if type(size) is not int or not 0 < size <= 2**20:
      raise UserError(f"model.features: expected channels, got {size!r}")
  for field in CHOSEN:
    value = functools.reduce(getattr, field.split("."), config)
    if value not in choices[field]:
      raise UserError(
        f"{field}: expected one of {_listed(choices[field])}, got {value!r}"
      )


def _listed(names: Iterable[str]) -> str:
  return ", ".join(name or '""' for name in names)


def _references(config: ConfigDict) -> int:
  batch = config.batch.identities * config.batch.images
  return batch + config.memory.size


def _numbers(node: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
  """Every number of a config with its field; those in tuples too."""
  for name in node:
    value, field = node[name], f"{prefix}{name}"
    if isinstance(value, ConfigDict):
      yield from _numbers(value, f"{field}.")
    for one in value if isinstance(value, tuple | list) else (value,):
      if isinstance(one, int | float) and not isinstance(one, bool):
        yield field, one
