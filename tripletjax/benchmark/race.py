"""The race against PyTorch with pytorch-metric-learning, on the same machine.

Each run is a process of its own, and the two sides take turns. What a run is
asked for, and the data, is the same for both: images, batches, network,
augmentation, optimizer and its schedule, number of steps.
"""

from __future__ import annotations

import importlib.util
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from ml_collections import ConfigDict

from tripletjax.benchmark import race_cells
from tripletjax.benchmark.data import Size
from tripletjax.benchmark.race_cells import Cell
from tripletjax.data.caching import hold, num_cores
from tripletjax.data.sampling import pk_sampler
from tripletjax.errors import UserError
from tripletjax.training.splits import open_parts

Run = dict[str, Any]
SayFn = Callable[[str], None]
SIDES = ("ours", "theirs")
PEERS = ("torch", "pytorch_metric_learning")
PROGRAM = "tripletjax.benchmark.race_side"
# The package without what it imports: their process is to pay for PyTorch only.
BARE = f"""
import sys, types
package = types.ModuleType("tripletjax")
package.__path__ = [{str(Path(__file__).parents[1])!r}]
sys.modules["tripletjax"] = package
from {PROGRAM} import main
main(*sys.argv[1:])
"""
SECONDS = 3600  # after which a run is ended


class Job(NamedTuple):
  """A run of one side.

  Attributes:
    kind: "training", or "steps" of which only the time is asked for.
    cell: what is trained.
    side: a name from `SIDES`.
    number: the seed; of steps, which repetition.
  """

  kind: str
  cell: Cell
  side: str
  number: int

  def is_of(self, run: Run) -> bool:
    """Whether a run was of this job."""
    named = (self.kind, self.cell.name, self.side, self.number)
    return named == tuple(run[k] for k in ("kind", "cell", "side", "number"))


def make_jobs(
  cells: Sequence[Cell],
  timed: Sequence[tuple[Size, str]],
  *,
  seeds: int,
) -> list[Job]:
  """All runs in their order: by turns, and which side is first by turns."""
  jobs = [
    Job("steps", Cell(next(iter(race_cells.DATA)), *what), side, number)
    for what in timed
    for number, side in enumerate((*SIDES, *reversed(SIDES)))
  ]
  for seed in range(seeds):
    for place, cell in enumerate(cells):
      sides = SIDES if (seed + place) % 2 == 0 else tuple(reversed(SIDES))
      jobs += [Job("training", cell, side, seed) for side in sides]
  return jobs


def measure_race(
  configs: Mapping[str, ConfigDict],
  jobs: Sequence[Job],
  *,
  steps: int = 0,
  devices: int = 0,
  data_dir: str | Path,
  say: SayFn,
  runs: Sequence[Run] = (),
  save: Callable[[dict[str, Any]], None] = lambda results: None,
) -> dict[str, Any]:
  """Runs all jobs that aren't among `runs`.

  Args:
    configs: of each of `race_cells.DATA`: data, network and optimizer.
    jobs: from `make_jobs`.
    steps: of each training; as its batch is large when 0.
    devices: JAX's, on this machine's CPU; one for each core when 0.
    data_dir: folder of the prepared data sets.
    say: gets a line for each run.
    runs: of before, to go on with.
    save: is given the results after each run.

  Returns:
    `runs`, and `machine`, as JSON.

  Raises:
    UserError: the other side isn't installed, a data set isn't prepared, or it
      has too few identities for a batch; before the first run.
  """
  for library in PEERS:
    if importlib.util.find_spec(library) is None:
      raise UserError(
        f"the race needs {library}: pip install 'tripletjax[peers]'"
      )
  devices = devices or num_cores()
  results: dict[str, Any] = {
    "suite": "race",
    "machine": {
      "cores": num_cores(),
      "processor": platform.processor() or platform.machine(),
      "python": platform.python_version(),
      "devices": devices,
    },
    # One that failed is tried again.
    "runs": [run for run in runs if "failure" not in run],
  }
  opened: dict[str, tuple[Any, Any]] = {}
  missing = [
    job for job in jobs if not any(job.is_of(run) for run in results["runs"])
  ]
  for cell in dict.fromkeys(job.cell for job in missing):
    if cell.data not in opened:
      train, evaluated = (
        hold(part, where="host").source
        for part in open_parts(configs[cell.data], Path(data_dir))
      )
      opened[cell.data] = train, evaluated
  # A batch that can't be drawn is to be known before hours of runs.
  for cell in dict.fromkeys(j.cell for j in missing if j.kind == "training"):
    draw_batches(opened[cell.data][0].labels, cell.size, 1, 0)
  with tempfile.TemporaryDirectory() as folder:
    for job in missing:
      data = job.cell.data
      asked = _asked(job, configs[data], opened[data], Path(folder), steps)
      asked |= {"devices": devices, "threads": num_cores()}
      run = run_job(job, asked, Path(folder))
      say(describe(run))
      results["runs"].append(run)
      save(results)
  return results


