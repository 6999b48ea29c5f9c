"""The suite `scaling`: a device's work for 1 to 64 devices and one batch.

Nothing is run: FLOPs, bytes and collectives are read off the program that XLA
compiles for one of D virtual CPU devices. With a global batch that stays, work
is to fall as 1/D, and what travels is one all-gather of the embeddings and its
transpose (a reduce-scatter of their gradient).
"""

from __future__ import annotations

import json
import math
import os
import re
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from tripletjax.benchmark.cases import make_cases
from tripletjax.benchmark.data import DIMENSION, Size
from tripletjax.benchmark.evaluation import SayFn
from tripletjax.benchmark.tables import at_most, table
from tripletjax.errors import UserError

WORKER = ("-m", "tripletjax.benchmark.scaling_worker")
DEVICES = (1, 2, 4, 8, 16, 32, 64)
# XLA counts the body of a loop once, and the loop over positives looks at 8 of
# them at a time: with 8 images an identity nothing is left out.
SIZE = Size(512, 8)
NAMES = (
  "all",
  "all_semi_hard",
  "semi_hard",
  "batch_hard",
  "random_semi_hard",
  "distance_weighted",
  "multi_similarity",
)
# Exponents that were asked for: work falls at least so fast.
FLOPS, BYTES = -0.95, -0.85
# What travels, in all-gathers of the embeddings with their transpose.
TRAFFIC = 1.05
COLUMNS = (
  "",
  "GFLOP at 1",
  "at {most}",
  "exponent",
  "MB at 1",
  "at {most}",
  "exponent",
  "collective MB",
  "times the least",
)

_COLLECTIVE = re.compile(
  r"= (?P<shapes>\(.*?\)|\S+) (?P<name>all-gather|all-reduce|reduce-scatter|"
  r"all-to-all|collective-permute)(?P<start>-start)?\("
)
_SHAPE = re.compile(r"(?P<type>[a-z]+)(?P<bits>\d*)[a-z0-9]*\[(?P<axes>[\d,]*)")


def measure_scaling(
  sizes: Sequence[Size],
  *,
  only: Sequence[str] = (),
  devices: Sequence[int] = DEVICES,
  say: SayFn,
) -> dict[str, Any]:
  """Everything that the suite measures, as JSON.

  Args:
    sizes: the global batch, one size.
    only: names of losses as `make_cases` knows them; `NAMES` when empty.
    devices: numbers of devices, from 1.
    say: gets a line for each loss.

  Raises:
    UserError: there are two sizes, devices that can't share the batch, or no
      loss of that name.
  """
  if len(sizes) != 1 or sizes[0].batch % max(devices):
    raise UserError(
      f"--sizes: expected one batch of a multiple of {max(devices)} images, "
      f"such as {SIZE.name}; got {', '.join(size.name for size in sizes)}"
    )
  start = time.perf_counter()
  results = {}
  for case in make_cases(only or NAMES):
    results[case.name] = _measure(case.name, sizes[0], devices)
    exponent = fitted(results[case.name], "flops")
    say(f"{case.name}: FLOPs of a device fall as D^{exponent:.2f}")
  return {
    "suite": "scaling",
    "identities": sizes[0].identities,
    "images": sizes[0].images,
    "jax": jax.__version__,
    "seconds": time.perf_counter() - start,
    "results": results,
  }


def scaling_report(results: Mapping[str, Any]) -> str:
  """The table of the suite.

  Args:
    results: what `measure_scaling` returns.
  """
  size = Size(results["identities"], results["images"])
  rows = [_row(name, of, size.batch) for name, of in results["results"].items()]
  most = max(of["devices"] for of in next(iter(results["results"].values())))
  columns = [name.format(most=most) for name in COLUMNS]
  body = table(columns, rows)
  missed = body.count("**") // 2
  return "\n\n".join(
    [
      f"Value and gradient of a global batch of {size.batch:,} ({size.name}), "
      f"{DIMENSION} dimensions, float32: work of one device, compiled for 1 to "
      f"{most} virtual CPU devices (jax {results['jax']}, "
      f"{results['seconds'] / 60:.1f} minutes); the least that travels is one "
      "all-gather of the embeddings and its transpose.",
      body,
      f"{missed or 'None'} outside of the limits.",
    ]
  )


