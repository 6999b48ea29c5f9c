"""The convolutions of the race's network one by one: a profile of both sides.

`python -m tripletjax.benchmark.race_layers SIDE BATCH` prints a line of JSON:
by pass, `seconds` of a call, and `work`, the seconds of all cores that it took.
"""

from __future__ import annotations

import json
import math
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from tripletjax.benchmark.tables import table
from tripletjax.data.caching import num_cores

# Side of the images, channels in, channels out; 3 x 3 with a stride of 2.
LAYERS = ((32, 1, 32), (16, 32, 64), (8, 64, 128))
WORKER = ("-m", "tripletjax.benchmark.race_layers")
SIDES = ("ours", "theirs")
SAMPLES = 11
SAMPLE = 0.03  # seconds that a sample takes at least
COLUMNS = ("convolution", "pass", "ours, ms of all cores", "theirs")

Calls = dict[str, Callable[[], object]]


def our_calls(batch: int) -> Calls:
  """Each pass of each layer by `models/convolution.py`."""
  import jax
  import jax.numpy as jnp

  from tripletjax.models.convolution import convolution

  def pass_of(function: Callable[..., Any], *arrays: np.ndarray) -> Any:
    held = [jnp.asarray(array) for array in arrays]
    compiled = jax.jit(function).lower(*held).compile()
    return lambda: jax.block_until_ready(compiled(*held))

  calls: Calls = {}
  for layer in LAYERS:
    x, kernel, by_output = layer_arrays(batch, layer)

    def forward(x: jax.Array, kernel: jax.Array) -> jax.Array:
      return convolution(x, kernel, (2, 2), "SAME")

    def by_kernel(
      x: jax.Array, kernel: jax.Array, by_output: jax.Array
    ) -> jax.Array:
      return jax.vjp(lambda w: forward(x, w), kernel)[1](by_output)[0]

    def by_images(
      x: jax.Array, kernel: jax.Array, by_output: jax.Array
    ) -> jax.Array:
      return jax.vjp(lambda x: forward(x, kernel), x)[1](by_output)[0]

    name = layer_name(layer)
    calls[f"{name}, forward"] = pass_of(forward, x, kernel)
    calls[f"{name}, by kernel"] = pass_of(by_kernel, x, kernel, by_output)
    if layer[1] > 1:  # nobody needs it of the first layer
      calls[f"{name}, by images"] = pass_of(by_images, x, kernel, by_output)
  return calls


def their_calls(batch: int) -> Calls:
  """The same by PyTorch, channels_last."""
  import torch

  torch.set_num_threads(num_cores())

  def held(array: np.ndarray, order: tuple[int, ...]) -> Any:
    found = torch.from_numpy(array.transpose(order).copy())
    return found.to(memory_format=torch.channels_last)

  def gradient(x: Any, kernel: Any, by_output: Any, which: list[bool]) -> Any:
    return lambda: torch.ops.aten.convolution_backward(
      by_output, x, kernel, None, [2, 2], [1, 1], [1, 1], False, [0, 0], 1,
      which,
    )  # fmt: skip

  def forward(x: Any, kernel: Any) -> Callable[[], Any]:
    return lambda: torch.nn.functional.conv2d(x, kernel, stride=2, padding=1)

  calls: Calls = {}
  for layer in LAYERS:
    x, kernel, by_output = layer_arrays(batch, layer)
    images, grads = (held(array, (0, 3, 1, 2)) for array in (x, by_output))
    weight = held(kernel, (3, 2, 0, 1))
    name = layer_name(layer)
    calls[f"{name}, forward"] = forward(images, weight)
    for number, what in enumerate(("by images", "by kernel")):
      if number or layer[1] > 1:
        which = [number == 0, number == 1, False]
        calls[f"{name}, {what}"] = gradient(images, weight, grads, which)
  return calls


def layer_arrays(
  batch: int, layer: tuple[int, int, int]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Images, kernel, and a gradient by the output, float32."""
  side, channels, count = layer
  rng = np.random.default_rng(0)
  shapes = (
    (batch, side, side, channels),
    (3, 3, channels, count),
    (batch, side // 2, side // 2, count),
  )
  images, kernel, grads = (
    rng.normal(size=shape).astype(np.float32) for shape in shapes
  )
  return images, kernel, grads


def layer_name(layer: tuple[int, int, int]) -> str:
  """`16 x 16, 32 to 64`."""
  side, channels, count = layer
  return f"{side} x {side}, {channels} to {count}"


def measure_calls(calls: Calls) -> dict[str, dict[str, float]]:
  """Medians of each call: `seconds`, and `work`, those of all cores."""
  found = {}
  for name, call in calls.items():
    call()
    start = time.perf_counter()
    call()
    often = math.ceil(SAMPLE / max(time.perf_counter() - start, 1e-4))
    seconds, work = [], []
    for _ in range(SAMPLES):
      start, worked = time.perf_counter(), time.process_time()
      for _ in range(often):
        call()
      seconds.append((time.perf_counter() - start) / often)
      work.append((time.process_time() - worked) / often)
    found[name] = {
      "seconds": statistics.median(seconds),
      "work": statistics.median(work),
    }
  return found


def measure_layers(batch: int) -> list[dict[str, Any]]:
  """Both sides in processes of their own, each twice, by turns."""
  return [
    {"side": side, "batch": batch, "calls": _run(side, batch)}
    for side in (*SIDES, *reversed(SIDES))
  ]


def layers_table(layers: Sequence[Mapping[str, Any]]) -> str:
  """The smaller of the two medians of each side, as a table."""

  def least(side: str, name: str) -> float:
    return min(
      run["calls"][name]["work"] for run in layers if run["side"] == side
    )

  names = list(layers[0]["calls"])
  rows = [
    [*name.rsplit(", ", 1), *(f"{1000 * least(s, name):.1f}" for s in SIDES)]
    for name in names
  ]
  sums = (sum(least(side, name) for name in names) for side in SIDES)
  rows.append(["all", "", *(f"{1000 * total:.1f}" for total in sums)])
  return table(COLUMNS, rows)


def _run(side: str, batch: int) -> dict[str, Any]:
  process = subprocess.run(
    [sys.executable, *WORKER, side, str(batch)],
    capture_output=True,
    text=True,
    env={**os.environ, "OMP_WAIT_POLICY": "PASSIVE"},
    check=True,
  )
  return json.loads(process.stdout.splitlines()[-1])


def main(side: str, batch: str) -> None:
  """Measures one side and prints it."""
  calls = {"ours": our_calls, "theirs": their_calls}[side](int(batch))
  print(json.dumps(measure_calls(calls)))


if __name__ == "__main__":
  main(*sys.argv[1:])
