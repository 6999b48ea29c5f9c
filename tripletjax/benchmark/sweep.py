"""The suite `sweep`: cells of one program side by side, in turn, or alone.

Together they are members of one program under `vmap`; in turn, one compiled
program trains one after another; alone, each has a program compiled for it, as
where a margin is a constant of the program.
"""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from ml_collections import ConfigDict

from tripletjax.benchmark.about import about, begin, check_only
from tripletjax.benchmark.evaluation import SayFn
from tripletjax.benchmark.sweep_steps import (
  first_steps,
  programs_of,
  same_program,
  step_in_turn,
  step_together,
)
from tripletjax.benchmark.sweep_tables import ALONE
from tripletjax.benchmark.timing import interleaved
from tripletjax.errors import UserError
from tripletjax.sweeps.plans import IN_TURN, TOGETHER
from tripletjax.sweeps.ways import faster, measure_ways
from tripletjax.training import parallel
from tripletjax.training.setup import Run, prepare_run, run_of

MEMBERS = (4, 8)
TIMED = 2  # programs that are compiled for a cell alone


class Case(NamedTuple):
  """A network and its batches.

  Attributes:
    title: in words.
    fields: of the config.
  """

  title: str
  fields: Mapping[str, Any]


CASES = {
  "convnet": Case(
    "convnet (16, 32, 64), 16 x 8",
    {
      "model.features": (16, 32, 64),
      "batch.identities": 16,
      "batch.images": 8,
    },
  ),
  "resnet": Case(
    "resnet18 (8, 16, 16, 16), 8 x 4",
    {
      "model.name": "resnet18",
      "model.features": (8, 16, 16, 16),
      "batch.identities": 8,
      "batch.images": 4,
    },
  ),
  "wide": Case(
    "convnet (32, 64, 128), 32 x 8",
    {
      "model.features": (32, 64, 128),
      "batch.identities": 32,
      "batch.images": 8,
    },
  ),
}


def parse_members(text: str) -> int:
  """How many cells, from what was typed.

  Raises:
    UserError: it isn't a number of 2 or more.

  >>> parse_members("8")
  8
  """
  if text.strip().isdecimal() and int(text) >= 2:
    return int(text)
  raise UserError(
    f"--sizes: expected numbers of cells, 2 or more, such as 4,8; got {text!r}"
  )


def measure_sweep(
  config: ConfigDict,
  members: Sequence[int],
  *,
  only: Sequence[str] = (),
  repeats: int,
  say: SayFn,
) -> dict[str, Any]:
  """Everything that the suite measures, as JSON.

  Args:
    config: what isn't said in `CASES`.
    members: numbers of cells.
    only: names of `CASES`; all of them when empty.
    repeats: number of samples.
    say: gets a line for each thing that is done.

  Raises:
    UserError: there is no case of that name.
  """
  check_only(only, CASES)
  began = begin()
  results = []
  with tempfile.TemporaryDirectory() as folder:
    for name in only or CASES:
      runs = prepare_cells(
        config, CASES[name], max(members), data_dir=Path(folder)
      )
      say(f"{name}:")
      cells = measure_cells(runs, members, repeats=repeats, say=say)
      results.append({"title": CASES[name].title, "cells": cells})
  return {
    **about(
      "sweep",
      began,
      repeats=repeats,
      devices=parallel.describe_devices(parallel.all_devices()),
    ),
    "results": results,
  }


def prepare_cells(
  config: ConfigDict,
  case: Case,
  count: int,
  *,
  data_dir: Path,
  devices: parallel.Devices | None = None,
) -> list[Run]:
  """Runs of one program, which differ in their margin.

  Args:
    config: what isn't said by the case.
    case: the network and its batches.
    count: of cells.
    data_dir: where the pictures are, or are prepared.
    devices: to train on; all when None.
  """
  configs = []
  for margin in np.linspace(0.1, 0.4, count):
    made = config.copy_and_resolve_references()
    made.update_from_flattened_dict(
      {
        **case.fields,
        "loss.margin": float(margin),
        "loss.margin_end": float(margin),
      }
    )
    configs.append(made.lock())

  def quiet(line: str) -> None:
    del line

  # Nothing is written into the run's folder.
  first = prepare_run(
    configs[0], data_dir, data_dir, devices or parallel.all_devices(), quiet
  )
  return [run_of(first, each, data_dir, quiet) for each in configs]


def measure_cells(
  runs: Sequence[Run], members: Sequence[int], *, repeats: int, say: SayFn
) -> list[dict[str, Any]]:
  """One case: first steps of each cell, then all ways for each number of cells.

  Args:
    runs: of one program, at least as many as the largest of `members`.
    members: numbers of cells.
    repeats: number of samples.
    say: gets a line for each thing that is done.

  Returns:
    Of each number of cells `seconds` of a step of one cell by way, their
    `samples`, `ratio` together : in turn by sample, `auto` (the way that
    is taken by a measurement of its own, and its time relative to the better
    one), `first` (seconds of all first steps by way; alone, the mean of a
    cell's) and `programs`.
  """
  turns = first_steps(same_program(runs))
  alone = first_steps([same_program([run])[0] for run in runs[:TIMED]])
  programs = programs_of([same_program([run])[0] for run in runs])
  say(f"first steps in turn {sum(turns.seconds):.1f} s")
  say(f"a first step alone {statistics.mean(alone.seconds):.1f} s")
  found = []
  for count in members:
    cells = _measure_number(runs[:count], repeats)
    cells["first"] |= {
      IN_TURN: sum(turns.seconds[:count]),
      ALONE: statistics.mean(alone.seconds),
    }
    cells["programs"] |= {
      IN_TURN: turns.programs[count - 1],
      ALONE: programs[count - 1],
    }
    found.append(cells)
    seconds = cells["seconds"]
    say(
      f"{count} cells: together {1000 * seconds[TOGETHER]:.1f} ms, in turn "
      f"{1000 * seconds[IN_TURN]:.1f} ms, auto takes {cells['auto']['way']}"
    )
  return found


def _measure_number(runs: Sequence[Run], repeats: int) -> dict[str, Any]:
  """What of a number of cells depends on it."""
  planned = measure_ways(runs, members=len(runs))
  together = step_together(runs)
  calls: dict[str, Callable[[], object]] = {
    TOGETHER: together.step,
    IN_TURN: step_in_turn(runs[0], len(runs)),
  }
  samples = {
    way: [seconds / len(runs) for seconds in taken]
    for way, taken in interleaved(calls, repeats=repeats).items()
  }
  seconds = {way: statistics.median(taken) for way, taken in samples.items()}
  taken = faster(planned)
  return {
    "members": len(runs),
    "samples": samples,
    "seconds": seconds,
    "ratio": [
      one / other
      for one, other in zip(samples[TOGETHER], samples[IN_TURN], strict=True)
    ],
    "auto": {
      "way": taken,
      "planned": planned,
      "ratio": seconds[taken] / min(seconds.values()),
    },
    "first": {TOGETHER: together.first},
    "programs": {TOGETHER: together.programs()},
  }
