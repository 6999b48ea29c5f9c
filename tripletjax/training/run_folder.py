"""The folder of a run: whose it is, and who trains in it."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import re
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from tripletjax.data.sources import Source, identity_counts
from tripletjax.errors import UserError
from tripletjax.writers import write_json

LOCK = "lock"
# Fields that don't change what is learned: a run may go on with others.
FREE = (
  "checkpoint.keep",
  "checkpoint.best",
  "train.on_nonfinite",
  "train.on_collapse",
  "train.spike",
)


@contextlib.contextmanager
def claimed(workdir: Path, config: ConfigDict) -> Iterator[None]:
  """Keeps a folder for this run, which is made or goes on.

  Whoever trains there holds a lock; the system gives it back when a process
  ends, however it ends, so that none is ever stale.

  Raises:
    UserError: the folder can't be written, another process trains in it, or it
      holds a run of another config.
  """
  with contextlib.ExitStack() as stack:
    try:
      workdir.mkdir(parents=True, exist_ok=True)
      stack.enter_context(locked(workdir))
      _claim(workdir, config)
    except OSError as error:
      raise UserError(
        f"--workdir: can't use {workdir}: {error.strerror}"
      ) from error
    yield


@contextlib.contextmanager
def locked(workdir: Path) -> Iterator[None]:
  """Holds a folder's lock, which no other process does.

  Raises:
    UserError: another process holds it.
    OSError: the folder can't be written.
  """
  path = workdir / LOCK
  with path.open("a+") as file:
    try:
      fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
      file.seek(0)
      raise UserError(
        f"--workdir: {file.read().strip() or 'another process'} trains in "
        f"{workdir}; wait for it, or choose another folder"
      ) from None
    except OSError as error:
      if error.errno not in (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS):
        raise
      # A file system without locks.
    file.truncate(0)
    with contextlib.suppress(OSError):  # a full disk; it's only for people
      file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
      file.flush()
    yield


def _claim(workdir: Path, config: ConfigDict) -> None:
  """Writes `config.json`, or checks that the folder holds this very run."""
  path = workdir / "config.json"
  ours = json.loads(config.to_json())
  if not path.exists():
    write_json(path, ours)
  try:
    theirs = json.loads(path.read_text())
  except ValueError as error:
    raise UserError(f"--workdir: {path} is not JSON: {error}") from error
  differences = list(_differences(ours, theirs))
  for field, ours_value, theirs_value in differences:
    if field not in FREE:
      raise UserError(
        f"--workdir: {workdir} holds a run with {field} = {theirs_value!r}, "
        f"not {ours_value!r}; choose another folder, or the same config"
      )
  if differences:
    write_json(path, ours)


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
  candidates = [Path(workdir)] if workdir else _runs(name, Path(runs))
  for folder in reversed(candidates):
    if any((folder / "checkpoints").glob("[0-9]*")):
      return folder
  place = workdir or f"{runs}/{name}-*"
  raise UserError(f"--resume: no checkpoint in {place}; start without --resume")


def new_run(name: str, runs: str = "runs") -> Path:
  """A folder for a new run, `<runs>/<name>-<time>`, that is the newest by name.

  Where a clock was set back, or two runs start in one second, the name is that
  of the newest one with a number: `glyphs-20260131-120000-2`.
  """
  now = time.strftime("%Y%m%d-%H%M%S")
  there = [path for path in _runs(name, Path(runs)) if _stamp(path, name)]
  newest, count = _stamp(there[-1], name) or ("", 0) if there else ("", 0)
  if now > newest:
    return Path(runs) / f"{name}-{now}"
  return Path(runs) / f"{name}-{newest}-{count + 1}"


def _runs(name: str, runs: Path) -> list[Path]:
  """The runs of a config, the newest last."""
  return sorted(
    runs.glob(f"{name}-[0-9]*"),
    key=lambda path: (_stamp(path, name) or ("", 0), path.name),
  )


def _stamp(path: Path, name: str) -> tuple[str, int] | None:
  """The time in a run's name, and its number among those of that time."""
  found = re.fullmatch(
    re.escape(name) + r"-(\d{8}-\d{6})(?:-(\d+))?", path.name
  )
  return (found[1], int(found[2] or 1)) if found else None
