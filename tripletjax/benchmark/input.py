"""The suite `input`: does the pipeline keep the accelerator busy?"""

from __future__ import annotations

import importlib.util
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from tripletjax.benchmark.about import about, begin, check_only
from tripletjax.benchmark.input_files import (
  KINDS,
  Kind,
  make_files,
  open_files,
)
from tripletjax.benchmark.input_steps import measure_steps
from tripletjax.benchmark.peers import NOT_INSTALLED
from tripletjax.data.caching import cache, num_cores
from tripletjax.data.pipeline import batches
from tripletjax.data.sampling import pk_sampler
from tripletjax.data.sources import Source

# Steps may take so many times those on one repeated batch, and our loader has
# to be so many times as fast as the other.
STEP_LIMIT = 1.05
FASTER_LIMIT = 2.0
# Steps of a sample; batches of a sample of a loader.
STEPS = {"omniglot": 12, "faces": 6}
BATCHES = {"omniglot": 20, "faces": 40}
# Identities x images of each.
INDICES = ((1_000_000, 10), (1_000_000, 100))
INDEX = "index"
LOADERS = ("pytorch_metric_learning", "torch")
WORKER = "tripletjax.benchmark.input_worker"
SECONDS = 600

SayFn = Callable[[str], None]


def measure_input(
  config: ConfigDict,
  *,
  only: Sequence[str],
  repeats: int,
  peers: bool,
  say: SayFn,
) -> dict[str, Any]:
  """Everything that the suite measures, as JSON.

  Args:
    config: names the network, the loss and the optimizer of the steps.
    only: names of `KINDS`, or "index"; all of them when empty.
    repeats: number of samples of each.
    peers: whether PyTorch's loader is measured too.
    say: gets a line for each thing that is done.

  Raises:
    UserError: there is no such name.
  """
  known = (*KINDS, INDEX)
  check_only(only, known)
  chosen = only or known
  began = begin()
  kinds = {}
  for name in (name for name in KINDS if name in chosen):
    with tempfile.TemporaryDirectory() as folder:
      kinds[name] = _measure_kind(
        config,
        KINDS[name],
        Path(folder),
        repeats=repeats,
        peers=peers,
        say=say,
      )
  indices = []
  for identities, each in INDICES if INDEX in chosen else ():
    say(f"index of {identities:,} identities x {each} images")
    indices.append(measure_index(identities, each))
  return {
    **about("input", began, repeats=repeats),
    "kinds": kinds,
    "indices": indices,
  }


def measure_index(identities: int, each: int) -> dict[str, Any]:
  """The index of so many images, in a process of its own."""
  about = {"identities": identities, "images": identities * each}
  return about | run_worker("index", identities, each)


def measure_loaders(
  kind: Kind,
  source: Source,
  folder: Path,
  *,
  number: int,
  repeats: int,
  peers: bool,
) -> dict[str, Any]:
  """Images per second of our loader, and of PyTorch's on the same files.

  Returns:
    `decoding` and `cached` for ours, `peer` for the better one of PyTorch's
    loader with and without processes: median `rate` of `samples`; or a
    `failure`.
  """
  missing = [
    library for library in LOADERS if importlib.util.find_spec(library) is None
  ]
  sources = {"decoding": source, "cached": cache(source)}
  samples: dict[str, list[float]] = {name: [] for name in sources}
  others: dict[int, list[float]] = {0: [], num_cores(): []}
  failure = "" if peers and not missing else NOT_INSTALLED
  for _ in range(repeats):
    for name, of in sources.items():
      samples[name].append(_our_rate(kind, of, number))
    for workers, rates in others.items():
      if failure:
        continue
      found = run_worker(
        "loader", folder, kind.ending, kind.side,
        "L" if kind.channels == 1 else "RGB",
        kind.identities, kind.images, number, workers,
      )  # fmt: skip
      failure = found.get("failure", "")
      rates.append(found.get("rate", 0.0))
  rates_of_ours = {
    name: {"samples": taken, "rate": statistics.median(taken)}
    for name, taken in samples.items()
  }
  if failure:
    return {**rates_of_ours, "peer": {"failure": failure}}
  best = max(others, key=lambda workers: statistics.median(others[workers]))
  peer = {
    "workers": best,
    "samples": others[best],
    "rate": statistics.median(others[best]),
  }
  return {**rates_of_ours, "peer": peer}


def run_worker(*arguments: object) -> dict[str, Any]:
  """What `input_worker` prints, or a `failure`."""
  # Threads that spin while they wait would take the cores from the others.
  environment = {**os.environ, "OMP_WAIT_POLICY": "PASSIVE"}
  try:
    process = subprocess.run(
      [sys.executable, "-m", WORKER, *map(str, arguments)],
      capture_output=True,
      text=True,
      env=environment,
      timeout=SECONDS,
    )
  except subprocess.TimeoutExpired:
    return {"failure": f"more than {SECONDS} s"}
  lines = process.stdout.splitlines()
  if process.returncode or not lines:
    last = (process.stderr.splitlines() or ["no output"])[-1]
    return {"failure": f"failed: {last}"}
  return json.loads(lines[-1])


def _measure_kind(
  config: ConfigDict,
  kind: Kind,
  folder: Path,
  *,
  repeats: int,
  peers: bool,
  say: SayFn,
) -> dict[str, Any]:
  say(f"{kind.name}: writing {kind.classes * kind.each:,} files")
  make_files(kind, folder)
  source = open_files(kind, folder)
  say(f"{kind.name}: loaders")
  loaders = measure_loaders(
    kind,
    source,
    folder,
    number=BATCHES[kind.name],
    repeats=repeats,
    peers=peers,
  )
  say(f"{kind.name}: training steps")
  steps = measure_steps(
    config, kind, source, steps=STEPS[kind.name], repeats=repeats
  )
  for place, of in steps.items():
    say(f"{kind.name} {place}: {1000 * of['seconds']:.0f} ms a step")
  return {
    "batch": kind.identities * kind.images,
    "identities": kind.identities,
    "images": kind.images,
    "bytes": sum(path.stat().st_size for path in folder.rglob("*.*")),
    "files": len(source),
    "steps": steps,
    "loaders": loaders,
  }


def _our_rate(kind: Kind, source: Source, number: int) -> float:
  """Images per second, after the buffer is full."""
  sampler = pk_sampler(
    source.labels, identities=kind.identities, images=kind.images, seed=0
  )
  warm, ahead = 4, 8
  loader = batches(source, sampler, stop=warm + number + ahead)
  for _ in range(warm):
    next(loader)
  # What is in the buffer now is as much as is in it at the end.
  start = time.perf_counter()
  for _ in range(number):
    next(loader)
  return number * kind.identities * kind.images / (time.perf_counter() - start)
