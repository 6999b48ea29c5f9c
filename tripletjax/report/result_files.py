"""The numbers behind the results page, read back from its files."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from tripletjax.errors import UserError
from tripletjax.statistics import Interval, Paired, compare_arms, mean_interval

ERROR = "one_shot_error"


class OneShot(NamedTuple):
  """Errors of one-shot tasks after a training.

  Attributes:
    name: of the data that it was trained on.
    errors: what was asked -> the error's mean over seeds and its interval.
    committee: the error of the networks together with the ends of its interval
      over tasks, or None.
  """

  name: str
  errors: Mapping[str, Interval]
  committee: tuple[float, float, float] | None


class Ablation(NamedTuple):
  """A sweep's arms by one metric.

  Attributes:
    baseline: the arm that the others are compared with.
    means: arm -> mean.
    paired: arm -> its difference to the baseline, smallest first.
    cells: how many cells have a number, and how many there are.
  """

  baseline: str
  means: Mapping[str, float]
  paired: Mapping[str, Paired]
  cells: tuple[int, int]


def read_json(path: Path) -> Any:
  """What a JSON file holds.

  Raises:
    UserError: there is none, or it isn't JSON.
  """
  try:
    return json.loads(path.read_text())
  except (OSError, ValueError) as error:
    raise UserError(f"expected JSON in {path}: {error}") from error


def read_one_shots(folder: Path) -> list[OneShot]:
  """Those of all `omniglot_small*.json` of a folder, by name."""
  paths = sorted(
    folder.glob("omniglot_small*.json"), key=lambda path: path.stem
  )
  return [
    read_one_shot(path)
    for path in paths
    if not path.stem.endswith("_committee")
  ]


def read_one_shot(path: Path) -> OneShot:
  """What `experiments.seeds` stored, and beside it the committee's errors.

  Args:
    path: `<name>.json`; the committee's is `<name>_committee.json`.

  Raises:
    UserError: a file isn't one of these.
  """
  asked = ("raw_pixels", "untrained", "trained")
  beside = path.with_name(f"{path.stem}_committee.json")
  try:
    stored = read_json(path)
    errors = {
      name: mean_interval(stored[name][ERROR]["values"]) for name in asked
    }
    committee = None
    if beside.exists():
      found = read_json(beside)["trained"]
      low, high = found[ERROR + "_low"], found[ERROR + "_high"]
      committee = float(found[ERROR]), float(low), float(high)
  except (LookupError, TypeError, ValueError) as error:
    raise UserError(
      f"expected numbers of seeds in {path}: {error!r}"
    ) from error
  data = stored["config"]["data"]
  name = str(data["train_split"])
  if data.get("beside"):  # which older runs don't have
    name += f" and {data['beside']}"
  return OneShot(name, errors, committee)


def read_ablation(
  path: Path, *, arm: str, baseline: str, replicate: tuple[str, ...]
) -> Ablation:
  """The arms of a sweep's results.csv by the one-shot error.

  Args:
    path: the file.
    arm: column that names the arm.
    baseline: the arm that the others are compared with.
    replicate: columns that tell which cells belong together.

  Raises:
    UserError: a column or the baseline is missing.
  """
  values: dict[str, dict[tuple[str, ...], float]] = {}
  cells = 0
  try:
    with path.open(newline="") as lines:
      for row in csv.DictReader(lines):
        cells += 1
        done = row["state"] == "done" and row[ERROR]
        name = tuple(row[column] for column in replicate)
        number = float(row[ERROR]) if done else math.nan
        values.setdefault(row[arm], {})[name] = number
    paired = compare_arms(values, baseline)
  except (OSError, LookupError, ValueError) as error:
    raise UserError(
      f"expected a sweep's results with the arm {baseline!r} in {path}: "
      f"{error!r}"
    ) from error
  means = {
    arm: mean_interval([*own.values()]).mean for arm, own in values.items()
  }
  order = sorted(paired, key=lambda arm: paired[arm].difference.mean)
  measured = sum(
    math.isfinite(v) for own in values.values() for v in own.values()
  )
  return Ablation(
    baseline, means, {arm: paired[arm] for arm in order}, (measured, cells)
  )


def ablation_table(found: Ablation) -> str:
  """Markdown: each arm's mean, its difference, and how sure that is."""
  difference = f"difference to the {found.baseline} (of so many)"
  lines = [
    f"| arm | error | {difference} | p (Holm) |",
    "| --- | --- | --- | --- |",
    f"| {found.baseline} | {found.means[found.baseline]:.3f} | | |",
  ]
  for arm, paired in found.paired.items():
    value = paired.difference
    half = f" ± {value.half:.3f}" if value.n > 1 else ""
    p = f"{paired.t_holm:.3f}" if math.isfinite(paired.t_holm) else "-"
    lines.append(
      f"| {arm} | {found.means[arm]:.3f} | {value.mean:+.3f}{half} "
      f"({value.n}) | {p} |"
    )
  return "\n".join(lines)


def read_race(path: Path) -> list[Mapping[str, Any]]:
  """Trainings of a race that ended.

  Raises:
    UserError: the file isn't one of `experiments.race`.
  """
  try:
    runs = [run for run in read_json(path)["runs"] if "failure" not in run]
    return [run for run in runs if run["kind"] == "training"]
  except (LookupError, TypeError) as error:
    raise UserError(
      f"expected runs of the race in {path}: {error!r}"
    ) from error
