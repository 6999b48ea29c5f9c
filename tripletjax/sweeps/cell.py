"""What a grid is made of, and how its cells are asked for by their values."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

from tripletjax.errors import UserError

NOTHING = "none"  # the label of a value that is ""


class Cell(NamedTuple):
  """One config of a grid.

  Attributes:
    values: axis -> label.
    fields: dotted field -> value, which the base config is changed to.
  """

  values: Mapping[str, str]
  fields: Mapping[str, Any]


Grid = tuple[Cell, ...]


class Sweep(NamedTuple):
  """What a sweep file says.

  Attributes:
    cells: its grid.
    config: the base config's path, with `:variant`.
    changes: dotted field -> value, for all cells.
    baseline: axis -> value or label; names one arm, or none when empty.
    metric: what the arms are selected by.
    test_split: `data.eval_split` of the test; "" is no test.
    budget: "" or the `train.duration` of all cells, or "30 seconds".
    name: of the file, without its ending.
    file: the file, with `:variant`.
  """

  cells: Grid
  config: str
  changes: Mapping[str, Any] = MappingProxyType({})
  baseline: Mapping[str, Any] = MappingProxyType({})
  metric: str = "map@r"
  test_split: str = ""
  budget: str = ""
  name: str = ""
  file: str = ""


def matching(
  cells: Sequence[Cell], wanted: Mapping[str, Any], what: str
) -> list[bool]:
  """Which cells have these values or labels, a list of them being any of them.

  Raises:
    UserError: an axis or a value is in no cell; the nearest one is named.
  """
  found = [True] * len(cells)
  for name, value in wanted.items():
    full = axis_named(cells, name, what)
    options = value if isinstance(value, list | range | set) else [value]
    for option in options:
      if not any(_has(cell, full, option) for cell in cells):
        labels = dict.fromkeys(
          c.values[full] for c in cells if full in c.values
        )
        raise UserError(
          f"{what}: {name}: expected one of {', '.join(labels)}, got {option!r}"
        )
    found = [
      so_far and any(_has(cell, full, option) for option in options)
      for so_far, cell in zip(found, cells, strict=True)
    ]
  return found


def axis_named(cells: Sequence[Cell], name: str, what: str) -> str:
  """An axis by its name, or by the last part of its name."""
  axes = list(dict.fromkeys(name for cell in cells for name in cell.values))
  ends = [full for full in axes if last_part(full) == name]
  if name in axes:
    return name
  if len(ends) == 1:
    return ends[0]
  short = {last_part(full): full for full in axes}
  near = difflib.get_close_matches(name, [*axes, *short], n=1)
  hint = f", did you mean {short.get(near[0], near[0])!r}?" if near else ""
  raise UserError(
    f"{what}: no axis {name!r}{hint}; there are {', '.join(axes)}"
  )


def last_part(name: str) -> str:
  """What an axis is called in short; of `loss.name` the part that tells.

  >>> last_part("loss.margin"), last_part("loss.name")
  ('margin', 'loss')
  """
  return name.removesuffix(".name").rpartition(".")[2]


def label(value: Any) -> str:
  """How a value is written in tables and names."""
  return str(value) or NOTHING


def _has(cell: Cell, name: str, value: Any) -> bool:
  if name in cell.fields and cell.fields[name] == value:
    return True
  return name in cell.values and cell.values[name] == label(value)
