"""The suite `caching`: a step in chunks, on devices, in bfloat16.

Each way to take the step is a process of its own, the plain one before and
after the others. The gradient is that by the weights.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from tripletjax.benchmark.about import about, begin, check_only
from tripletjax.benchmark.caching_cases import CASES, SHARED, Case, Way
from tripletjax.benchmark.evaluation import SayFn
from tripletjax.benchmark.peers import BYTES
from tripletjax.benchmark.tables import at_most, table

WORKER = ("-m", "tripletjax.benchmark.caching_worker")
SECONDS = 1800
# Differences that were asked for, relative to the plain step's.
SAME = 1e-5
COLUMNS = (
  "",
  "loss differs by",
  "gradient by",
  "activations etc., MB",
  "peak, GB",
  "s",
  "times plain",
)


def measure_caching(
  config: ConfigDict, *, only: Sequence[str] = (), repeats: int, say: SayFn
) -> dict[str, Any]:
  """Everything that the suite measures, as JSON.

  Args:
    config: what isn't said here.
    only: names of `CASES`; all of them when empty.
    repeats: number of samples of each process, at most.
    say: gets a line for each thing that is done.

  Raises:
    UserError: there is no case of that name.
  """
  check_only(only, CASES)
  began = begin()
  results = [
    measure_case(config, CASES[name], repeats=repeats, say=say)
    for name in only or CASES
  ]
  return {
    **about("caching", began, repeats=repeats),
    "results": results,
  }


def measure_case(
  config: ConfigDict, case: Case, *, repeats: int, say: SayFn
) -> dict[str, Any]:
  """All ways of a case, the plain one before and after the others."""
  found: list[dict[str, Any]] = []
  with tempfile.TemporaryDirectory() as folder:
    for number, way in enumerate([*case.ways, case.ways[0]]):
      if number == len(case.ways) and "failure" in found[0]:
        break
      file = Path(folder) / f"{number}.npz"
      run = _run(asked(config, case, way, repeats), file)
      outcome = (
        run.get("failure") or f"{statistics.median(run['seconds']):.2f} s"
      )
      say(f"{case.title}: {way.name}: {outcome}")
      if found and "loss" in run and "loss" in found[0]:
        run |= _differences(run, found[0], file, Path(folder) / "0.npz")
      found.append(run)
  plain = found[0]
  if len(found) > len(case.ways):
    plain["seconds"] = plain["seconds"] + found.pop().get("seconds", [])
  return {
    "title": case.title,
    "ways": [
      {
        "name": way.name,
        "exact": way.exact,
        "memory_limit": way.memory,
        **run,
      }
      for way, run in zip(case.ways, found, strict=True)
    ],
  }


def caching_report(results: Mapping[str, Any]) -> str:
  """The tables of the suite.

  Args:
    results: what `measure_caching` returns.
  """
  machine = results["machine"]
  parts = [
    f"A training step of all triplets, GroupNorm, with dropout and "
    f"augmentation; medians of {results['repeats']} or fewer, "
    f"{machine['cores']} cores ({machine['backend']}, jax {machine['jax']}, "
    f"load before {machine['load']:.1f}), {results['seconds'] / 60:.1f} "
    "minutes. Differences are relative to the plain step. Memory: what the "
    "compiler reserves on all devices beside arguments and results, and the "
    "most that was resident in the process, its libraries included."
  ]
  for case in results["results"]:
    plain = case["ways"][0]
    rows = [_row(way, plain) for way in case["ways"]]
    parts += [f"{case['title']}:", table(COLUMNS, rows)]
  missed = "\n".join(parts).count("**") // 2
  parts.append(f"{missed or 'None'} outside of the limits.")
  return "\n\n".join(parts)


def asked(
  config: ConfigDict, case: Case, way: Way, repeats: int
) -> dict[str, Any]:
  """What a worker is asked for."""
  made = config.copy_and_resolve_references()
  made.update_from_flattened_dict({**SHARED, **case.fields, **way.fields})
  return {
    "config": json.loads(made.to_json()),
    "image_shape": case.image_shape,
    "devices": way.devices,
    "repeats": repeats,
    "limit": BYTES,
  }


def _run(request: Mapping[str, Any], file: Path) -> dict[str, Any]:
  """A worker's results, with the number of devices."""
  path = file.with_suffix(".json")
  path.write_text(json.dumps(request))
  try:
    process = subprocess.run(
      [sys.executable, *WORKER, str(path), str(file)],
      capture_output=True,
      text=True,
      timeout=SECONDS,
    )
  except subprocess.TimeoutExpired:
    return {"failure": f"more than {SECONDS} s"}
  lines = process.stdout.splitlines()
  if process.returncode or not lines:
    last = (process.stderr.splitlines() or ["no output"])[-1]
    return {"failure": f"failed: {last}"}
  return {**json.loads(lines[-1]), "devices": request["devices"]}


def _differences(
  run: Mapping[str, Any], plain: Mapping[str, Any], file: Path, other: Path
) -> dict[str, float]:
  with (
    np.load(file, allow_pickle=False) as ours,
    np.load(other, allow_pickle=False) as theirs,
  ):
    pairs = [(ours[name], theirs[name]) for name in theirs.files]
  apart = sum(float(np.sum(np.square(a - b, dtype="f8"))) for a, b in pairs)
  whole = sum(float(np.sum(np.square(b, dtype="f8"))) for _, b in pairs)
  return {
    "loss_difference": abs(run["loss"] - plain["loss"]) / abs(plain["loss"]),
    "gradient_difference": (apart / whole) ** 0.5,
  }


def _row(way: Mapping[str, Any], plain: Mapping[str, Any]) -> list[str]:
  temporary = way.get("temporary_bytes", 0) * way.get("devices", 1)
  memory = f"{temporary / 1e6:,.0f}" if temporary else ""
  if "failure" in way:
    return [way["name"], way["failure"], "", memory, "", "", ""]
  seconds = statistics.median(way["seconds"])
  limit = way["memory_limit"]
  row = [
    way["name"],
    _small(way.get("loss_difference"), way["exact"]),
    _small(way.get("gradient_difference"), way["exact"]),
    memory,
    at_most(way["peak_bytes"] / 1e9, None if limit is None else limit / 1e9),
    f"{seconds:.3g}",
  ]
  if "failure" in plain:
    return [*row, ""]
  return [*row, f"{seconds / statistics.median(plain['seconds']):.2f}"]


def _small(difference: float | None, exact: bool) -> str:
  if difference is None:
    return ""
  shown = f"{difference:.1e}"
  return f"**{shown}**" if exact and difference > SAME else shown
