"""The only file that knows Orbax: saving and restoring a run, exactly."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import orbax.checkpoint as ocp

from tripletjax.errors import UserError
from tripletjax.manifest import (
  choose_step,
  set_aside_damaged,
  steps_in,
  write_manifest,
)

Say = Callable[[str], None]
# What Orbax calls a checkpoint that isn't whole yet, and a file that it
# changes once more after all others.
_PARTIAL = "*.orbax-checkpoint-tmp*"
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG)
_CHANGING = ("_CHECKPOINT_METADATA",)


class _Kept:
  """Orbax's rule of what stays: the latest ones and the best one."""

  def __init__(self, latest: int) -> None:
    self.latest = latest
    self.best: int | None = None

  def should_preserve(
    self, checkpoints: Sequence[Any], *, context: Any
  ) -> list[bool]:
    """Whether each of them stays; by step, and not by the clock."""
    steps = [info.step for info in checkpoints]
    latest = sorted(steps)[-self.latest :]
    return [step in latest or step == self.best for step in steps]


class Checkpoints(NamedTuple):
  """The checkpoints of a run that is training.

  Attributes:
    directory: where they lie, by step.
    manager: Orbax's.
    kept: what stays.
  """

  directory: Path
  manager: ocp.CheckpointManager
  kept: _Kept

  def latest(self) -> int:
    """The step of the latest whole one; 0 if there is none."""
    return max(self.steps(), default=0)

  def steps(self) -> list[int]:
    """The steps of all whole ones."""
    return list(steps_in(self.directory))


@contextlib.contextmanager
def open_checkpoints(
  directory: Path, *, keep: int, say: Say = print
) -> Iterator[Checkpoints]:
  """The checkpoints in a folder; the latest `keep` and the best one stay.

  Saving goes on in the background. A save that is killed, or fails, leaves the
  previous checkpoint intact. Of several processes the first one has them, and
  waits for no other. A damaged checkpoint is moved to `damaged/`, beside the
  folder, so that one goes on from the one before it.

  Args:
    directory: is made unless it is there.
    keep: at least 1.
    say: is told of damaged checkpoints.

  Raises:
    UserError: the folder can't be written.
  """
  directory = directory.absolute()
  with saving(directory):
    directory.mkdir(parents=True, exist_ok=True)
    set_aside_damaged(directory, say)
    _remove_partial(directory)
    kept = _Kept(keep)
    options = ocp.CheckpointManagerOptions(
      create=False,
      preservation_policy=kept,
      async_options=ocp.AsyncOptions(
        # After the last file, and before the checkpoint gets its name.
        post_finalization_callback=lambda: _write_manifests(directory)
      ),
    )
    if jax.process_count() > 1:
      options.multiprocessing_options = ocp.options.MultiprocessingOptions(
        primary_host=0, active_processes={0}
      )
    manager = ocp.CheckpointManager(directory, options=options)
  with _no_traces():
    try:
      yield Checkpoints(directory, manager, kept)
    finally:
      with saving(directory):
        manager.close()


def save_checkpoint(
  checkpoints: Checkpoints,
  step: int,
  items: dict[str, Any],
  progress: dict[str, Any],
) -> None:
  """Saves trees of host arrays by name, and what else moves (JSON), of a step.

  Raises:
    UserError: this save or the one before it failed: no space, no right.
  """
  if step in checkpoints.manager.all_steps():
    # `save` would return False and write nothing, silently.
    return
  with saving(checkpoints.directory):
    checkpoints.manager.save(
      step,
      args=ocp.args.Composite(
        **{name: ocp.args.StandardSave(x) for name, x in items.items()},
        progress=ocp.args.JsonSave(progress),
      ),
    )


