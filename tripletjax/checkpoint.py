"""The only file that knows Orbax: saving and restoring a run, exactly."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from tripletjax.errors import UserError


def open_checkpoints(directory: Path, *, keep: int) -> ocp.CheckpointManager:
  """A manager of the checkpoints in a folder; the latest `keep` stay.

  Saving goes on in the background. A save that is killed leaves the previous
  checkpoint intact. Close the manager, or use it in a `with`. Of several
  processes the first one has it, and waits for no other.
  """
  directory.mkdir(parents=True, exist_ok=True)
  options = ocp.CheckpointManagerOptions(max_to_keep=keep, create=False)
  if jax.process_count() > 1:
    options.multiprocessing_options = ocp.options.MultiprocessingOptions(
      primary_host=0, active_processes={0}
    )
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


def restore_network(directory: Path) -> tuple[int, dict[str, Any]]:
  """What is needed to embed, from the latest checkpoint of a folder.

  Structure and shapes come from the checkpoint itself, and all arrays to the
  host, so that neither the data nor the devices of the training are needed.

  Returns:
    The step, and `params` and `batch_stats` as nested dicts of NumPy arrays:
    the averaged ones, where the run averaged its weights.

  Raises:
    UserError: there is no checkpoint, or it can't be read.
  """
  steps = [
    int(path.name) for path in directory.glob("[0-9]*") if path.name.isdigit()
  ]
  if not steps:
    raise UserError(
      f"--workdir: no checkpoint in {directory}; train first, or name the "
      "folder of another run"
    )
  step = max(steps)
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
          restore_args=jax.tree.map(
            lambda _: ocp.RestoreArgs(restore_type=np.ndarray), wanted
          ),
          partial_restore=True,
        ),
      )
      return step, restored.get("average", restored)
  except (OSError, ValueError, KeyError) as error:
    raise UserError(
      f"--workdir: the checkpoint {path.parent} can't be read: "
      f"{str(error).splitlines()[0]}"
    ) from error
