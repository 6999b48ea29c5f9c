"""The suite `inference`: embedding beside the bare network, search by FAISS.

Embedding is measured in this process, its ways interleaved. Ours and FAISS's
search each run in a process of their own, ours before and after theirs.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from tripletjax.benchmark.about import about, begin, check_only
from tripletjax.benchmark.data import Size
from tripletjax.benchmark.inference_steps import NETWORKS, Call, embedding_calls
from tripletjax.benchmark.peers import Peer, measure_peer
from tripletjax.benchmark.tables import at_least, table
from tripletjax.benchmark.timing import interleaved

SayFn = Callable[[str], None]
WORKER = ("-m", "tripletjax.benchmark.inference_worker")
SEARCH = "search"
# Images in a gallery, and queries.
SIZE = Size(1_000_000, 100)
# What of the bare network's throughput embedding was asked to reach.
SHARE = 0.9
SEARCH_COLUMNS = ("", "s", "times ours", "CPU, s", "MB")
# Name of a step of `inference_worker.py` -> its library, and what it is.
SEARCHES: Mapping[str, tuple[str, str]] = {
  "blocks": ("tripletjax", "ours, by blocks"),
  "faiss": ("faiss", "IndexFlat, made and searched"),
  "faiss_search": ("faiss", "IndexFlat, searched"),
}


def measure_inference(
  config: ConfigDict,
  sizes: Sequence[Size],
  *,
  only: Sequence[str] = (),
  repeats: int,
  peers: bool,
  say: SayFn,
) -> dict[str, Any]:
  """Everything that the suite measures, as JSON.

  Args:
    config: of the networks but for what `NETWORKS` changes.
    sizes: images of a gallery and queries.
    only: names of `NETWORKS`, or "search"; all of them when empty.
    repeats: number of samples of each.
    peers: whether FAISS is measured too.
    say: gets a line for each thing that is done.

  Raises:
    UserError: there is no such name.
  """
  known = (*NETWORKS, SEARCH)
  check_only(only, known)
  chosen = only or known
  began = begin()
  networks = {}
  for name in (name for name in NETWORKS if name in chosen):
    say(f"{name}: embedding")
    with tempfile.TemporaryDirectory() as folder:
      calls, network = embedding_calls(config, NETWORKS[name], Path(folder))
      networks[name] = network | _measure_calls(calls, repeats)
  searches = [
    _measure_search(size, repeats=repeats, peers=peers, say=say)
    for size in (sizes if SEARCH in chosen else ())
  ]
  return {
    **about("inference", began, repeats=repeats),
    "networks": networks,
    "searches": searches,
  }


def inference_report(results: Mapping[str, Any]) -> str:
  """The tables of the suite.

  Args:
    results: what `measure_inference` returns.
  """
  machine = results["machine"]
  parts = [
    f"Medians of {results['repeats']}, {machine['cores']} cores "
    f"({machine['backend']}, jax {machine['jax']}, load before "
    f"{machine['load']:.1f}), {results['seconds'] / 60:.1f} minutes."
  ]
  if results["networks"]:
    header = (
      "",
      "images",
      "network alone, images/s",
      "embed, of arrays",
      "by CPU time",
      "embed, of files",
      "by CPU time",
      "files decoded, images/s",
      "by one thread",
      "network and decoding, at best",
    )
    rows = [_network_row(name, of) for name, of in results["networks"].items()]
    parts.append(
      "Embedding, as a share of the network alone on decoded images:"
    )
    parts.append(table(header, rows))
  for of in results["searches"]:
    parts.append(
      f"The 5 nearest of {of['queries']:,} queries in {of['gallery']:,} x 128, "
      "float32; memory is what the calls add to the gallery:"
    )
    parts.append(table(SEARCH_COLUMNS, _search_rows(of["ways"])))
  report = "\n\n".join(parts)
  missed = report.count("**") // 2
  return f"{report}\n\n{missed or 'None'} outside of the limits."


def _measure_calls(calls: Mapping[str, Call], repeats: int) -> dict[str, Any]:
  """Seconds of each way, and those of all cores, which neighbours don't add."""
  spent: dict[str, list[float]] = {way: [] for way in calls}

  def counted(way: str) -> Call:
    def call() -> None:
      start = time.process_time()
      calls[way]()
      spent[way].append(time.process_time() - start)

    return call

  samples = interleaved({way: counted(way) for way in calls}, repeats=repeats)
  return {
    way: {
      "samples": taken,
      "seconds": statistics.median(taken),
      # The first calls compile, and find out how long a call takes.
      "cpu_seconds": statistics.median(spent[way][-repeats:]),
    }
    for way, taken in samples.items()
  }


def _network_row(name: str, of: Mapping[str, Any]) -> list[str]:
  images = of["images"]
  alone, held, files, threads, one = (
    of[way]["seconds"] for way in ("alone", "arrays", "files", "decode", "one")
  )
  cpu = {
    way: of[way]["cpu_seconds"] for way in ("alone", "arrays", "files", "one")
  }
  # Where all cores are busy, as they are with a network on a CPU.
  best = cpu["alone"] / (cpu["alone"] + cpu["one"])
  return [
    f"{name}, {of['shape'][0]} px, {of['format']}",
    f"{images:,}",
    f"{images / alone:,.0f}",
    at_least(alone / held, SHARE),
    f"{cpu['alone'] / cpu['arrays']:.2f}",
    at_least(alone / files, SHARE),
    f"{cpu['alone'] / cpu['files']:.2f}",
    f"{images / threads:,.0f}",
    f"{images / one:,.0f}",
    f"{best:.2f}",
  ]


def _measure_search(
  size: Size, *, repeats: int, peers: bool, say: SayFn
) -> dict[str, Any]:
  ways: dict[str, list[dict[str, Any]]] = {}

  def measure(name: str) -> None:
    library, _ = SEARCHES[name]
    found = measure_peer(
      Peer(name, library, SEARCH), size, repeats=repeats, program=WORKER
    )
    outcome = found.get("failure")
    if outcome is None:
      outcome = f"{statistics.median(found['samples']):.2f} s"
    say(f"{size.name} {name}: {outcome}")
    ways.setdefault(name, []).append(found)

  measure("blocks")
  for name in SEARCHES if peers else ():
    if name != "blocks":
      measure(name)
  if peers and any("samples" in ways[name][0] for name in list(ways)[1:]):
    measure("blocks")
  return {
    "gallery": size.identities,
    "queries": size.images,
    "ways": {name: _joined(runs) for name, runs in ways.items()},
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
    "cpu_seconds": statistics.median([s for run in runs for s in run["cpu"]]),
    "peak_bytes": max(run["peak_bytes"] for run in runs),
    "value": runs[-1]["value"],
  }


def _search_rows(ways: Mapping[str, Any]) -> list[list[str]]:
  ours = ways["blocks"].get("seconds")
  rows = []
  for name, of in ways.items():
    said = SEARCHES[name][1]
    if "failure" in of:
      rows.append([said, of["failure"], "", "", ""])
      continue
    times = f"{of['seconds'] / ours:.2f}" if ours else ""
    memory = f"{of['peak_bytes'] / 1e6:,.0f}"
    cpu = f"{of['cpu_seconds']:.2f}"
    rows.append([said, f"{of['seconds']:.2f}", times, cpu, memory])
  return rows
