"""The suites of the benchmark: each measures, and says it in tables."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple


class Options(NamedTuple):
  """The flags of the benchmark.

  Attributes:
    sizes: as typed; empty where the suite's own are measured.
    only: names of what is measured; all when empty.
    everything: what has no limit too.
    repeats: number of samples.
    peers: other libraries too.
    other_python: an interpreter for those that this one lacks.
  """

  sizes: Sequence[str]
  only: Sequence[str]
  everything: bool
  repeats: int
  peers: bool
  other_python: str = ""


Outcome = tuple[dict[str, Any], str]


def losses(options: Options) -> Outcome:
  """The suite `losses`: numbers, and their tables."""
  from tripletjax.benchmark.cases import make_cases
  from tripletjax.benchmark.data import SIZES, parse_size
  from tripletjax.benchmark.losses import measure_losses
  from tripletjax.benchmark.tables import losses_report

  results = measure_losses(
    [parse_size(text) for text in options.sizes] or list(SIZES.values()),
    make_cases(options.only, everything=options.everything),
    repeats=options.repeats,
    peers=options.peers,
    say=say,
    other_python=options.other_python,
  )
  return results, losses_report(results)


def inputs(options: Options) -> Outcome:
  """The suite `input`: numbers, and their tables."""
  from tripletjax.benchmark.input import measure_input
  from tripletjax.benchmark.input_tables import input_report

  results = measure_input(**_of_config(options), peers=options.peers)
  return results, input_report(results)


def evaluation(options: Options) -> Outcome:
  """The suite `evaluation`: numbers, and their table."""
  from tripletjax.benchmark import evaluation as suite
  from tripletjax.benchmark.data import parse_size

  results = suite.measure_evaluation(
    [parse_size(text) for text in options.sizes] or suite.SIZES,
    only=options.only,
    repeats=options.repeats,
    peers=options.peers,
    say=say,
  )
  return results, suite.evaluation_report(results)


def scaling(options: Options) -> Outcome:
  """The suite `scaling`: numbers, and their table."""
  from tripletjax.benchmark import scaling as suite
  from tripletjax.benchmark.data import parse_size

  sizes = [parse_size(text) for text in options.sizes] or [suite.SIZE]
  results = suite.measure_scaling(sizes, only=options.only, say=say)
  return results, suite.scaling_report(results)


def caching(options: Options) -> Outcome:
  """The suite `caching`: numbers, and their tables."""
  from tripletjax.benchmark import caching as suite

  results = suite.measure_caching(**_of_config(options))
  return results, suite.caching_report(results)


def heap(options: Options) -> Outcome:
  """The suite `heap`: numbers, and their table."""
  from tripletjax.benchmark import heap as suite

  results = suite.measure_heap(**_of_config(options))
  return results, suite.heap_report(results)


def sweep(options: Options) -> Outcome:
  """The suite `sweep`: numbers, and their table."""
  from tripletjax.benchmark import sweep as suite
  from tripletjax.benchmark.sweep_tables import sweep_report

  members = [suite.parse_members(text) for text in options.sizes]
  results = suite.measure_sweep(
    members=members or suite.MEMBERS, **_of_config(options)
  )
  return results, sweep_report(results)


def inference(options: Options) -> Outcome:
  """The suite `inference`: numbers, and their tables."""
  from tripletjax.benchmark import inference as suite
  from tripletjax.benchmark.data import parse_size

  sizes = [parse_size(text) for text in options.sizes] or [suite.SIZE]
  results = suite.measure_inference(
    sizes=sizes, peers=options.peers, **_of_config(options)
  )
  return results, suite.inference_report(results)


def _of_config(options: Options) -> dict[str, Any]:
  from configs.glyphs import get_config

  return {
    "config": get_config(),
    "only": options.only,
    "repeats": options.repeats,
    "say": say,
  }


def say(line: str) -> None:
  """A line about what is being done."""
  print(line, file=sys.stderr, flush=True)


SUITES: Mapping[str, Callable[[Options], Outcome]] = {
  "losses": losses,
  "input": inputs,
  "evaluation": evaluation,
  "scaling": scaling,
  "caching": caching,
  "sweep": sweep,
  "inference": inference,
  "heap": heap,
}
