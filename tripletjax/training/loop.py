"""The training loop: a config and a folder in, a summary out."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from tripletjax import checkpoint, writers
from tripletjax.data.pipeline import load_batch
from tripletjax.data.sampling import PKSampler
from tripletjax.data.sources import Source
from tripletjax.training import artifacts, objective, parallel, processes
from tripletjax.training.evaluation import raw_pixels
from tripletjax.training.feeding import Feed, memory_drift
from tripletjax.training.network import make_model
from tripletjax.training.optimizer import make_optimizer
from tripletjax.training.setup import Run, prepare_run
from tripletjax.training.state import (
  TrainState,
  count_parameters,
  create_state,
)
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
    only the last four.

  Raises:
    UserError: a field of the config or the folder can't be right.
  """
  objective.check_config(config)
  workdir = Path(workdir)
  devices = parallel.all_devices() if devices is None else devices
  run = prepare_run(config, workdir, Path(data_dir), devices, say)
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
  say(f"model: {config.model.name}, {parameters:,} parameters")
  stop = run.schedule.total
  if max_steps is not None:
    stop = min(stop, max_steps)
  with (
    checkpoint.open_checkpoints(
      workdir / "checkpoints", keep=config.checkpoint.keep
    )
    if processes.is_first()
    else contextlib.nullcontext()
  ) as manager:
    end = _train(run, state, manager, stop, profile_steps)
  summary: Summary = {
    "steps": end.step,
    "seconds": round(end.seconds, 2),
    "parameters": parameters,
    "devices": len(devices),
  }
  if stop == run.schedule.total and processes.is_first():
    summary |= _finish(run, end)
    writers.write_json(workdir / "summary.json", summary)
  processes.wait("the end")
  return summary


class _Progress(NamedTuple):
  """Where a run stands; all but the state is saved as JSON beside it.

  Attributes:
    step: number of steps done.
    state: on the devices.
    untrained: the untrained network's numbers.
    seconds: of training so far, all starts together.
  """

  step: int
  state: TrainState
  untrained: dict[str, float]
  seconds: float


def _begin(run: Run, state: TrainState, manager: Any) -> _Progress:
  """The latest checkpoint, or a fresh start from `state`."""
  is_first = processes.is_first()
  latest = manager.latest_step() if is_first else None
  step = int(processes.from_first(latest or 0))  # there is none of step 0
  if not step:
    state = parallel.replicate(state, run.devices)
    untrained = _evaluate(run, state) if is_first else {}
    return _Progress(0, state, untrained, 0.0)
  saved: dict[str, Any] = {"untrained": {}, "seconds": 0.0}
  if is_first:
    state, saved = checkpoint.restore_checkpoint(manager, step, state)
  run.say(f"resumed: step {step} of {run.schedule.total}")
  state = parallel.replicate(processes.from_first(state), run.devices)
  return _Progress(step, state, saved["untrained"], saved["seconds"])


def _train(
  run: Run,
  state: TrainState,
  manager: Any,
  stop: int,
  profile_steps: tuple[int, int] | None,
) -> _Progress:
  """Runs the steps that are missing, up to `stop`."""
  config, schedule = run.config, run.schedule
  start, state, untrained, seconds = _begin(run, state, manager)
  key = objective.run_key(config)
  margin = jnp.float32(config.loss.margin)
  feed = Feed(run, start, stop)
  quiet = not processes.is_first()
  watch = Stopwatch()

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
      if not (evaluating or saving or logging):
        continue
      # Fetching waits for the devices.
      with watch.time("step"):
        rows = parallel.first(pending)
      lap = watch.lap()
      seconds += lap["input"] + lap["step"] + lap["mining"]
      _log(write, bar, rows, step, lap, run.sampler)
      pending = []
      if evaluating and run.drift:
        with watch.time("evaluation"):
          moved = memory_drift(run, state, step)
        write(step, moved)
      if evaluating and not quiet:
        with watch.time("evaluation"):
          numbers = _evaluate(run, state)
        taken = {"seconds/evaluation": watch.lap()["evaluation"]}
        named = {f"eval/{name}": x for name, x in numbers.items()}
        write(step, named | taken)
      if saving and not quiet:
        with watch.time("checkpoint"):
          checkpoint.save_checkpoint(
            manager,
            step,
            parallel.first(state),
            {"untrained": untrained, "seconds": seconds},
          )
        write(step, {"seconds/checkpoint": watch.lap()["checkpoint"]})
  if stop > start:
    run.say(watch.describe())
  return _Progress(stop, state, untrained, seconds)


def _evaluate(run: Run, state: TrainState) -> dict[str, float]:
  embeddings = run.embed(state, run.eval_source)
  return run.measure(embeddings, run.config.loss.distance)


def _log(
  write: writers.WriteFn,
  bar: Any,
  rows: list[dict[str, np.ndarray]],
  step: int,
  lap: dict[str, float],
  sampler: PKSampler,
) -> None:
  """Writes every step's numbers; shows the last ones on the bar."""
  images = len(rows) * sampler.identities * sampler.images
  seconds = lap["input"] + lap["step"]
  rate = images / seconds
  clocks = {
    "images_per_second": rate,
    "seconds/input": lap["input"] / len(rows),
    "seconds/step": lap["step"] / len(rows),
  }
  for number, row in enumerate(rows, start=step - len(rows) + 1):
    numbers = {name: float(value) for name, value in row.items()}
    write(number, numbers | clocks)
  bar.set_postfix_str(
    f"loss {float(rows[-1]['loss']):.4f}, "
    f"active {float(rows[-1]['active_share']):.1%}, {rate:,.0f} images/s, "
    f"input {lap['input'] / seconds:.0%}",
    refresh=False,
  )
  bar.update(len(rows))


def _finish(run: Run, end: _Progress) -> Summary:
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
