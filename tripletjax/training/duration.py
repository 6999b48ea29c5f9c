"""Durations in configs: "300 steps", "2 epochs", "50000 examples", "5 percent".

A duration is one string, so that it has exactly one unit and the command line
may change it.
"""

from __future__ import annotations

from tripletjax.errors import UserError

UNITS = ("steps", "epochs", "examples", "percent")
MOST = 2**31 - 1  # they are counted in int32


def to_steps(
  duration: str,
  *,
  field: str,
  batch_size: int,
  steps_per_epoch: int,
  total_steps: int | None = None,
) -> int:
  """Number of steps that a duration stands for, rounded, at least one.

  Args:
    duration: a number and a unit of `UNITS`; "0" of any unit is 0 steps.
    field: the config's field, for the message.
    batch_size: examples in a step.
    steps_per_epoch: steps in an epoch.
    total_steps: of what a percentage is taken; None where there is no whole.

  Raises:
    UserError: it is not a duration.

  >>> to_steps("2 epochs", field="x", batch_size=256, steps_per_epoch=30)
  60
  """
  amount, _, unit = duration.strip().partition(" ")
  units = [u for u in UNITS if u != "percent" or total_steps is not None]
  try:
    number = float(amount)
    if unit not in units or not 0 <= number < float("inf"):
      raise ValueError(duration)
  except ValueError:
    raise UserError(
      f'{field}: expected a duration such as "300 steps" in one of '
      f"{', '.join(units)}, got {duration!r}"
    ) from None
  steps_per_unit = {
    "steps": 1.0,
    "epochs": steps_per_epoch,
    "examples": 1 / batch_size,
    "percent": (total_steps or 0) / 100,
  }[unit]
  steps = max(round(number * steps_per_unit), 1) if number else 0
  if steps > MOST:
    raise UserError(
      f"{field}: expected at most {MOST:,} steps, got {duration!r}"
    )
  return steps
