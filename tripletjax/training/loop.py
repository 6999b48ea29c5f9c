"""The training loop: a config and a folder in, a summary out."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
from ml_collections import ConfigDict

from tripletjax import checkpoint, writers
from tripletjax.data.pipeline import load_batch
from tripletjax.data.sources import Source
from tripletjax.training import (
  artifacts,
  objective,
  parallel,
  processes,
  progress,
)
from tripletjax.training.evaluation import raw_pixels
from tripletjax.training.feeding import Feed
from tripletjax.training.lane import open_folder, open_lane
from tripletjax.training.network import describe_model
from tripletjax.training.numbers import step_numbers
from tripletjax.training.progress import Progress
from tripletjax.training.setup import Run, prepare_run
from tripletjax.training.signals import asked_to_stop
from tripletjax.training.state import TrainState, count_parameters
from tripletjax.training.timing import tracing
from tripletjax.training.views import means

Summary = dict[str, Any]


def train_and_evaluate(
  config: ConfigDict,
  workdir: str | Path,
  *,
  data_dir: str | Path = "data",
  devices: parallel.Devices | None = None,
  max_steps: int | None = None,
  profile_steps: tuple[int, int] | None = None,
  say: Callable[[str], None] = lambda line: None,
  run: Run | None = None,
  bar: bool = True,
) -> Summary:
  """Trains an embedding and measures it on the evaluation split.

  A run that was interrupted goes on, bit for bit, when it is started again in
  the same `workdir` with the same config.

  Args:
    config: complete, as from `configs/`.
    workdir: folder for `config.json`, `metrics.jsonl`, TensorBoard's events,
      checkpoints, `summary.json`, and arrays for the report.
    data_dir: folder of the prepared data sets.
    devices: devices to train on; those of all processes when None. They share
      each batch, and the result doesn't depend on how many they are. Of several
      processes the first one evaluates and writes.
    max_steps: end, with a checkpoint, after this many steps in all, as a job
      that is pre-empted there would.
    profile_steps: the first and the last step of a trace in `profile/`.
    say: is given lines for people: devices, config, split.
    run: this very run, prepared from another one of its program (`run_of`).
    bar: show a progress bar.

  Returns:
    What `summary.json` holds: `trained`, `untrained` and `raw_pixels` map to
    numbers by name; `steps`, `seconds`, `parameters`, `devices`. With
    `max_steps` below the run's length, and in all processes but the first,
    only the last four; with `stopped`, its name, after SIGTERM or SIGINT, which
    end the run after the step it is in, with a checkpoint.

  Raises:
    UserError: a field of the config or the folder can't be right; the folder
      can't be written any more; or the numbers went wrong (`health.py`).
  """
  objective.check_config(config)
  workdir = Path(workdir)
  devices = parallel.all_devices() if devices is None else devices
  with asked_to_stop() as asked:
    if run is None:
      run = prepare_run(config, workdir, Path(data_dir), devices, say)
    with open_folder(run) as checkpoints:
      summary = _run(run, checkpoints, asked, max_steps, profile_steps, bar)
    # All leave together, and nobody before all is written.
    processes.wait("the end")
  return summary


def _run(
  run: Run,
  checkpoints: checkpoint.Checkpoints | None,
  asked: Callable[[], str],
  max_steps: int | None,
  profile_steps: tuple[int, int] | None,
  bar: bool,
) -> Summary:
  state = run.create()
  shape = run.train_source.image_shape
  run.say(f"model: {describe_model(run.config, shape)}")
  total = run.schedule.total
  stop = total if max_steps is None else min(total, max_steps)
  begun = progress.begin(run, state, checkpoints)
  end = _train(run, begun, checkpoints, stop, asked, profile_steps, bar)
  summary = summary_of(run, end)
  if end.stopped:
    return summary
  if stop == total and processes.is_first():
    summary |= measure_end(run, end)
    writers.write_json(run.workdir / "summary.json", summary)
  return summary


def summary_of(run: Run, end: Progress) -> Summary:
  """What a summary says but for the evaluation."""
  summary: Summary = {
    "steps": end.step,
    "seconds": round(end.seconds, 2),
    "parameters": count_parameters(end.state) // len(run.devices),
    "devices": len(run.devices),
  }
  return summary | ({"stopped": end.stopped} if end.stopped else {})


def _train(
  run: Run,
  begun: Progress,
  checkpoints: checkpoint.Checkpoints | None,
  stop: int,
  asked: Callable[[], str],
  profile_steps: tuple[int, int] | None,
  bar: bool,
) -> Progress:
  """Runs the steps that are missing, up to `stop` or until asked to stop."""
  start = begun.step
  if start < stop and processes.any_of(bool(asked())):
    return begun._replace(stopped=asked() or "a signal")
  key = objective.run_key(run.config)
  numbers = step_numbers(run.config)
  feed = Feed(run, start, stop, begun.mined)
  alone = processes.is_alone()
  with (
    open_lane(run, begun, checkpoints, feed, stop=stop, bar=bar) as lane,
    tracing(
      run.workdir / "profile",
      profile_steps if processes.is_first() else None,
      run=(start + 1, stop),
      say=run.say,
    ) as trace,
  ):
    watch = lane.watch
    pending: list[dict[str, jax.Array]] = []
    state = begun.state
    for step in range(start + 1, stop + 1):
      trace(step, state)
      if feed.due(step - 1):
        with watch.time("mining"):
          mined = feed.mine(step - 1, state)
        lane.write(step, mined)
      with watch.time("input"):
        batch = next(feed)
      with watch.time("step"):
        state, metrics = run.train_step(state, batch, key, numbers)
      pending.append(metrics)
      if lane.pauses(step) or (alone and asked()):
        # Fetching waits for the devices.
        with watch.time("step"):
          rows = parallel.first(pending)
        pending = []
        lane.pause(step, functools.partial(_same, state), rows, asked)
        if lane.now.stopped:
          break
  if lane.now.step > start:
    run.say(watch.describe())
  return lane.now


def _same(state: TrainState) -> TrainState:
  return state


def measure_end(run: Run, end: Progress) -> Summary:
  """Measures the trained network and saves what the report draws."""
  config = run.config
  embeddings = run.embed_views(end.state, run.eval_source)
  artifacts.save_evaluation(
    run.workdir / "evaluation.npz", run.eval_source, means(embeddings)
  )
  batch = load_batch(run.train_source, run.sampler[run.schedule.total])
  picture_source = Source(
    images=batch["image"],
    labels=batch["label"],
    label_names=run.train_source.label_names,
    image_shape=run.train_source.image_shape,
  )
  artifacts.save_triplets(
    run.workdir / "triplets.npz",
    config,
    batch,
    run.embed(end.state, picture_source),
    label_names=run.train_source.label_names,
  )
  return {
    "trained": run.measure(embeddings, config.loss.distance),
    "untrained": end.untrained,
    "raw_pixels": run.measure(raw_pixels(run.eval_source), "euclidean"),
  }
