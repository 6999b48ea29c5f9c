"""The parts of a data set that a config trains on and evaluates."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from ml_collections import ConfigDict

from tripletjax.data.joining import join
from tripletjax.data.sources import Source, open_source, take
from tripletjax.data.splits import (
  Parts,
  hold_out,
  hold_out_images,
  hold_out_names,
)
from tripletjax.errors import UserError

# Fields that runs of before they came don't have.
DEFAULTS = {
  "group_key": "",
  "image_size": "",
  "channels": 0,
  "invert": False,
  "frame": "",
  "unseen": "",
  "beside": "",
  "beside_split": "train",
  "split_by": "",
  "split_fraction": 0.2,
  "split_seed": 0,
  "split_folds": 0,
  "split_fold": 0,
  "split_names": (),
  "split_file": "",
}
# What a part may be called beside a split expression -> its field.
PARTS = {"train": "train_split", "eval": "eval_split"}
SPLIT_BY = ("identity", "group", "image")
# What an evaluated split may be without, where `data.train_split` has it.
UNSEEN = ("", "identity", "group")
_PLURAL = {"identity": "identities", "group": "groups"}


def open_parts(config: ConfigDict, data_dir: Path) -> tuple[Source, Source]:
  """What is trained on, and what is evaluated.

  Raises:
    UserError: a field of `config.data` can't be right, or the data is damaged.
  """
  if not config.data.split_by:
    _check_undivided(config)
    return (
      open_part(config, data_dir, "train"),
      open_part(config, data_dir, "eval"),
    )
  whole = _open(config, data_dir, config.data.train_split, "data.train_split")
  parts = divide(config, whole)
  train = _with_beside(config, data_dir, take(whole, parts.train))
  return train, take(whole, parts.eval)


def open_part(
  config: ConfigDict, data_dir: Path, part: str, *, field: str = ""
) -> Source:
  """One part of the data.

  Args:
    config: the whole config.
    data_dir: folder of the prepared data sets.
    part: "train" or "eval", as the config divides the data; or a TFDS split
      expression.
    field: what a message calls an expression that is wrong; the config's field
      when "".

  Raises:
    UserError: as in `open_parts`.
  """
  if part in PARTS and config.data.split_by:
    whole = _open(config, data_dir, config.data.train_split, "data.train_split")
    source = take(whole, getattr(divide(config, whole), part))
    return _with_beside(config, data_dir, source) if part == "train" else source
  split = config.data[PARTS[part]] if part in PARTS else part
  named = f"data.{PARTS[part]}" if part in PARTS else "split"
  source = _open(config, data_dir, split, field or named)
  if part == "train":
    return _with_beside(config, data_dir, source)
  if not config.data.unseen:
    return source
  return _unseen(config, data_dir, source, split)


def _with_beside(config: ConfigDict, data_dir: Path, source: Source) -> Source:
  """What is trained on, with the set that is to stand beside it."""
  data = config.data
  if not data.beside:
    return source
  other = _open(
    config, data_dir, data.beside_split, "data.beside_split", beside=True
  )
  return join(source, other, name=data.beside)


def _unseen(
  config: ConfigDict, data_dir: Path, source: Source, split: str
) -> Source:
  """Without the identities, or groups, that `data.train_split` has.

  All of that split: what it was divided into was looked at too.
  """
  kind = config.data.unseen
  seen = _open(config, data_dir, config.data.train_split, "data.train_split")
  names, values, known = source.label_names, source.labels, seen.label_names
  if kind == "group":
    if source.groups is None:
      raise UserError(
        f"data.unseen: {config.data.name} has no groups; name their feature by "
        "data.group_key"
      )
    names, values, known = source.group_names, source.groups, seen.group_names
  there = set(known)
  new = [index for index, name in enumerate(names) if name not in there]
  kept = np.flatnonzero(np.isin(values, new))
  if not len(kept):
    raise UserError(
      f"data.unseen: each {kind} of {split} is in {config.data.train_split} "
      "too, which is trained on; expected another split"
    )
  return take(source, kept)


def of_another_set(
  config: ConfigDict, name: str, image_shape: tuple[int, int, int] | None
) -> ConfigDict:
  """The config, its data replaced by the whole of another set.

  Args:
    config: of a run.
    name: of the set.
    image_shape: `(H, W, C)` that images are brought to; None leaves them.
  """
  config = config.copy_and_resolve_references()
  with config.unlocked():
    kept = {name: config.data[name] for name in ("invert", "frame")}
    config.data.update(DEFAULTS | kept)
    config.data.name = name
    config.data.train_split = config.data.eval_split = "all"
    config.data.image_key = config.data.label_key = ""
    if image_shape:
      config.data.image_size = f"{image_shape[0]}x{image_shape[1]}"
      config.data.channels = image_shape[2]
  return config


def divide(config: ConfigDict, whole: Source) -> Parts:
  """Divides a source as the fields `data.split_*` say.

  Raises:
    UserError: one of them can't be right, or a part would be empty.
  """
  data = config.data
  if data.split_by not in SPLIT_BY:
    raise UserError(
      f"data.split_by: expected one of {', '.join(SPLIT_BY)}, or nothing, got "
      f"{data.split_by!r}"
    )
  if data.eval_split:
    raise UserError(
      "data.eval_split: expected nothing, since data.split_by divides "
      f"data.train_split, got {data.eval_split!r}"
    )
  values, value_names = whole.labels, whole.label_names
  if data.split_by == "group":
    if whole.groups is None:
      raise UserError(
        f"data.split_by: {data.name} has no groups; name their feature by "
        "data.group_key"
      )
    values, value_names = whole.groups, whole.group_names
  drawn = {
    "fraction": data.split_fraction,
    "seed": data.split_seed,
    "folds": data.split_folds,
    "fold": data.split_fold,
  }
  names = _names(config)
  if data.split_by == "image":
    if names:
      raise UserError(
        "data.split_by: expected identity or group where they are named by "
        "data.split_names or data.split_file, got image"
      )
    return hold_out_images(whole.labels, **drawn)
  if names:
    return hold_out_names(
      names,
      labels=values,
      label_names=value_names,
      field="data.split_file" if data.split_file else "data.split_names",
    )
  return hold_out(values, **drawn)


def _check_undivided(config: ConfigDict) -> None:
  for field in ("split_folds", "split_names", "split_file"):
    if config.data[field]:
      raise UserError(
        f"data.split_by: expected one of {', '.join(SPLIT_BY)} beside "
        f"data.{field}, got nothing"
      )


def describe_part(config: ConfigDict, part: str) -> str:
  """A part in words: its split expression, or how it was divided."""
  data = config.data
  if part == "train" and data.beside:
    return f"{_own_part(data, part)}, and {data.beside_split} of {data.beside}"
  if data.unseen and part != "train":
    kind = _PLURAL[data.unseen]
    without = f" without {kind} of {data.train_split}"
    if part not in PARTS or not data.split_by:
      return _own_part(data, part) + without
  return _own_part(data, part)


def _own_part(data: ConfigDict, part: str) -> str:
  """A part of the set `data.name`."""
  if part not in PARTS:
    return part
  if not data.split_by:
    return data[PARTS[part]]
  kept = "kept from" if part == "train" else "held out of"
  if data.split_names or data.split_file:
    how = "by name"
  elif data.split_folds:
    how = f"fold {data.split_fold} of {data.split_folds}"
  else:
    how = f"{data.split_fraction:.0%}"
  return (
    f"{kept} {data.train_split} ({data.split_by}: {how}, seed "
    f"{data.split_seed})"
  )


def _names(config: ConfigDict) -> list[str]:
  data = config.data
  if data.split_names and data.split_file:
    raise UserError(
      "data.split_file: expected nothing beside data.split_names, got "
      f"{data.split_file!r}"
    )
  if not data.split_file:
    return [str(name) for name in data.split_names]
  try:
    lines = Path(data.split_file).read_text(encoding="utf-8").splitlines()
  except (OSError, UnicodeDecodeError) as error:
    raise UserError(
      f"data.split_file: can't read {data.split_file}: {error}"
    ) from error
  names = [line.strip() for line in lines if line.strip()]
  if not names:
    raise UserError(f"data.split_file: {data.split_file} names nothing")
  return names


def _open(
  config: ConfigDict,
  data_dir: Path,
  split: str,
  field: str,
  *,
  beside: bool = False,
) -> Source:
  data = config.data
  keys = ("image_key", "label_key", "group_key")
  return open_source(
    data.beside if beside else data.name,
    name_field="data.beside" if beside else "data.name",
    data_dir=data_dir,
    split=split,
    # The other set's are the usual ones.
    **({} if beside else {key: data[key] for key in keys}),
    image_size=data.image_size,
    channels=data.channels,
    invert=data.invert,
    frame=data.frame,
    split_field=field,
  )