def restore_checkpoint(
  checkpoints: Checkpoints, step: int, items: dict[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
  """Trees and progress of a step; `items` give the structures and shapes.

  Raises:
    UserError: the checkpoint is of another structure.
  """
  try:
    restored = checkpoints.manager.restore(
      step,
      args=ocp.args.Composite(
        **{
          name: ocp.args.StandardRestore(
            jax.tree.map(ocp.utils.to_shape_dtype_struct, tree)
          )
          for name, tree in items.items()
        },
        progress=ocp.args.JsonRestore(),
      ),
    )
  except (OSError, ValueError, KeyError, TypeError) as error:
    raise _unreadable(checkpoints.directory / str(step), error) from error
  return {name: restored[name] for name in items}, restored["progress"]


def restore_network(
  directory: Path, *, which: str = "latest", say: Say = print
) -> tuple[int, dict[str, Any]]:
  """What is needed to embed, from a checkpoint of a folder.

  Structure and shapes come from the checkpoint itself, and all arrays to the
  host, so that neither the data nor the devices of the training are needed.

  Args:
    directory: of the checkpoints.
    which: latest, best (by the run's `checkpoint.best`), or a step.
    say: is told where a damaged one is passed over.

  Returns:
    The step, and `params` and `batch_stats` as nested dicts of NumPy arrays:
    the averaged ones, where the run averaged its weights.

  Raises:
    UserError: there is no such checkpoint, or it can't be read.
  """
  step = choose_step(directory, which, say, best_of=_best_step)
  path = directory.absolute() / str(step) / "state"
  try:
    with contextlib.closing(ocp.PyTreeCheckpointHandler()) as reader:
      saved = reader.metadata(path).tree
      # The optimizer's moments, twice as large, stay where they are.
      network = saved.get("average") or saved
      wanted = {name: network[name] for name in ("params", "batch_stats")}
      wanted = wanted if network is saved else {"average": wanted}
      restored = reader.restore(
        path,
        args=ocp.args.PyTreeRestore(
          wanted,
          restore_args=_as_numpy(wanted),
          partial_restore=True,
        ),
      )
      return step, restored.get("average", restored)
  except (OSError, ValueError, KeyError) as error:
    raise _unreadable(path.parent, error) from error


def restore_arrays(directory: Path) -> tuple[int, dict[str, np.ndarray]]:
  """Step of the latest checkpoint of a folder, and all its arrays by name."""
  step = choose_step(directory, "latest", print, best_of=_best_step)
  found: dict[str, np.ndarray] = {}
  with contextlib.closing(ocp.PyTreeCheckpointHandler()) as reader:
    for path in (directory / str(step)).absolute().glob("*/_METADATA"):
      kinds = _as_numpy(reader.metadata(path.parent).tree)
      args = ocp.args.PyTreeRestore(restore_args=kinds)
      tree = reader.restore(path.parent, args=args)
      for keys, leaf in jax.tree_util.tree_leaves_with_path(tree):
        found[path.parent.name + jax.tree_util.keystr(keys)] = leaf
  return step, found


def _as_numpy(tree: Any) -> Any:
  return jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), tree)


def _best_step(path: Path) -> int:
  with contextlib.closing(ocp.JsonCheckpointHandler()) as reader:
    progress = reader.restore(path.absolute() / "progress")
  return (progress.get("best") or {}).get("step", 0)


def _write_manifests(directory: Path) -> None:
  for folder in directory.glob(_PARTIAL):
    write_manifest(folder, changing=_CHANGING)


def _remove_partial(directory: Path) -> None:
  for path in directory.glob(_PARTIAL):
    shutil.rmtree(path, ignore_errors=True)


@contextlib.contextmanager
def saving(directory: Path) -> Iterator[None]:
  """Says in one line that something can't be written, and what is left.

  Raises:
    UserError: no space, no right, a disk that fails.
  """
  try:
    yield
  except (OSError, ValueError) as error:
    reason = _of_the_disk(error, directory.parent)
    if reason is None:
      raise
    _remove_partial(directory)  # of no use, and perhaps what fills the disk
    last = max(steps_in(directory), default=0)
    left = f"the checkpoint of step {last} is whole" if last else "nothing yet"
    raise UserError(
      f"--workdir: can't save in {directory}: {reason}; {left}; make it "
      "writable, with free space, and start the run again to go on"
    ) from error


def _of_the_disk(error: Exception, folder: Path) -> str | None:
  """What the system says is wrong; None where it's another kind of error."""
  if isinstance(error, UserError):
    return None
  if isinstance(error, OSError):
    # An error of a write to an open file doesn't name it.
    named = Path(str(error.filename or "")).absolute()
    ours = named.is_relative_to(folder.absolute())
    return error.strerror if ours or error.errno in _FULL else None
  # As TensorStore says it.
  code = re.search(r"os_error_code='(\d+)'", str(error))
  return os.strerror(int(code[1])) if code else None


@contextlib.contextmanager
def _no_traces() -> Iterator[None]:
  """Keeps Orbax from printing the traces of errors that it raises, too."""

  def silent(record: logging.LogRecord) -> bool:
    return not (record.exc_info and "orbax" in record.pathname)

  logger = logging.getLogger("absl")
  logger.addFilter(silent)
  try:
    yield
  finally:
    logger.removeFilter(silent)


def _unreadable(path: Path, error: Exception) -> UserError:
  return UserError(
    f"--workdir: the checkpoint {path} can't be read: "
    f"{str(error).splitlines()[0]}"
  )
