"""Training steps that wait for their batches, beside steps that don't."""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from tripletjax.benchmark.input_files import Kind
from tripletjax.data.caching import hold
from tripletjax.data.pipeline import batches, load_batch
from tripletjax.data.sampling import pk_sampler
from tripletjax.data.sources import Source
from tripletjax.training import objective, parallel
from tripletjax.training.network import make_model
from tripletjax.training.optimizer import make_optimizer
from tripletjax.training.run_data import place_table
from tripletjax.training.state import create_state
from tripletjax.training.step import make_train_step

REPEATED = "one repeated batch"
WARM = 2  # steps before those that are timed
FILL = 0.5  # seconds in which a loader that doesn't decode fills its buffer
AHEAD = 12  # more batches than any buffer holds

# -> batches on the devices.
LoadFn = Callable[[], Iterator[Any]]


class Trainer:
  """A small network that learns from any batches."""

  def __init__(self, config: ConfigDict, source: Source):
    """Makes the step and its state.

    Args:
      config: names the network, the loss and the optimizer.
      source: whose shape of images is learned from.
    """
    self.devices = parallel.local_devices()
    state = create_state(
      make_model(config, axis_name=parallel.AXIS),
      make_optimizer(config, total_steps=10**6, warmup_steps=0),
      image_shape=source.image_shape,
      key=jax.random.key(0),
    )
    self._state = parallel.replicate(state, self.devices)
    self._step = parallel.data_parallel(
      make_train_step(
        objective.make_loss(config, next_after=0, margin_steps=1),
        objective.make_augment(config),
        axis_name=parallel.AXIS,
      ),
      self.devices,
      replicated=(2, 3),
      donate=(0,),
    )

  def seconds(
    self, loaded: Iterator[Any], *, steps: int, fill: float = 0.0
  ) -> float:
    """Seconds of a step, the mean of `steps`.

    Args:
      loaded: batches on the devices; more than those that are timed, so that
        loading goes on up to the end.
      steps: number of steps that are timed.
      fill: seconds to wait until the loader's buffer is full: what is timed
        then pays for as many batches as it takes.
    """
    key = jax.random.key(0)
    numbers = {"loss": {"margin": jnp.float32(0.2)}}
    start = 0.0
    for number in range(WARM + steps):
      if number == WARM:
        jax.block_until_ready(self._state)
        time.sleep(fill)
        start = time.perf_counter()
      self._state, _ = self._step(self._state, next(loaded), key, numbers)
    jax.block_until_ready(self._state)
    return (time.perf_counter() - start) / steps


def measure_steps(
  config: ConfigDict, kind: Kind, source: Source, *, steps: int, repeats: int
) -> dict[str, Any]:
  """Seconds of a step by where the decoded images are held.

  Args:
    config: names the network, the loss and the optimizer.
    kind: the batches.
    source: decodes at every access.
    steps: number of steps of a sample.
    repeats: number of samples.

  Returns:
    By place: `samples` (seconds of a step), their median `seconds`, and the
    median `ratio` to the step on one repeated batch, sample by sample.
  """
  trainer = Trainer(config, source)
  loads = {
    place: _loader(source, kind, place, trainer.devices)
    for place in ("none", "host", "device")
  }
  # Of the decoded images on the host, so that its step is the same.
  repeated = next(loads["host"]())
  jax.block_until_ready(repeated)
  loads[REPEATED] = lambda: itertools.repeat(repeated)
  fills = {name: AHEAD * _seconds_to_load(source, kind) for name in ["none"]}
  for load in loads.values():  # what is compiled for each
    trainer.seconds(load(), steps=1)
  samples: dict[str, list[float]] = {name: [] for name in loads}
  order = list(loads)
  for _ in range(repeats):
    for name in order:
      seconds = trainer.seconds(
        loads[name](), steps=steps, fill=fills.get(name, FILL)
      )
      samples[name].append(seconds)
    order.reverse()
  return {
    name: {
      "samples": taken,
      "seconds": statistics.median(taken),
      "ratio": statistics.median(
        one / other for one, other in zip(taken, samples[REPEATED], strict=True)
      ),
    }
    for name, taken in samples.items()
  }


def _seconds_to_load(source: Source, kind: Kind) -> float:
  """Seconds in which one thread loads a batch."""
  start = time.perf_counter()
  load_batch(source, np.arange(kind.identities * kind.images))
  return time.perf_counter() - start


def _loader(
  source: Source, kind: Kind, place: str, devices: parallel.Devices
) -> LoadFn:
  sampler = pk_sampler(
    source.labels, identities=kind.identities, images=kind.images, seed=0
  )
  held = hold(source, where=place, free_device=10**12)
  table = place_table(held, devices)

  def load() -> Iterator[Any]:
    loaded = parallel.ahead(
      batches(held.source, sampler, pixels=table is None), devices
    )
    if table is None:
      return loaded
    return ({"table": table, **batch} for batch in loaded)

  return load