def run_job(job: Job, asked: Mapping[str, Any], folder: Path) -> Run:
  """A side in a process of its own; its outcome, or `failure`."""
  path = folder / "asked.json"
  # Neither a cache of programs, nor threads that spin while they wait for the
  # other processes of the machine.
  environment = {
    name: value
    for name, value in os.environ.items()
    if name not in ("JAX_COMPILATION_CACHE_DIR", "XLA_FLAGS")
  }
  environment["OMP_WAIT_POLICY"] = "PASSIVE"
  about = {
    "kind": job.kind,
    "cell": job.cell.name,
    "side": job.side,
    "number": job.number,
    "load": os.getloadavg()[0],
  }
  program = ("-m", PROGRAM) if job.side == "ours" else ("-c", BARE)
  path.write_text(json.dumps({**asked, "spawned": time.time()}))
  try:
    process = subprocess.run(
      [sys.executable, *program, job.side, str(path)],
      capture_output=True,
      text=True,
      env=environment,
      timeout=SECONDS,
    )
  except subprocess.TimeoutExpired:
    return {**about, "failure": f"more than {SECONDS} s"}
  lines = process.stdout.splitlines()
  if process.returncode or not lines:
    last = (process.stderr.splitlines() or ["no output"])[-1]
    if process.returncode < 0:
      last = f"ended by signal {-process.returncode}"
    return {**about, "failure": last}
  return {**about, **json.loads(lines[-1])}


def describe(run: Run) -> str:
  """A run in a line."""
  name = f"{run['cell']} {run['kind']} {run['side']} {run['number']}"
  if "failure" in run:
    return f"{name}: {run['failure']}"
  milliseconds = 1000 * float(np.median(run["steps"]))
  said = f"{name}: {milliseconds:.0f} ms a step, {run['end']:.1f} s"
  if run["evaluations"]:
    said += f", recall@1 {run['evaluations'][-1]['recall@1']:.3f}"
  return said


def _asked(
  job: Job, config: ConfigDict, parts: tuple[Any, Any], folder: Path, steps: int
) -> dict[str, Any]:
  """What both sides of a job are asked for; its arrays are in the folder."""
  cell = job.cell
  made = config.copy_and_resolve_references()
  made.update_from_flattened_dict(
    {**race_cells.SHARED, **race_cells.LOSSES[cell.loss]}
  )
  train, evaluated = parts
  timed = job.kind == "steps"
  length = (
    race_cells.TIMED_STEPS if timed else race_cells.steps_of(cell.size, steps)
  )
  if timed:
    rng = np.random.default_rng(job.number)
    batches = rng.integers(0, len(train), (length, cell.size.batch))
    labels = np.arange(cell.size.batch) // cell.size.images
    labels = np.broadcast_to(labels, batches.shape)
  else:
    batches = draw_batches(train.labels, cell.size, length, job.number)
    labels = train.labels[batches]
  arrays = folder / "arrays.npz"
  np.savez(
    arrays,
    images=train.images,
    eval_images=evaluated.images,
    eval_labels=evaluated.labels,
    batches=batches.astype(np.int32),
    labels=labels.astype(np.int32),
  )
  marks = np.linspace(0, length, race_cells.EVALUATIONS + 1)[1:]
  return {
    "config": json.loads(made.to_json()),
    "arrays": str(arrays),
    "seed": job.number,
    "steps": length,
    "warmup": length // 10,
    "evaluate": [] if timed else sorted({int(mark) for mark in marks}),
  }


def draw_batches(
  labels: np.ndarray, size: Size, steps: int, seed: int
) -> np.ndarray:
  """Rows of images, `[steps, B]`, of identities with images enough.

  Raises:
    UserError: there aren't as many of these.
  """
  _, inverse, counts = np.unique(
    labels, return_inverse=True, return_counts=True
  )
  rows = np.flatnonzero(counts[inverse] >= size.images)
  sampler = pk_sampler(
    labels[rows],
    identities=size.identities,
    images=size.images,
    seed=seed,
  )
  return np.stack([rows[sampler[number]] for number in range(steps)])
