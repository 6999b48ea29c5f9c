"""The training loop: a config and a folder in, a summary out."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
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
  reporting,
  run_folder,
)
from tripletjax.training.evaluation import raw_pixels
from tripletjax.training.feeding import Feed
from tripletjax.training.network import make_model
from tripletjax.training.optimizer import make_optimizer
from tripletjax.training.progress import Progress
from tripletjax.training.setup import Run, prepare_run
from tripletjax.training.signals import asked_to_stop
from tripletjax.training.state import count_parameters, create_state
from tripletjax.training.timing import Stopwatch, tracing

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
    run = prepare_run(config, workdir, Path(data_dir), devices, say)
    with contextlib.ExitStack() as stack:
      checkpoints = None
      if processes.is_first():
        stack.enter_context(run_folder.claimed(workdir, config))
        stack.enter_context(checkpoint.saving(workdir / "checkpoints"))
        run_folder.note_data(workdir, run.train_source)
        checkpoints = stack.enter_context(
          checkpoint.open_checkpoints(
            workdir / "checkpoints", keep=config.checkpoint.keep, say=say
          )
        )
      summary = _run(run, checkpoints, asked, max_steps, profile_steps)
    # All leave together, and nobody before all is written.
    processes.wait("the end")
  return summary


def _run(
  run: Run,
  checkpoints: checkpoint.Checkpoints | None,
  asked: Callable[[], str],
  max_steps: int | None,
  profile_steps: tuple[int, int] | None,
) -> Summary:
  config = run.config
  state = create_state(
    make_model(config, axis_name=parallel.AXIS),
    make_optimizer(
      config,
      total_steps=run.schedule.total,
      warmup_steps=run.schedule.warmup,
    ),
    image_shape=run.train_source.image_shape,
    key=jax.random.fold_in(jax.random.key(config.seed), 0),
    loss_parameters=objective.loss_parameters(config),
    averaged=config.optimizer.ema > 0,
    memory_shape=(config.memory.size, config.model.dimension),
  )
  parameters = count_parameters(state)
  run.say(f"model: {config.model.name}, {parameters:,} parameters")
  total = run.schedule.total
  stop = total if max_steps is None else min(total, max_steps)
  begun = progress.begin(run, state, checkpoints)
  end = _train(run, begun, checkpoints, stop, asked, profile_steps)
  summary: Summary = {
    "steps": end.step,
    "seconds": round(end.seconds, 2),
    "parameters": parameters,
    "devices": len(run.devices),
  }
  if end.stopped:
    return summary | {"stopped": end.stopped}
  if stop == total and processes.is_first():
    summary |= _finish(run, end)
    writers.write_json(run.workdir / "summary.json", summary)
  return summary


def _train(
  run: Run,
  begun: Progress,
  checkpoints: checkpoint.Checkpoints | None,
  stop: int,
  asked: Callable[[], str],
  profile_steps: tuple[int, int] | None,
) -> Progress:
  """Runs the steps that are missing, up to `stop` or until asked to stop."""
  config, schedule = run.config, run.schedule
  start = begun.step
  if start < stop and processes.any_of(bool(asked())):
    return begun._replace(stopped=asked() or "a signal")
  now = begun
  key = objective.run_key(config)
  margin = jnp.float32(config.loss.margin)
  feed = Feed(run, start, stop, begun.mined)
  quiet = not processes.is_first()
  alone = processes.is_alone()
  watch = Stopwatch(begun.timers)

  def due(step: int, every: int) -> bool:
    return every > 0 and (step % every == 0 or step == schedule.total)

  with (
    writers.metrics_writer(run.workdir, start=start, quiet=quiet) as write,
    writers.progress_bar(schedule.total, start=start, quiet=quiet) as bar,
    tracing(
      run.workdir / "profile",
      None if quiet else profile_steps,
      run=(start + 1, stop),
      say=run.say,
    ) as trace,
  ):
    pending: list[dict[str, jax.Array]] = []
    state = begun.state
    for step in range(start + 1, stop + 1):
      trace(step, state)
      if feed.due(step - 1):
        with watch.time("mining"):
          mined = feed.mine(step - 1, state)
        write(step, mined)
      with watch.time("input"):
        batch = next(feed)
      with watch.time("step"):
        state, metrics = run.train_step(state, batch, key, margin)
      pending.append(metrics)
      evaluating = due(step, schedule.evaluate)
      saving = due(step, schedule.checkpoint) or step == stop
      # The first step compiles: it is a lap of its own.
      logging = due(step, schedule.log) or step == start + 1 or feed.due(step)
      leaving = alone and bool(asked())
      if not (evaluating or saving or logging or leaving):
        continue
      # Fetching waits for the devices.
      with watch.time("step"):
        rows = parallel.first(pending)
      pending = []
      lap = watch.lap()
      verdict = reporting.judge(run, now.health, rows, step)
      reporting.log(write, bar, verdict, rows, step, lap, run)
      if verdict.step:
        reporting.stop(run, feed, checkpoints, verdict)
      now = now._replace(
        step=step,
        state=state,
        mined=feed.mined,
        seconds=now.seconds + lap["input"] + lap["step"] + lap["mining"],
        timers=watch.total,
        health=verdict.health,
      )
      if evaluating:
        now = reporting.evaluate(run, now, watch, write)
      # Several processes can't but stop at the same step.
      if processes.any_of(bool(asked())):
        now = now._replace(stopped=asked() or "a signal")
      if checkpoints and (saving or now.stopped or now.best.step == step):
        with watch.time("checkpoint"):
          progress.save(run, checkpoints, now)
        taken = watch.lap()["checkpoint"]
        if saving:  # a stop leaves no line that a whole run lacks
          write(step, {"seconds/checkpoint": taken})
      if now.stopped and step < stop:
        break
      now = now._replace(stopped="")
  if now.step > start:
    run.say(watch.describe())
  return now


def _finish(run: Run, end: Progress) -> Summary:
  """Measures the trained network and saves what the report draws."""
  config = run.config
  embeddings = run.embed(end.state, run.eval_source)
  artifacts.save_evaluation(
    run.workdir / "evaluation.npz", run.eval_source, embeddings
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
