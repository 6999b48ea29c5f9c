"""How each group of a sweep is run: decided once, so that it stays the same."""

from __future__ import annotations

import fcntl
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tripletjax.sweeps.reading import read_json
from tripletjax.writers import write_json

# Side by side in one program, or one after another in one program.
TOGETHER, IN_TURN = "together", "in_turn"
AUTO = "auto"
WAYS = (AUTO, TOGETHER, IN_TURN)


class Plan(NamedTuple):
  """How a group is run.

  Attributes:
    group: its number.
    cells: their names.
    way: together or in_turn.
    members: cells that one program trains side by side.
    steps: of each cell.
    seconds_per_step: way -> seconds of a step of one cell, where measured.
    kind: equal of groups whose measurements hold for each other.
  """

  group: int
  cells: tuple[str, ...]
  way: str
  members: int
  steps: int
  seconds_per_step: Mapping[str, float]
  kind: str


def read_plans(folder: Path) -> dict[int, Plan]:
  """Group -> its plan, of those that have one.

  Raises:
    UserError: `plan.json` can't be read.
  """
  path = folder / "plan.json"
  if not path.exists():
    return {}
  plans = [
    Plan(**{**row, "cells": tuple(row["cells"])})
    for row in read_json(path)["groups"]
  ]
  return {plan.group: plan for plan in plans}


def add_plan(folder: Path, plan: Plan) -> None:
  """Writes down the plan of a group, beside those of other processes."""
  with (folder / "plan.lock").open("a") as file:
    fcntl.flock(file, fcntl.LOCK_EX)
    plans = {**read_plans(folder), plan.group: plan}
    rows = [_as_json(plans[group]) for group in sorted(plans)]
    write_json(folder / "plan.json", {"groups": rows})


def describe(plan: Plan) -> str:
  """A plan in words, for people."""
  seconds = plan.seconds_per_step
  measured = ", ".join(
    f"{way} {1000 * seconds[way]:.1f} ms" for way in WAYS if way in seconds
  )
  why = f" (a step of one cell: {measured})" if measured else ""
  ways = {
    TOGETHER: f"up to {plan.members} cells side by side",
    IN_TURN: "one cell after another",
  }
  return (
    f"group {plan.group}: {len(plan.cells)} cells of {plan.steps:,} steps, one "
    f"program, {ways[plan.way]}{why}"
  )


def _as_json(plan: Plan) -> dict[str, Any]:
  cells: Sequence[str] = list(plan.cells)
  return {**plan._asdict(), "cells": cells}
