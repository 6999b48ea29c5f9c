"""The tables of the suite `sweep`."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping
from typing import Any

from tripletjax.benchmark.tables import at_most, table
from tripletjax.sweeps.plans import IN_TURN, TOGETHER

ALONE = "alone"
# Times the better way: what `auto` takes isn't to be slower.
MOST = 1.15
TIMES = (
  "",
  "cells",
  "together, ms",
  "in turn, ms",
  "together : in turn",
  "auto takes",
  "times the better",
)
WAYS = (TOGETHER, IN_TURN, ALONE)
FIRSTS = (
  "",
  "cells",
  "together, s",
  "in turn, s",
  "alone, s each",
  *(f"{way.replace('_', ' ')}, programs" for way in WAYS),
)


def sweep_report(results: Mapping[str, Any]) -> str:
  """The tables of the suite.

  Args:
    results: what `measure_sweep` of `sweep.py` returns.
  """
  machine = results["machine"]
  found = [
    (case["title"], cells)
    for case in results["results"]
    for cells in case["cells"]
  ]
  times = table(TIMES, [_times(*each) for each in found])
  missed = times.count("**") // 2
  return "\n\n".join(
    [
      f"A training step of one cell, without its input, medians (least-most) "
      f"of {results['repeats']}, {machine['cores']} cores "
      f"({machine['devices']}, jax {machine['jax']}, load before "
      f"{machine['load']:.1f}), {results['seconds'] / 60:.1f} minutes; what "
      "auto takes by a measurement of its own, and how these times judge it:",
      times,
      "The first step of all cells, with what is compiled for them; alone, of "
      "each cell:",
      table(FIRSTS, [_firsts(*each) for each in found]),
      f"{missed or 'None'} outside of the limits.",
    ]
  )


def _times(title: str, of: Mapping[str, Any]) -> list[str]:
  return [
    title,
    f"{of['members']}",
    *(
      _spread(1000 * seconds for seconds in of["samples"][way])
      for way in (TOGETHER, IN_TURN)
    ),
    _spread(of["ratio"]),
    of["auto"]["way"].replace("_", " "),
    at_most(of["auto"]["ratio"], MOST),
  ]


def _firsts(title: str, of: Mapping[str, Any]) -> list[str]:
  return [
    title,
    f"{of['members']}",
    *(f"{of['first'][way]:.1f}" for way in WAYS),
    *(f"{of['programs'][way]}" for way in WAYS),
  ]


def _spread(values: Iterable[float]) -> str:
  """The median, and the least and the most.

  >>> _spread([3.0, 1.0, 20.0])
  '3.00 (1.00-20.0)'
  """
  samples = list(values)
  median, least, most = (
    f"{value:#.3g}".rstrip(".")
    for value in (statistics.median(samples), min(samples), max(samples))
  )
  return f"{median} ({least}-{most})"
