"""One training step: `python -m tripletjax.benchmark.caching_worker`.

Arguments: a JSON file of `config`, `image_shape`, `devices`, `repeats` and
`limit` (bytes), and a file for the gradient (`.npz`). Prints a line of JSON:
`loss`, `seconds` (samples), `temporary_bytes` (of one device, by the compiler),
`peak_bytes` (the most that was resident while stepping), or `failure`.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from tripletjax.benchmark.timing import adaptive
from tripletjax.benchmark.worker import peak_bytes
from tripletjax.training import objective, parallel
from tripletjax.training.network import make_model
from tripletjax.training.numbers import step_numbers
from tripletjax.training.optimizer import make_optimizer
from tripletjax.training.state import TrainState, create_state
from tripletjax.training.step import make_train_step

# Seconds after which no further sample begins.
BUDGET = 60.0


def step_arguments(
  config: ConfigDict, shape: tuple[int, int, int], devices: parallel.Devices
) -> tuple[Any, ...]:
  """The first step's arguments: a fresh state, random images, key, numbers."""
  state = create_state(
    make_model(config, axis_name=parallel.AXIS),
    make_optimizer(config, total_steps=1000, warmup_steps=0),
    image_shape=shape,
    key=jax.random.key(config.seed),
    loss_parameters=objective.loss_parameters(config),
  )
  count = config.batch.identities * config.batch.images
  rng = np.random.default_rng(config.seed)
  # An identity's pattern of 4 x 4 fields, and noise. In noise alone a network
  # that isn't trained sees the same everywhere: the gradient would be the small
  # difference of large sums.
  height, width, channels = shape
  patterns = rng.integers(
    0, 192, (config.batch.identities, 4, 4, channels), np.uint8
  )
  patterns = patterns.repeat(-(-height // 4), axis=1)[:, :height]
  patterns = patterns.repeat(-(-width // 4), axis=2)[:, :, :width]
  noise = rng.integers(0, 64, (count, *shape), np.uint8)
  batch = {
    "image": patterns.repeat(config.batch.images, axis=0) + noise,
    "label": np.arange(count, dtype=np.int32) // config.batch.images,
    "id": np.arange(count, dtype=np.int32),
  }
  (shards,) = parallel.ahead([batch], devices)
  return (
    parallel.replicate(state, devices),
    shards,
    objective.run_key(config),
    step_numbers(config),
  )


def training_step(
  config: ConfigDict, devices: parallel.Devices, *, donate: tuple[int, ...] = ()
) -> Any:
  """A training's step on devices, as `step_arguments` gives its arguments."""
  objective.check_config(config)
  return parallel.data_parallel(
    make_train_step(
      objective.make_loss(config, next_after=0, margin_steps=1),
      objective.make_augment(config),
      axis_name=parallel.AXIS,
      chunk=config.batch.chunk,
    ),
    devices,
    replicated=(2, 3),
    donate=donate,
    backend=config.parallel.backend,
  )


def gradient(state: TrainState) -> list[np.ndarray]:
  """The gradient of the first step: the momentum that SGD has after it."""
  leaves = jax.tree.leaves(parallel.first(state.opt_state))
  return [x for x in leaves if np.issubdtype(x.dtype, np.floating)]


def measure_step(asked: dict[str, Any], file: Path) -> dict[str, Any]:
  """Compiles a step, runs it, and saves its gradient."""
  config = ConfigDict(asked["config"])
  devices = parallel.local_devices()[: asked["devices"]]
  step = training_step(config, devices)
  arguments = step_arguments(config, tuple(asked["image_shape"]), devices)
  compiled = step.lower(*arguments).compile()
  temporary = int(compiled.memory_analysis().temp_size_in_bytes)
  if temporary * len(devices) > asked["limit"]:
    return {"failure": "doesn't fit", "temporary_bytes": temporary}
  peak_bytes(anew=True)
  start = time.perf_counter()
  state, metrics = jax.block_until_ready(compiled(*arguments))
  samples = [time.perf_counter() - start]
  peak = peak_bytes()
  np.savez(file, *gradient(state))
  del state
  if samples[0] < BUDGET / 2:
    samples = adaptive(
      lambda: jax.block_until_ready(compiled(*arguments)),
      repeats=asked["repeats"],
      budget=BUDGET,
    )
  return {
    "loss": float(parallel.first(metrics)["loss"]),
    "seconds": samples,
    "temporary_bytes": temporary,
    "peak_bytes": peak,
  }


def main(path: str, file: str) -> None:
  """Measures what the file asks for and prints the results."""
  asked = json.loads(Path(path).read_text())
  jax.config.update("jax_num_cpu_devices", asked["devices"])
  print(json.dumps(measure_step(asked, Path(file))))


if __name__ == "__main__":
  main(*sys.argv[1:])
