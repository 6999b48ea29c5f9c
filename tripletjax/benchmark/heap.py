"""The suite `heap`: steps with freed memory kept, and given back.

Each is a process of its own, in the order kept, given back, given back, kept.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from tripletjax.benchmark.about import about, begin, check_only
from tripletjax.benchmark.evaluation import SayFn
from tripletjax.benchmark.tables import table

WORKER = ("-m", "tripletjax.benchmark.heap_worker")
SECONDS = 900
IMAGE = (32, 32, 1)
ORDER = ("kept", "given_back", "given_back", "kept")
COLUMNS = (
  "",
  "given back, ms",
  "kept, ms",
  "times as fast",
  "page faults a step",
  "kept",
  "resident, MB",
  "kept",
)
# Name -> what of the config a training changes, or the batch of a loss alone.
CASES: Mapping[str, Mapping[str, Any] | str] = {
  "glyphs": {},
  "glyphs_1800": {"batch.identities": 45, "batch.images": 40},
  "all_1800": "1800",
}


def measure_heap(
  config: ConfigDict, *, only: Sequence[str] = (), repeats: int, say: SayFn
) -> dict[str, Any]:
  """Everything that the suite measures, as JSON.

  Args:
    config: of the trainings.
    only: names of `CASES`; all of them when empty.
    repeats: number of samples of each process, at most.
    say: gets a line for each thing that is done.

  Raises:
    UserError: there is no case of that name.
  """
  check_only(only, CASES)
  began = begin()
  results = []
  for name in only or CASES:
    asked = {**request(config, CASES[name]), "repeats": repeats}
    runs: dict[str, list[dict[str, Any]]] = {way: [] for way in ORDER}
    for way in ORDER:
      runs[way].append(_run(way, asked))
      seconds = statistics.median(runs[way][-1]["seconds"])
      say(f"{name}: {way}: {1e3 * seconds:.1f} ms")
    results.append({"name": name, "runs": runs})
  return {
    **about("heap", began, repeats=repeats),
    "results": results,
  }


def request(
  config: ConfigDict, case: Mapping[str, Any] | str
) -> dict[str, Any]:
  """What a worker is asked for."""
  if isinstance(case, str):
    return {"size": case}
  made = config.copy_and_resolve_references()
  made.update_from_flattened_dict(dict(case))
  return {"config": json.loads(made.to_json()), "image_shape": IMAGE}


def heap_report(results: Mapping[str, Any]) -> str:
  """The table of the suite.

  Args:
    results: what `measure_heap` returns.
  """
  machine = results["machine"]
  rows = []
  for case in results["results"]:
    kept, back = (_summary(case["runs"][way]) for way in ("kept", "given_back"))
    rows.append(
      [
        case["name"],
        f"{1e3 * back['seconds']:.1f}",
        f"{1e3 * kept['seconds']:.1f}",
        f"{back['seconds'] / kept['seconds']:.2f}",
        f"{back['faults']:,.0f}",
        f"{kept['faults']:,.0f}",
        f"{back['peak_bytes'] / 1e6:,.0f}",
        f"{kept['peak_bytes'] / 1e6:,.0f}",
      ]
    )
  return "\n\n".join(
    [
      f"Steps where freed memory is kept, as the commands do, and where it is "
      f"given back, as glibc does; medians of two processes each, of "
      f"{results['repeats']} or fewer steps, {machine['cores']} cores "
      f"({machine['backend']}, jax {machine['jax']}, load before "
      f"{machine['load']:.1f}), {results['seconds'] / 60:.1f} minutes.",
      table(COLUMNS, rows),
    ]
  )


def _summary(runs: Sequence[Mapping[str, Any]]) -> dict[str, float]:
  return {
    "seconds": statistics.median([x for run in runs for x in run["seconds"]]),
    "faults": statistics.fmean(run["faults"] for run in runs),
    "peak_bytes": max(run["peak_bytes"] for run in runs),
  }


def _run(way: str, asked: Mapping[str, Any]) -> dict[str, Any]:
  # What is chosen in this one's environment isn't what is compared.
  environment = {
    name: value
    for name, value in os.environ.items()
    if not name.startswith("MALLOC_") and name != "GLIBC_TUNABLES"
  }
  with tempfile.TemporaryDirectory() as folder:
    path = Path(folder) / "asked.json"
    path.write_text(json.dumps(asked))
    process = subprocess.run(
      [sys.executable, *WORKER, way, str(path)],
      capture_output=True,
      text=True,
      env=environment,
      timeout=SECONDS,
    )
  lines = process.stdout.splitlines()
  if process.returncode or not lines:
    last = (process.stderr.splitlines() or ["no output"])[-1]
    raise RuntimeError(f"a worker of the heap suite failed: {last}")
  found: dict[str, Any] = json.loads(lines[-1])
  return found
