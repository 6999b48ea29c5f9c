"""What each cell of a sweep may spend, and what it may not look at."""

from __future__ import annotations

from ml_collections import ConfigDict

from tripletjax.errors import UserError
from tripletjax.sweeps.cell import Sweep

SECONDS = "seconds"  # wall time: the plan makes steps of it
UNITS = ("steps", "examples", "epochs", SECONDS)


def parse_budget(budget: str) -> tuple[float, str]:
  """The number and the unit of a budget that isn't "".

  Raises:
    UserError: it is none.

  >>> parse_budget("150 steps")
  (150.0, 'steps')
  """
  amount, _, unit = budget.strip().partition(" ")
  try:
    number = float(amount)
    if unit not in UNITS or not 0 < number < float("inf"):
      raise ValueError(budget)
  except ValueError:
    raise UserError(
      'budget: expected "", or one for all cells such as "150 steps", in '
      f"{', '.join(UNITS)}, got {budget!r}"
    ) from None
  return number, unit


def budget_changes(sweep: Sweep) -> dict[str, str]:
  """What a budget changes in all cells.

  Raises:
    UserError: it is none, or a cell has a `train.duration` of its own.
  """
  if not sweep.budget:
    return {}
  unit = parse_budget(sweep.budget)[1]
  if any("train.duration" in cell.fields for cell in sweep.cells):
    raise UserError(
      f'budget: expected "" where the grid sets train.duration, got '
      f"{sweep.budget!r}"
    )
  return {} if unit == SECONDS else {"train.duration": sweep.budget}


def check_test_split(test_split: str, config: ConfigDict) -> None:
  """Raises a `UserError` where the test isn't of images that nothing saw."""
  ours = set(test_split.split("+"))
  for field in ("train_split", "eval_split"):
    theirs = config.data[field]
    if test_split and (shared := sorted(ours & set(theirs.split("+")))):
      raise UserError(
        f"test_split: {', '.join(shared)} is in data.{field} ({theirs}) too; "
        "expected a part that neither trains nor selects"
      )
