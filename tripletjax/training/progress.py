"""Where a run stands: all that moves, saved and taken up again."""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import numpy as np

from tripletjax import checkpoint
from tripletjax.errors import DivergedError, UserError
from tripletjax.training import objective, parallel, processes
from tripletjax.training.feeding import nothing_mined
from tripletjax.training.health import Health, check_finite
from tripletjax.training.offline import Mined
from tripletjax.training.setup import Run
from tripletjax.training.state import TrainState

# Of the metrics of an evaluation, those of which less is better.
LESS_IS_BETTER = ("eer", "one_shot_error")


class Best(NamedTuple):
  """The best evaluation so far, by `checkpoint.best`.

  Attributes:
    step: of it; 0 if there was none.
    value: of the metric.
  """

  step: int = 0
  value: float = 0.0


class Progress(NamedTuple):
  """Where a run stands.

  Attributes:
    step: number of steps done.
    state: on the devices.
    mined: what the batches are made of; None of a run that doesn't mine.
    untrained: the untrained network's numbers.
    seconds: of training so far, all starts together.
    timers: seconds by part, all starts together.
    best: evaluation so far.
    health: of the numbers so far.
    stopped: the signal that asked to stop before the end; else "".
  """

  step: int
  state: TrainState
  mined: Mined | None = None
  untrained: Mapping[str, float] = MappingProxyType({})
  seconds: float = 0.0
  timers: Mapping[str, float] = MappingProxyType({})
  best: Best = Best()
  health: Health = Health()
  stopped: str = ""


def begin(
  run: Run,
  state: TrainState,
  checkpoints: checkpoint.Checkpoints | None,
  *,
  at: int | None = None,
) -> Progress:
  """The latest checkpoint, or a fresh start from `state`.

  Args:
    run: its data and config.
    state: a fresh one, on the host or one device.
    checkpoints: of the first process; None in the others.
    at: the step of an earlier checkpoint; 0 is a fresh start.

  Raises:
    UserError: the run went on with other data, or the checkpoint can't be read.
  """
  latest = checkpoints.latest() if checkpoints else 0
  step = int(processes.from_first(np.int32(latest if at is None else at)))
  if not step:
    # There is no checkpoint of step 0.
    state = parallel.replicate(run.start(state), run.devices)
    first = processes.is_first()
    untrained = evaluate(run, state) if first else {}
    _check_best(run, untrained)
    return Progress(0, state, untrained=untrained)
  items: dict[str, Any] = {"state": state}
  if run.schedule.mining:
    items["mined"] = nothing_mined(run)._asdict()
  saved: dict[str, Any] = {}
  if checkpoints:
    items, saved = checkpoint.restore_checkpoint(checkpoints, step, items)
    _check_position(run, saved.get("position", {}))
    _check_best(run, saved["untrained"])
  run.say(f"resumed: step {step} of {run.schedule.total}")
  items = processes.from_first(items)
  saved = json.loads(processes.text_from_first(json.dumps(saved)))
  progress = Progress(
    step,
    parallel.replicate(items["state"], run.devices),
    mined=Mined(**items["mined"]) if "mined" in items else None,
    untrained=saved["untrained"],
    seconds=saved["seconds"],
    timers=saved.get("timers", {}),
    best=Best(**(saved.get("best") or {})),
    health=_health(saved.get("health", {})),
  )
  if checkpoints:
    checkpoints.kept.best = progress.best.step
  return progress


def save(
  run: Run, checkpoints: checkpoint.Checkpoints, progress: Progress
) -> None:
  """Saves a checkpoint, in the background.

  Raises:
    UserError: the state isn't finite, or can't be written.
  """
  state = parallel.first(progress.state)
  if name := check_finite(state):
    raise DivergedError(
      f"train.on_nonfinite: {name} is not finite after step {progress.step}, "
      f"though the loss is; it isn't saved; {last_good(checkpoints)}"
    )
  items: dict[str, Any] = {"state": state}
  if progress.mined is not None:
    items["mined"] = progress.mined._asdict()
  checkpoints.kept.best = progress.best.step
  checkpoint.save_checkpoint(
    checkpoints,
    progress.step,
    items,
    {
      "untrained": dict(progress.untrained),
      "seconds": progress.seconds,
      "timers": dict(progress.timers),
      "best": progress.best._asdict(),
      "health": progress.health._asdict(),
      "position": position(run),
    },
  )


def position(run: Run) -> dict[str, Any]:
  """What the batches and the keys of all steps follow from.

  The data of step t is batch t of the sampler, and its key is the base key
  folded by t; so these have to be the same when a run goes on.
  """
  labels = np.asarray(run.train_source.labels, np.int64)
  return {
    "base key": np.asarray(
      jax.random.key_data(objective.run_key(run.config))
    ).tolist(),
    "schedule": list(run.schedule),
    "images": len(labels),
    "labels' checksum": zlib.crc32(labels.tobytes()),
  }


def evaluate(run: Run, state: TrainState) -> dict[str, float]:
  """The numbers of the evaluation split."""
  embeddings = run.embed_views(state, run.eval_source)
  return run.measure(embeddings, run.config.loss.distance)


def better(run: Run, best: Best, step: int, numbers: dict[str, float]) -> Best:
  """The best evaluation with one more."""
  name = run.config.checkpoint.best
  if not name or np.isnan(numbers[name]):
    return best
  value = numbers[name]
  sign = -1 if name in LESS_IS_BETTER else 1
  if best.step and sign * value <= sign * best.value:
    return best
  return Best(step, value)


def last_good(checkpoints: checkpoint.Checkpoints) -> str:
  """The last good checkpoint in words, once it is written."""
  with checkpoint.saving(checkpoints.directory):
    checkpoints.manager.wait_until_finished()
  step = checkpoints.latest()
  if not step:
    return "there is no checkpoint before it"
  return f"the last good checkpoint is of step {step}"


def save_batch(workdir: Path, step: int, batch: dict[str, np.ndarray]) -> Path:
  """Writes the batch of a step to be looked at, whole or not at all.

  Returns:
    `nonfinite/<step>.npz`, with `images`, `labels` and `ids`.
  """
  path = workdir / "nonfinite" / f"{step}.npz"
  path.parent.mkdir(exist_ok=True)
  temporary = path.with_suffix(".part")
  with temporary.open("wb") as file:
    np.savez(
      file, images=batch["image"], labels=batch["label"], ids=batch["id"]
    )
  os.replace(temporary, path)
  return path


def _health(saved: dict[str, Any]) -> Health:
  return Health(
    tuple(saved.get("losses", ())),
    saved.get("collapsed", 0),
    tuple(saved.get("skipped", ())),
  )


def _check_position(run: Run, saved: dict[str, Any]) -> None:
  """Raises a `UserError` unless a run goes on with what it began with."""
  for name, ours in position(run).items():
    if name in saved and saved[name] != ours:
      raise UserError(
        f"--workdir: {run.workdir} holds a run with {name} = {saved[name]}, "
        f"not {ours}; give it the data (--data_dir) that it began with"
      )


def _check_best(run: Run, numbers: dict[str, float]) -> None:
  name = run.config.checkpoint.best
  if name and numbers and name not in numbers:
    raise UserError(
      f'checkpoint.best: expected "" or one of {", ".join(numbers)}, got '
      f"{name!r}"
    )