def fitted(points: Sequence[Mapping[str, float]], field: str) -> float:
  """The exponent e of `field ~ devices^e`, by least squares of logarithms.

  >>> round(fitted([{"devices": d, "x": 6 / d} for d in (1, 2, 4)], "x"), 6)
  -1.0
  """
  x = np.log([point["devices"] for point in points])
  y = np.log([point[field] for point in points])
  return float(np.polyfit(x, y, 1)[0])


def collective_bytes(program: str) -> dict[str, int]:
  r"""Bytes that one device's program exchanges, by the kind of collective.

  Counted is the whole array: what an all-gather returns and what a
  reduce-scatter is given, so that one is as much as its transpose.

  Args:
    program: compiled HLO, as `compiled.as_text()` prints it.

  >>> collective_bytes(
  ...   "%g = f32[8,4]{1,0} all-gather(%x), replica_groups={{0,1}}\n"
  ...   "%r = f32[4,4]{1,0} reduce-scatter(%y), replica_groups=[1,2]<=[2]"
  ... )
  {'all-gather': 128, 'reduce-scatter': 128}
  """
  found: dict[str, int] = {}
  for line in program.splitlines():
    match = _COLLECTIVE.search(line)
    if match is None:
      continue
    shapes = [_bytes(shape) for shape in _SHAPE.finditer(match["shapes"])]
    if match["start"] and match["name"] != "all-reduce":
      shapes = shapes[1:2]  # of an operand and its result
    size = sum(shapes)
    if match["name"] == "reduce-scatter":
      size *= _group(line)
    found[match["name"]] = found.get(match["name"], 0) + size
  return found


def least_bytes(batch: int) -> int:
  """Of one all-gather of the embeddings, and of its transpose."""
  return 2 * 4 * batch * DIMENSION


def _bytes(shape: re.Match[str]) -> int:
  # A pred has no bits in its name, and takes a byte.
  bits = int(shape["bits"] or 8)
  axes = [int(axis) for axis in shape["axes"].split(",") if axis]
  return int(np.prod(axes, dtype=np.int64)) * bits // 8


def _group(line: str) -> int:
  """How many devices take part."""
  if listed := re.search(r"replica_groups=\{\{([\d,]*)\}", line):
    return len(listed[1].split(","))
  if counted := re.search(r"replica_groups=\[\d+,(\d+)\]", line):
    return int(counted[1])
  # As of jax 0.12: mesh['rows'=2,'columns'=4] {'columns'}.
  if named := re.search(r"replica_groups=mesh\[(.*?)\].*?\{(.*?)\}", line):
    sizes = dict(re.findall(r"'(\w+)'=(\d+)", named[1]))
    return math.prod(int(sizes[axis]) for axis in re.findall(r"\w+", named[2]))
  raise ValueError(f"expected replica_groups in {line.strip()!r}")


def _measure(
  name: str, size: Size, devices: Sequence[int]
) -> list[dict[str, Any]]:
  flags = f"--xla_force_host_platform_device_count={max(devices)}"
  process = subprocess.run(
    [sys.executable, *WORKER, name, size.name, ",".join(map(str, devices))],
    capture_output=True,
    text=True,
    env={**os.environ, "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"},
  )
  if process.returncode:
    last = (process.stderr.splitlines() or ["no output"])[-1]
    raise RuntimeError(f"{name}: the worker failed: {last}")
  return json.loads(process.stdout.splitlines()[-1])


def _row(name: str, points: Sequence[Mapping[str, Any]], batch: int) -> list:
  first, last = points[0], points[-1]
  traffic = max(sum(point["collectives"].values()) for point in points)
  return [
    name,
    f"{first['flops'] / 1e9:.3g}",
    f"{last['flops'] / 1e9:.3g}",
    at_most(fitted(points, "flops"), FLOPS),
    f"{first['bytes'] / 1e6:,.0f}",
    f"{last['bytes'] / 1e6:,.0f}",
    at_most(fitted(points, "bytes"), BYTES),
    f"{traffic / 1e6:.2f}",
    at_most(traffic / least_bytes(batch), TRAFFIC),
  ]
