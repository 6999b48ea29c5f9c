"""The folder of a run: whose it is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from tripletjax.data.sources import Source, identity_counts
from tripletjax.errors import UserError
from tripletjax.writers import write_json


def claim(workdir: Path, config: ConfigDict) -> None:
  """Writes `config.json`, or checks that the folder holds this very run.

  Raises:
    UserError: the folder can't be written, or holds a run of another config.
  """
  path = workdir / "config.json"
  ours = json.loads(config.to_json())
  try:
    workdir.mkdir(parents=True, exist_ok=True)
    if not path.exists():
      write_json(path, ours)
    theirs = json.loads(path.read_text())
  except OSError as error:
    raise UserError(
      f"--workdir: can't use {workdir}: {error.strerror}"
    ) from error
  except json.JSONDecodeError as error:
    raise UserError(f"--workdir: {path} is not JSON: {error}") from error
  for field, ours_value, theirs_value in _differences(ours, theirs):
    raise UserError(
      f"--workdir: {workdir} holds a run with {field} = {theirs_value!r}, not "
      f"{ours_value!r}; choose another folder, or the same config"
    )


def note_data(workdir: Path, source: Source) -> None:
  """Writes `data.json`: what a finished run must know of its images."""
  counts = identity_counts(source.labels)
  write_json(
    workdir / "data.json",
    {
      "image_shape": list(source.image_shape),
      "images": counts.images,
      "identities": counts.identities,
    },
  )


def read_image_shape(workdir: Path) -> tuple[int, int, int] | None:
  """`(H, W, C)` of the images of a run; None of one that didn't note it.

  Raises:
    UserError: `data.json` is broken.
  """
  path = workdir / "data.json"
  if not path.exists():
    return None
  try:
    height, width, channels = json.loads(path.read_text())["image_shape"]
    return int(height), int(width), int(channels)
  except (OSError, KeyError, TypeError, ValueError) as error:
    raise UserError(f"--workdir: {path} can't be read: {error}") from error


def _differences(ours: Any, theirs: Any, field: str = "") -> list[tuple]:
  """Fields in which two configs differ, with both values."""
  if isinstance(ours, dict) and isinstance(theirs, dict):
    return [
      difference
      for name in sorted(ours.keys() | theirs.keys())
      for difference in _differences(
        ours.get(name), theirs.get(name), f"{field}.{name}" if field else name
      )
    ]
  return [] if ours == theirs else [(field, ours, theirs)]


def find_run(workdir: str | None, name: str, runs: str = "runs") -> Path:
  """The folder with a checkpoint that `--resume` means.

  Args:
    workdir: the folder that was named, if one was.
    name: the config's name; else the newest `<runs>/<name>-<time>`.
    runs: the folder of runs.

  Raises:
    UserError: there is no checkpoint.
  """
  candidates = (
    [Path(workdir)] if workdir else sorted(Path(runs).glob(f"{name}-[0-9]*"))
  )
  for folder in reversed(candidates):
    if any((folder / "checkpoints").glob("[0-9]*")):
      return folder
  place = workdir or f"{runs}/{name}-*"
  raise UserError(f"--resume: no checkpoint in {place}; start without --resume")
