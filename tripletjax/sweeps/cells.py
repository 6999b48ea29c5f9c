"""The cells of a sweep as complete configs, and which share a program."""

from __future__ import annotations

import re
import zlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from ml_collections import ConfigDict

from tripletjax.data.sources import Source
from tripletjax.errors import UserError
from tripletjax.sweeps.budgets import budget_changes, check_test_split
from tripletjax.sweeps.cell import Cell, Sweep, label, last_part, matching
from tripletjax.sweeps.values import changed, field_of, fields_of
from tripletjax.training.evaluation import make_measure
from tripletjax.training.numbers import program
from tripletjax.training.objective import check_config

# Axes of the same arm: it is trained once with each of their values.
REPLICATES = ("seed", "data.split_fold", "data.split_seed")
# Columns of a sweep's tables that no axis may be called.
RESERVED = ("cell", "arm", "state", "steps", "images", "group", "way")
COSTS = ("seconds", "seconds_per_step", "parameters", "devices")
ALONE = "base"  # the arm of a sweep that has none but seeds
_LONGEST = 180  # of a cell's name, which is a folder


class Planned(NamedTuple):
  """A cell that can be trained.

  Attributes:
    name: of the cell and its folder, such as `miner=all,margin=0.1,seed=0`.
    arm: the same without seeds and folds.
    values: column -> label.
    fields: dotted field -> value, as the grid has them.
    config: complete and locked.
    group: cells of one group share a program.
  """

  name: str
  arm: str
  values: Mapping[str, str]
  fields: Mapping[str, Any]
  config: ConfigDict
  group: int


def plan_cells(sweep: Sweep, base: ConfigDict) -> tuple[Planned, ...]:
  """The cells of a sweep, in the order of its grid.

  Args:
    sweep: as its file says.
    base: the complete config that `sweep.config` names.

  Raises:
    UserError: a field, a value, the metric or the baseline can't be right, or
      two cells are the same.
  """
  if not sweep.cells:
    raise UserError("cells: the grid is empty; expected at least one cell")
  start = base_config(sweep, base)
  check_metric(sweep.metric, start)
  columns = axis_columns(sweep, start)
  values = [_labels(cell, columns, start) for cell in sweep.cells]
  seeds = replicates(columns)
  arms = _names([_without(own, seeds) for own in values], "arm", twice=True)
  names = _names(values, "cell")
  configs = _configs(sweep, start, names)
  programs = [program(config) for config in configs]
  order = {key: i for i, key in enumerate(dict.fromkeys(programs))}
  planned = tuple(
    Planned(name, arm, own, dict(cell.fields), config, order[key])
    for name, arm, own, cell, config, key in zip(
      names, arms, values, sweep.cells, configs, programs, strict=True
    )
  )
  baseline_arm(sweep, planned)
  return planned


def base_config(sweep: Sweep, base: ConfigDict) -> ConfigDict:
  """The base config with what the sweep changes for all cells.

  Raises:
    UserError: a change or the budget can't be right.
  """
  start = changed(base, sweep.changes, "changes")
  return changed(start, budget_changes(sweep), "budget")


def axis_columns(sweep: Sweep, config: ConfigDict) -> dict[str, str]:
  """Axis -> column: its last part, where no other column is called so.

  Args:
    sweep: as its file says.
    config: the base.

  Raises:
    UserError: an axis is no field, or its name is that of another column.
  """
  axes = list(
    dict.fromkeys(name for cell in sweep.cells for name in cell.values)
  )
  taken = {*RESERVED, *COSTS, *metric_names(config)}
  fields = set(fields_of(config))
  for name in axes:
    as_field = any(name in cell.fields for cell in sweep.cells)
    if as_field:
      field_of(config, name, f"axis {name}")
    elif name in taken or name in fields:
      raise UserError(
        f"arms {name}: expected another name, this one is that of "
        f"{'a field' if name in fields else 'a column'}"
      )
  last = [last_part(name) for name in axes]
  return {
    name: name if last.count(end) > 1 or end in taken else end
    for name, end in zip(axes, last, strict=True)
  }


def replicates(columns: Mapping[str, str]) -> tuple[str, ...]:
  """The columns of seeds and folds."""
  return tuple(columns[name] for name in REPLICATES if name in columns)


