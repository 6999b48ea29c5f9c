"""The only file that knows Orbax: saving and restoring a run, exactly."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp


def open_checkpoints(directory: Path, *, keep: int) -> ocp.CheckpointManager:
  """A manager of the checkpoints in a folder; the latest `keep` stay.

  Saving goes on in the background. A save that is killed leaves the previous
  checkpoint intact. Close the manager, or use it in a `with`.
  """
  options = ocp.CheckpointManagerOptions(max_to_keep=keep, create=True)
  return ocp.CheckpointManager(directory.absolute(), options=options)


def save_checkpoint(
  manager: ocp.CheckpointManager, step: int, state: Any, progress: dict
) -> None:
  """Saves the state (host arrays) and what else moves (JSON) of a step."""
  if step in manager.all_steps():
    # `save` would return False and write nothing, silently.
    return
  manager.save(
    step,
    args=ocp.args.Composite(
      state=ocp.args.StandardSave(state), progress=ocp.args.JsonSave(progress)
    ),
  )


def restore_checkpoint(
  manager: ocp.CheckpointManager, step: int, state: Any
) -> tuple[Any, dict]:
  """State and progress of a step; `state` gives the structure and shapes."""
  restored = manager.restore(
    step,
    args=ocp.args.Composite(
      state=ocp.args.StandardRestore(
        jax.tree.map(ocp.utils.to_shape_dtype_struct, state)
      ),
      progress=ocp.args.JsonRestore(),
    ),
  )
  return restored["state"], restored["progress"]
