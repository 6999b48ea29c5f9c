"""Numbers that go wrong: not finite, collapsed, or suddenly large.

Looked at on the host where they are logged, so that nothing waits for them.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from ml_collections import ConfigDict

from tripletjax.errors import UserError

# What the fields may say, the default first.
ON_NONFINITE = ("stop", "skip")
ON_COLLAPSE = ("warn", "stop", "ignore")
# Losses whose median a spike is measured by, at most and at least.
RECENT, ENOUGH = 100, 10
# Skipped in a row, after which nothing gets better.
MOST_SKIPPED = 50


class Health(NamedTuple):
  """What is remembered of the steps so far.

  Attributes:
    losses: the latest ones.
    collapsed: steps in a row whose embedding was collapsed.
    skipped: all steps whose update was skipped.
  """

  losses: tuple[float, ...] = ()
  collapsed: int = 0
  skipped: tuple[int, ...] = ()


class Verdict(NamedTuple):
  """What the numbers of some steps say.

  Attributes:
    health: after them.
    warnings: lines for people.
    step: at which to stop; 0 to go on.
    reason: why, with the field that asks for it.
  """

  health: Health
  warnings: tuple[str, ...] = ()
  step: int = 0
  reason: str = ""


def judge(
  health: Health,
  rows: Sequence[Mapping[str, Any]],
  *,
  first: int,
  fields: ConfigDict,
  window: int,
) -> Verdict:
  """Looks at the numbers of steps that were just logged.

  Args:
    health: before them.
    rows: `loss` and `gradient_norm` of each step, perhaps `collapsed` and
      `skipped`.
    first: the step of the first row.
    fields: `config.train`.
    window: steps of a logging window, for which a collapse has to last.
  """
  skipped, collapsed = list(health.skipped), health.collapsed
  warnings: list[str] = []
  usual = _usual(health.losses)
  losses, spiked = list(health.losses), False
  for step, row in enumerate(rows, start=first):
    if reason := _nonfinite(row):
      if fields.on_nonfinite != "skip":
        return Verdict(
          health, tuple(warnings), step, f"train.on_nonfinite: {reason}"
        )
      skipped.append(step)
      if _in_a_row(skipped) >= MOST_SKIPPED:
        reason = f"{reason}, as in the {MOST_SKIPPED - 1} steps before it"
        return Verdict(
          health, tuple(warnings), step, f"train.on_nonfinite: {reason}"
        )
      continue
    loss = float(row["loss"])
    if usual and loss > fields.spike * usual > 0 and not spiked:
      spiked = True
      warnings.append(
        f"warning: the loss of step {step} is {loss:.4g}, {loss / usual:.1f} "
        f"times its median of the steps before (train.spike)"
      )
    losses.append(loss)
    collapsed = collapsed + 1 if row.get("collapsed", False) else 0
    if collapsed == window and fields.on_collapse != "ignore":
      reason = (
        f"train.on_collapse: all distances of the last {window} batches are "
        "equal, the embedding has collapsed"
      )
      if fields.on_collapse == "stop":
        return Verdict(health, tuple(warnings), step, reason)
      warnings.append(f"warning: step {step}: {reason}")
  new = tuple(skipped[len(health.skipped) :])
  if new:
    warnings.append(
      f"warning: skipped the update of {_listed(new)}, whose loss or gradient "
      f"is not finite; {len(skipped)} in all"
    )
  return Verdict(
    Health(tuple(losses[-RECENT:]), collapsed, tuple(skipped)), tuple(warnings)
  )


def check_finite(state: Any) -> str:
  """The first array of a state (on the host) with a NaN or inf; "" if none."""
  for path, x in jax.tree_util.tree_leaves_with_path(state):
    if jax.numpy.issubdtype(x.dtype, np.floating) and not np.isfinite(x).all():
      return jax.tree_util.keystr(path, simple=True, separator="/")
  return ""


def check_train(train: ConfigDict) -> None:
  """Raises a `UserError` that names the first field that can't be right."""
  for name, choices in (
    ("on_nonfinite", ON_NONFINITE),
    ("on_collapse", ON_COLLAPSE),
  ):
    if train[name] not in choices:
      raise UserError(
        f"train.{name}: expected one of {', '.join(choices)}, got "
        f"{train[name]!r}"
      )
  if not (train.spike == 0 or 1 < train.spike < math.inf):
    raise UserError(
      f"train.spike: expected more than 1, or 0 for no warning, got "
      f"{train.spike}"
    )


def _nonfinite(row: Mapping[str, Any]) -> str:
  for name in ("loss", "gradient_norm"):
    if not math.isfinite(row[name]):
      return f"the {name.replace('_', ' ')} is {float(row[name])}"
  return ""


def _usual(losses: Sequence[float]) -> float:
  return statistics.median(losses) if len(losses) >= ENOUGH else 0.0


def _in_a_row(steps: Sequence[int]) -> int:
  """How many steps at the end follow on each other."""
  count = 1
  while count < len(steps) and steps[-count] == steps[-count - 1] + 1:
    count += 1
  return count


def _listed(steps: Sequence[int]) -> str:
  more = f" and {len(steps) - 5} more" if len(steps) > 5 else ""
  word = "step" if len(steps) == 1 else "steps"
  return f"{word} {', '.join(map(str, steps[:5]))}{more}"