def baseline_arm(sweep: Sweep, planned: Sequence[Planned]) -> str:
  """The arm that the sweep's baseline names; "" if it names none.

  Raises:
    UserError: it names several arms, or what isn't in the grid.
  """
  if not sweep.baseline:
    return ""
  found = matching(sweep.cells, sweep.baseline, "baseline")
  arms = list(
    dict.fromkeys(
      p.arm for p, is_so in zip(planned, found, strict=True) if is_so
    )
  )
  if len(arms) != 1:
    names = "; ".join(arms[:3]) or "none"
    more = f" and {len(arms) - 3} more" if len(arms) > 3 else ""
    raise UserError(f"baseline: expected to name one arm, got {names}{more}")
  return arms[0]


def metric_names(config: ConfigDict) -> tuple[str, ...]:
  """The numbers of an evaluation, by what one of a few points has."""
  config = config.copy_and_resolve_references()
  config.evaluation.cameras = ""  # which these points don't have
  fields = config.evaluation
  count = max(max(fields.ks) + 2, 2 * fields.folds)
  points = np.linspace(0, 1, 2 * count, dtype=np.float32).reshape(count, 2)
  source = Source(
    images=points,
    labels=np.arange(count) % 2,
    label_names=("0", "1"),
    image_shape=(1, 2, 1),
  )
  return tuple(make_measure(config, source)(points, "euclidean"))


def check_metric(metric: str, config: ConfigDict) -> None:
  """Raises a `UserError` for a metric that an evaluation doesn't have."""
  check_config(config)
  names = metric_names(config)
  if metric not in names:
    raise UserError(
      f"metric: expected one of {', '.join(names)}, got {metric!r}"
    )


def _configs(
  sweep: Sweep, start: ConfigDict, names: Sequence[str]
) -> list[ConfigDict]:
  configs: dict[str, tuple[str, ConfigDict]] = {}
  for name, cell in zip(names, sweep.cells, strict=True):
    try:
      config = changed(start, cell.fields, f"cell {name}")
      config = config.copy_and_resolve_references()
      check_config(config)
    except UserError as error:
      said = str(error).removeprefix(f"cell {name}: ")
      raise UserError(f"cell {name}: {said}") from None
    check_test_split(sweep.test_split, config)
    key = config.to_json(sort_keys=True)
    if key in configs:
      raise UserError(
        f"cell {name}: the same config as {configs[key][0]}; expected each "
        "cell once"
      )
    configs[key] = name, config.lock()
  return [config for _, config in configs.values()]


def _labels(
  cell: Cell, columns: Mapping[str, str], config: ConfigDict
) -> dict[str, str]:
  """Column -> label; the base's where the cell lacks an axis."""
  known = set(fields_of(config))
  labels = {}
  for name, column in columns.items():
    own = cell.values.get(name)
    if own is None:
      value = cell.fields.get(name)
      if value is None and name in known:
        value = field_of(config, name, name)
      own = label("" if value is None else value)
    labels[column] = own
  return labels


def _without(
  values: Mapping[str, str], columns: Sequence[str]
) -> dict[str, str]:
  return {name: own for name, own in values.items() if name not in columns}


def _names(
  labels: Sequence[Mapping[str, str]], what: str, *, twice: bool = False
) -> list[str]:
  """Names that can be folders, a different one for all that differs."""
  taken: dict[str, tuple] = {}
  names = []
  for own in labels:
    key = tuple(own.items())
    text = ",".join(f"{_safe(k)}={_safe(v)}" for k, v in key) or ALONE
    if len(text) > _LONGEST:
      text = f"{text[:_LONGEST]}~{zlib.crc32(repr(key).encode()):08x}"
    name, count = text, 1
    while taken.get(name, key) != key:
      count += 1
      name = f"{text}~{count}"
    if name in taken and not twice:
      raise UserError(f"{what} {name}: twice in the grid; expected it once")
    taken[name] = key
    names.append(name)
  return names


def _safe(text: str) -> str:
  return re.sub(r"[^A-Za-z0-9_.+@-]+", "-", text.strip("()[]'\" ")) or "-"
