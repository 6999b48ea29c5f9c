"""What a sweep found: a mean an arm, differences, one sentence."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from tripletjax.report.sweep_files import DONE, Sweep
from tripletjax.statistics import (
  LEVEL,
  Interval,
  Paired,
  compare_arms,
  mean_interval,
)

Values = Mapping[str, Mapping[tuple[str, ...], float]]


class Found(NamedTuple):
  """The numbers of a sweep by one metric.

  Attributes:
    metric: its name; less_is_better: whether small values are good.
    means: arm -> mean and interval, best first; arms without a value last.
    paired: arm -> its difference to the baseline; empty without one.
    best: the arm with the best mean, "" if none has one.
  """

  metric: str
  less_is_better: bool
  means: dict[str, Interval]
  paired: dict[str, Paired]
  best: str


def find(sweep: Sweep, metric: str = "") -> Found:
  """Means and paired differences, on the split of the evaluation.

  A cell that is not done, or whose number isn't finite, is excluded.
  """
  metric = metric or sweep.metric
  values = {
    arm: {
      sweep.replicate(cell): cell.numbers.get(metric, math.nan)
      if cell.state == DONE
      else math.nan
      for cell in cells
    }
    for arm, cells in sweep.arms.items()
  }
  return _found(values, metric, sweep)


def find_test(sweep: Sweep, metric: str = "") -> Found:
  """The same on the test split, for the arms that were measured there."""
  metric = metric or sweep.metric
  replicates = {cell.name: sweep.replicate(cell) for cell in sweep.cells}
  values: dict[str, dict[tuple[str, ...], float]] = {}
  for row in sweep.test:
    name = replicates.get(row.cell, (row.cell,))
    values.setdefault(row.arm, {})[name] = row.numbers.get(metric, math.nan)
  return _found(values, metric, sweep)


def _found(values: Values, metric: str, sweep: Sweep) -> Found:
  means = {arm: mean_interval([*v.values()]) for arm, v in values.items()}
  sign = 1 if sweep.less_is_better else -1

  def rank(arm: str) -> float:
    mean = means[arm].mean
    return math.inf if math.isnan(mean) else sign * mean

  order = sorted(means, key=rank)
  best = order[0] if order and math.isfinite(rank(order[0])) else ""
  paired = (
    compare_arms(values, sweep.baseline) if sweep.baseline in values else {}
  )
  return Found(
    metric,
    sweep.less_is_better,
    {arm: means[arm] for arm in order},
    {arm: paired[arm] for arm in order if arm in paired},
    best,
  )


def conclude(sweep: Sweep, found: Found) -> str:
  """What the numbers say, and how sure that is, in plain words."""
  if not found.best:
    return f"No cell has a {found.metric} yet."
  said = [
    f"{found.best} has the best {found.metric}: "
    f"{interval(found.means[found.best])}."
  ]
  base = found.means.get(sweep.baseline)
  if not sweep.baseline:
    said.append("The sweep names no baseline, so nothing is compared.")
  elif base is None or math.isnan(base.mean):
    said.append("The baseline has no result, so nothing is compared.")
  elif found.best == sweep.baseline:
    said.append("That is the baseline.")
    runner = next((arm for arm in found.means if arm in found.paired), "")
    if runner and found.paired[runner].difference.n:
      said.append(_against(runner, found, "next"))
  else:
    said.append(_against(found.best, found, "that"))
  sure = [
    paired.difference.mean > 0
    for paired in found.paired.values()
    if paired.t_holm <= LEVEL
  ]
  if len(found.paired) > 1:
    counted = f"{sum(sure)} are above and {len(sure) - sum(sure)} below"
    said.append(
      f"Of {arms(found)} {counted if sure else 'none is surely above or below'}"
      f" the baseline (p at most {LEVEL} after Holm)."
    )
  said += [*_tested(sweep)]
  unfinished = sum(cell.state != DONE for cell in sweep.cells)
  if unfinished:
    said.append(
      f"{unfinished} of {len(sweep.cells)} cells have no result: "
      "this may change."
    )
  return " ".join(said)


def _tested(sweep: Sweep) -> Iterator[str]:
  """The same arm's difference on the test split, if it was measured."""
  tested = find_test(sweep)
  for arm, paired in tested.paired.items():
    value = paired.difference
    if value.n > 1:
      yield (
        f"On the test split {arm} is {signed(value.mean)} ± "
        f"{number(value.half)} from the baseline (paired t p "
        f"{p_value(paired.t_p)})."
      )


def _against(arm: str, found: Found, word: str) -> str:
  """A difference to the baseline, and whether it is settled."""
  paired = found.paired[arm]
  difference = paired.difference
  way = "above" if difference.mean > 0 else "below"
  name = f"The next, {arm}, is" if word == "next" else "That is"
  if not difference.n:
    return f"{arm} shares no finished replicate with the baseline."
  said = f"{name} {number(abs(difference.mean))} {way} the baseline"
  if math.isnan(difference.half):
    return f"{said}, from one replicate: without a second nothing is settled."
  half = difference.half
  low, high = sorted((abs(difference.mean) - half, abs(difference.mean) + half))
  said += f" (95 % interval {number(low)} to {number(high)}, "
  if math.isnan(paired.t_holm):
    return said + "all replicates alike, so the t test can't judge it)."
  said += f"paired t p {p_value(paired.t_holm)} after Holm over "
  said += f"{arms(found)}, {difference.n} replicates)"
  if paired.t_holm <= LEVEL:
    return said + ": settled."
  return f"{said}: not settled; {more_seeds(paired)}."


def arms(found: Found) -> str:
  """How many arms are compared, in words."""
  return f"{len(found.paired)} arm{'s' * (len(found.paired) != 1)}"


def more_seeds(paired: Paired) -> str:
  """How many replicates are missing, in words."""
  if paired.more_holm is None:
    return "at this difference and spread not within 1000 seeds"
  said = "about {} more {} would settle it if difference and spread stay"
  unit = "seed" if paired.more_holm == 1 else "seeds"
  return said.format(paired.more_holm, unit)


def interval(value: Interval) -> str:
  """`0.743 ± 0.008 (3)`, with the number of replicates."""
  if not value.n:
    return "-"
  half = "" if math.isnan(value.half) else f" ± {number(value.half)}"
  return f"{number(value.mean)}{half} ({value.n})"


def number(value: float) -> str:
  """Three digits after the point for shares, else three that matter.

  >>> number(0.74319), number(123.4), number(2e-5), number(float("nan"))
  ('0.743', '123', '2e-05', '-')
  """
  if not math.isfinite(value):
    return "-" if math.isnan(value) else str(value)
  if value == 0 or 5e-4 <= abs(value) < 10:
    return f"{value:.3f}"
  return f"{value:.3g}"


def signed(value: float) -> str:
  """The same with its sign; `-` for what isn't measured.

  >>> signed(0.0123), signed(-0.5)
  ('+0.012', '-0.500')
  """
  if math.isnan(value):
    return "-"
  return f"{'-' if value < 0 else '+'}{number(abs(value))}"


def p_value(p: float) -> str:
  """`= 0.012`, `< 0.001`, or a dash."""
  if math.isnan(p):
    return "-"
  return "< 0.001" if p < 1e-3 else f"= {p:.3f}"
