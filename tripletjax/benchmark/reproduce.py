"""Are the results still what they were? Trains again, and compares with stored.

What is stored are means over seeds with a tolerance that is wider than what
seeds, machines and versions change by rounding; a result that is beyond it has
changed.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from tripletjax.benchmark import race
from tripletjax.benchmark.about import check_only
from tripletjax.benchmark.data import Size
from tripletjax.benchmark.race_cells import Cell
from tripletjax.benchmark.tables import table
from tripletjax.errors import UserError
from tripletjax.statistics import mean_interval
from tripletjax.training.loop import train_and_evaluate

# By check and number: a value.
Numbers = dict[str, dict[str, float]]
# Likewise: `expected`, its 95 % `interval` over `seeds`, and `tolerance`.
Stored = dict[str, dict[str, dict[str, float]]]
SayFn = Callable[[str], None]

SPREADS = 4.0  # standard deviations over seeds that are tolerated,
LEAST = 0.01  # and at least this
MEASURED = ("recall@1", "map@r")
ONCE = {"evaluation.every": "100 percent", "checkpoint.every": "100 percent"}
HEADING = "The main jobs and the recipes"
COLUMNS = ("check", "number", "stored", "tolerance", "found", "")


class Check(NamedTuple):
  """A training whose end is measured.

  Attributes:
    name: in the file and the table.
    config: of `configs/`, with its variant.
    steps: of the quick form; 0 is as many as the config says.
  """

  name: str
  config: str
  steps: int


CHECKS: Sequence[Check] = (
  Check("glyphs", "glyphs.py", 120),
  Check("digits", "digits.py", 0),
  Check("facenet", "facenet.py:glyphs", 60),
  Check("hermans", "hermans.py:glyphs", 250),
  Check("sampling_matters", "sampling_matters.py:glyphs", 150),
  Check("easy_positive", "easy_positive.py:glyphs", 200),
  Check("omoindrot", "omoindrot.py", 200),
  Check("omniglot", "omniglot.py", 120),
)
RACE = "race"
RACED, RACED_STEPS = Cell("glyphs", Size(16, 8), "facenet"), 60


class Row(NamedTuple):
  """A number beside what is stored.

  Attributes:
    check: its name.
    number: its name.
    expected: as stored; None where nothing is.
    tolerance: likewise.
    found: None where it was skipped.
  """

  check: str
  number: str
  expected: float | None
  tolerance: float | None
  found: float | None

  @property
  def missed(self) -> bool:
    """Whether it was found and is beyond its tolerance, or no number."""
    if self.expected is None or self.tolerance is None or self.found is None:
      return False
    # `not <=`, so that a NaN is a miss.
    return not abs(self.found - self.expected) <= self.tolerance

  @property
  def verdict(self) -> str:
    """The outcome in words."""
    if self.found is None:
      return "skipped"
    if self.expected is None:
      return "not stored"
    return "**missed**" if self.missed else "as stored"


def reproduce(
  configs: Callable[[str], ConfigDict],
  *,
  quick: bool,
  only: Sequence[str] = (),
  seed: int = 0,
  data_dir: str | Path,
  say: SayFn,
) -> Numbers:
  """Trains each check and measures it.

  Args:
    configs: the config of a file of `configs/`, with its variant.
    quick: as short as `Check.steps`; else as the configs say.
    only: names of checks; all of them when empty.
    seed: of all trainings.
    data_dir: folder of the prepared data sets.
    say: gets a line for each check.

  Returns:
    What was found; of a check that was skipped nothing.

  Raises:
    UserError: there is no check of that name.
  """
  known = [*(check.name for check in CHECKS), RACE]
  check_only(only, known)
  found: Numbers = {}
  for check in CHECKS:
    if only and check.name not in only:
      continue
    config = configs(check.config)
    config.seed = seed
    config.update_from_flattened_dict(ONCE)
    if quick and check.steps:
      config.train.duration = f"{check.steps} steps"
    try:
      found[check.name] = _trained(config, data_dir)
    except UserError as error:
      say(f"{check.name}: skipped: {error}")
      continue
    say(f"{check.name}: {_in_words(found[check.name])}")
  if not only or RACE in only:
    found |= _raced(configs, seed, data_dir, say)
  return found


def _trained(config: ConfigDict, data_dir: str | Path) -> dict[str, float]:
  with tempfile.TemporaryDirectory() as folder:
    summary = train_and_evaluate(
      config, Path(folder) / "run", data_dir=data_dir, bar=False
    )
  return {name: summary["trained"][name] for name in MEASURED}


def _raced(
  configs: Callable[[str], ConfigDict],
  seed: int,
  data_dir: str | Path,
  say: SayFn,
) -> Numbers:
  """The end of both sides of a short race."""
  jobs = [
    job
    for job in race.make_jobs([RACED], (), seeds=seed + 1)
    if job.number == seed
  ]
  try:
    results = race.measure_race(
      {RACED.data: configs("glyphs.py")},
      jobs,
      steps=RACED_STEPS,
      data_dir=data_dir,
      say=say,
    )
  except UserError as error:
    say(f"{RACE}: skipped: {error}")
    return {}
  return {
    RACE: {
      f"{run['side']}, recall@1": run["evaluations"][-1]["recall@1"]
      if "evaluations" in run
      else math.nan
      for run in results["runs"]
    }
  }


def compare(found: Numbers, stored: Stored) -> list[Row]:
  """Each number beside what is stored, those of either only too.

  >>> held = {"a": {"x": {"expected": 0.4, "tolerance": 0.05}}}
  >>> [row.verdict for row in compare({"a": {"x": 0.5}}, held)]
  ['**missed**']
  """
  rows = []
  for check in dict.fromkeys([*stored, *found]):
    held, seen = stored.get(check, {}), found.get(check, {})
    for number in dict.fromkeys([*held, *seen]):
      entry = held.get(number, {})
      rows.append(
        Row(
          check,
          number,
          entry.get("expected"),
          entry.get("tolerance"),
          seen.get(number),
        )
      )
  return rows


def to_store(seeds: Sequence[Numbers]) -> Stored:
  """Means over seeds, and tolerances by their spread.

  Args:
    seeds: what was found with each of them, at least two.
  """
  stored: Stored = {}
  for check in seeds[0]:
    if not all(check in found for found in seeds):
      continue  # skipped
    for number in seeds[0][check]:
      values = [found[check][number] for found in seeds]
      interval = mean_interval(values)
      stored.setdefault(check, {})[number] = {
        "expected": round(interval.mean, 4),
        "tolerance": round(max(SPREADS * interval.sd, LEAST), 4),
        "interval": round(interval.half, 4),
        "seeds": len(seeds),
      }
  return stored


def stored_section(stored: Stored, *, quick: bool) -> str:
  """What is stored of each training, with its 95 % interval over seeds.

  Args:
    stored: of one form.
    quick: whether it's the quick one.
  """
  rows = []
  for check in CHECKS:
    if check.name not in stored:
      continue
    numbers = stored[check.name]
    rows.append(
      [
        f"`configs/{check.config}`",
        f"{check.steps}" if quick and check.steps else "as it says",
        *(
          f"{numbers[name]['expected']:.3f} ± {numbers[name]['interval']:.3f}"
          for name in MEASURED
        ),
        f"{numbers[MEASURED[0]]['seeds']:.0f}",
      ]
    )
  said = "Mean and 95 % interval (Student's t over seeds), by"
  form = " --quick" if quick else ""
  command = f"    python -m experiments.reproduce{form} --store_seeds=3"
  found = table(("config", "steps", "recall@1", "MAP@R", "seeds"), rows)
  return f"{said}\n\n{command}\n\n{found}"


def rows_table(rows: Sequence[Row]) -> str:
  """The outcome as a Markdown table."""

  def shown(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"

  return table(
    COLUMNS,
    [
      [
        row.check,
        row.number,
        shown(row.expected),
        shown(row.tolerance),
        shown(row.found),
        row.verdict,
      ]
      for row in rows
    ],
  )


def _in_words(numbers: Mapping[str, Any]) -> str:
  return ", ".join(f"{name} {value:.3f}" for name, value in numbers.items())
