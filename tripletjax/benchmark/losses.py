"""The suite `losses`: time and memory of each loss, beside floor and peers."""

from __future__ import annotations

import functools
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from tripletjax.benchmark.about import about, begin
from tripletjax.benchmark.cases import (
  FLOOR,
  LONG_TAILED,
  Case,
  absent_cases,
  compile_loss,
  floor_loss,
  memory_limit,
  temporary_bytes,
  time_limit,
)
from tripletjax.benchmark.data import (
  Size,
  balanced_labels,
  long_tailed_labels,
  make_embeddings,
  positive_pairs,
)
from tripletjax.benchmark.peers import PEERS, Peer, measure_peer
from tripletjax.benchmark.timing import interleaved

SayFn = Callable[[str], None]
TAIL = ", long-tailed"
PEER_REPEATS = 3


def measure_losses(
  sizes: Sequence[Size],
  cases: Sequence[Case],
  *,
  repeats: int,
  peers: bool,
  say: SayFn,
  other_python: str = "",
) -> dict[str, Any]:
  """Everything that the suite measures, as JSON.

  Args:
    sizes: of the batches.
    cases: the losses.
    repeats: number of samples of the floor and of each loss.
    peers: whether other libraries are measured too.
    say: gets a line for each thing that is done.
    other_python: an interpreter for the peers that this one lacks.
  """
  began = begin()
  for name in absent_cases():
    say(f"{name}: neither in MINERS nor in LOSSES")
  results = [
    _measure_size(
      size,
      cases,
      repeats=repeats,
      peers=peers,
      say=say,
      other_python=other_python,
    )
    for size in sizes
  ]
  return {
    **about("losses", began, repeats=repeats),
    "sizes": results,
  }


def _measure_size(
  size: Size,
  cases: Sequence[Case],
  *,
  repeats: int,
  peers: bool,
  say: SayFn,
  other_python: str,
) -> dict[str, Any]:
  labels = {"": balanced_labels(size), TAIL: long_tailed_labels(size)}
  batches = {
    kind: (make_embeddings(of_kind), of_kind, jax.random.key(0))
    for kind, of_kind in labels.items()
  }
  batches = jax.tree.map(jax.numpy.asarray, batches)
  found: dict[str, dict[str, Any]] = {}
  calls: dict[str, Callable[[], object]] = {}
  for case in [Case(FLOOR, floor_loss), *cases]:
    begin = time.perf_counter()
    compiled = compile_loss(case.loss_fn, size)
    compiling = time.perf_counter() - begin
    say(f"{size.name} {case.name}: compiled in {compiling:.1f} s")
    kinds = ("", TAIL) if case.name in LONG_TAILED else ("",)
    for kind in kinds:
      calls[case.name + kind] = functools.partial(
        _call, compiled, batches[kind]
      )
    found[case.name] = {
      "compile_seconds": compiling,
      "value": float(compiled(*batches[""])[0]),
      "temporary_bytes": temporary_bytes(compiled),
      "memory_limit": memory_limit(case.name, size),
    }
  say(f"{size.name}: {repeats} passes over {len(calls)} calls")
  samples = interleaved(calls, repeats=repeats)
  medians = {name: statistics.median(of) for name, of in samples.items()}
  for name, seconds in medians.items():
    times = seconds / medians[FLOOR]
    say(f"{size.name} {name}: {1000 * seconds:.2f} ms, {times:.2f} x floor")
  for name, of_case in found.items():
    of_case |= {
      "samples": samples[name],
      "seconds": medians[name],
      "ratio": medians[name] / medians[FLOOR],
      "limit": time_limit(name, size),
    }
  measured = {
    "identities": size.identities,
    "images": size.images,
    "floor": found.pop(FLOOR),
    "losses": found,
    "long_tailed": {
      name: {
        "pairs": positive_pairs(labels[TAIL]),
        "balanced_pairs": positive_pairs(labels[""]),
        "largest": int(np.bincount(labels[TAIL]).max()),
        "samples": samples[name + TAIL],
        "ratio": medians[name + TAIL] / medians[name],
        "limit": limit,
      }
      for name, limit in LONG_TAILED.items()
      if name in found
    },
    "peers": {},
  }
  if peers:
    measured["peers"] = {
      peer.name: _measure_peer(
        peer, size, calls[peer.ours], found, say, other_python
      )
      for peer in PEERS
      if peer.ours in found
    }
  return measured


def _measure_peer(
  peer: Peer,
  size: Size,
  call: Callable[[], object],
  found: dict[str, dict[str, Any]],
  say: SayFn,
  other_python: str,
) -> dict[str, Any]:
  """One peer by itself, with ours before and after it."""
  ours = functools.partial(interleaved, {peer.ours: call}, repeats=PEER_REPEATS)
  before = ours()[peer.ours]
  measured = measure_peer(
    peer, size, repeats=PEER_REPEATS, other_python=other_python
  )
  about = {
    "ours": peer.ours,
    "faster_limit": peer.faster.get(size.batch),
    "smaller_limit": peer.smaller.get(size.batch),
  }
  if "failure" in measured:
    say(f"{size.name} {peer.name}: {measured['failure']}")
    return measured | about
  our_samples = before + ours()[peer.ours]
  seconds = statistics.median(measured["samples"])
  our_seconds = statistics.median(our_samples)
  temporary = found[peer.ours]["temporary_bytes"]
  say(
    f"{size.name} {peer.name}: {1000 * seconds:.2f} ms, "
    f"{seconds / our_seconds:.1f} x ours"
  )
  return (
    measured
    | about
    | {
      "seconds": seconds,
      "our_samples": our_samples,
      "our_seconds": our_seconds,
      "faster": seconds / our_seconds,
      "smaller": measured["peak_bytes"] / max(temporary, 1),
      "our_temporary_bytes": temporary,
    }
  )


def _call(compiled: jax.stages.Compiled, batch: tuple) -> None:
  jax.block_until_ready(compiled(*batch))
