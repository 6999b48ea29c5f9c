"""The suite `evaluation`: time and memory of retrieval beside FAISS.

Ours and pytorch-metric-learning's AccuracyCalculator each run in a process of
their own, ours before and after theirs. Memory is the peak that the calls add.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from tripletjax.benchmark.about import about, begin, check_only
from tripletjax.benchmark.data import Size
from tripletjax.benchmark.peers import Peer, measure_peer
from tripletjax.benchmark.tables import at_least, at_most, table

SayFn = Callable[[str], None]
WORKER = ("-m", "tripletjax.benchmark.evaluation_worker")
MANY, LARGE = Size(6000, 10), Size(10, 1000)
# What is measured unless asked otherwise: sizes, and each of `CASES`.
SIZES = (MANY, LARGE)
COLUMNS = (
  "",
  "embeddings",
  "ours, s",
  "theirs, s",
  "times faster",
  "ours, MB",
  "theirs, MB",
  "share of memory",
)


class Case(NamedTuple):
  """Something that is measured.

  Attributes:
    ours: what `evaluation_worker.py` calls it.
    theirs: the same by another library; empty where there is none.
    faster: size -> how many times faster ours was asked to be.
    memory: size -> which share of their memory ours may take.
  """

  ours: str
  theirs: str = ""
  faster: Mapping[Size, float] = {}
  memory: Mapping[Size, float] = {}


CASES: Mapping[str, Case] = {
  "map@r": Case(
    "map@r", "pml_map@r", {MANY: 1.8, LARGE: 1.0}, {MANY: 0.4, LARGE: 0.4}
  ),
  "recall@1": Case("recall@1", "pml_recall@1", {MANY: 3.5}, {MANY: 0.4}),
  "all scores": Case("all scores"),
  "pairs": Case("pairs"),
  # Each pair's distance, once, and nothing else: the least that all have to do.
  "distances": Case("distances"),
}


def measure_evaluation(
  sizes: Sequence[Size],
  *,
  only: Sequence[str] = (),
  repeats: int,
  peers: bool,
  say: SayFn,
) -> dict[str, Any]:
  """Everything that the suite measures, as JSON.

  Args:
    sizes: identities and images of each.
    only: names of `CASES`; all of them when empty.
    repeats: number of samples of each process, at most.
    peers: whether the other library is measured too.
    say: gets a line for each thing that is done.

  Raises:
    UserError: there is no case of that name.
  """
  check_only(only, CASES)
  began = begin()
  results = [
    _measure(name, size, repeats=repeats, peers=peers, say=say)
    for size in sizes
    for name in only or CASES
  ]
  return {
    **about("evaluation", began, repeats=repeats),
    "results": results,
  }


def evaluation_report(results: Mapping[str, Any]) -> str:
  """The table of the suite.

  Args:
    results: what `measure_evaluation` returns.
  """
  machine = results["machine"]
  rows = table(COLUMNS, [_row(of) for of in results["results"]])
  missed = rows.count("**") // 2
  return "\n\n".join(
    [
      f"128 dimensions, float32, medians of {results['repeats']} or fewer, "
      f"{machine['cores']} cores ({machine['backend']}, jax {machine['jax']}, "
      f"load before {machine['load']:.1f}), {results['seconds'] / 60:.1f} "
      "minutes. Theirs: pytorch-metric-learning with FAISS.",
      rows,
      f"{missed or 'None'} outside of the limits.",
    ]
  )


def _measure(
  name: str, size: Size, *, repeats: int, peers: bool, say: SayFn
) -> dict[str, Any]:
  case = CASES[name]

  def measured(step: str, library: str) -> dict[str, Any]:
    found = measure_peer(
      Peer(step, library, name), size, repeats=repeats, program=WORKER
    )
    outcome = found.get("failure")
    if outcome is None:
      outcome = f"{statistics.median(found['samples']):.2f} s"
    say(f"{size.name} {step}: {outcome}")
    return found

  ours = [measured(case.ours, "tripletjax")]
  theirs: dict[str, Any] = {}
  if peers and case.theirs:
    theirs = measured(case.theirs, "faiss")
    if "failure" not in theirs:
      ours.append(measured(case.ours, "tripletjax"))
  return {
    "case": name,
    "identities": size.identities,
    "images": size.images,
    "ours": _joined(ours),
    "theirs": theirs
    if "failure" in theirs or not theirs
    else _joined([theirs]),
    "faster_limit": case.faster.get(size),
    "memory_limit": case.memory.get(size),
  }


def _joined(runs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
  """Samples of all runs, and the most memory of any; or their failure."""
  for run in runs:
    if "failure" in run:
      return dict(run)
  samples = [sample for run in runs for sample in run["samples"]]
  return {
    "samples": samples,
    "seconds": statistics.median(samples),
    "peak_bytes": max(run["peak_bytes"] for run in runs),
    "value": runs[-1]["value"],
  }


def _row(of: Mapping[str, Any]) -> list[str]:
  ours, theirs = of["ours"], of["theirs"]
  count, images = of["identities"] * of["images"], of["images"]
  row = [of["case"], f"{count:,} ({of['identities']:,} x {images:,})"]
  if "failure" in ours:
    return [*row, ours["failure"], "", "", "", "", ""]
  seconds, memory = ours["seconds"], ours["peak_bytes"] / 1e6
  row.append(f"{seconds:.2f}")
  if "seconds" not in theirs:
    outcome = theirs.get("failure", "")
    return [*row, outcome, "", f"{memory:.0f}", "", ""]
  other = theirs["peak_bytes"] / 1e6
  return [
    *row,
    f"{theirs['seconds']:.2f}",
    at_least(theirs["seconds"] / seconds, of["faster_limit"]),
    f"{memory:.0f}",
    f"{other:.0f}",
    at_most(memory / max(other, 1e-3), of["memory_limit"]),
  ]
