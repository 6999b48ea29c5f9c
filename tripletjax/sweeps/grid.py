"""The language of grids, which a file of `configs/sweeps/` is written in.

    grid.product(
      grid.axis("loss.miner", ["random", "semi_hard"]),
      grid.axis("loss.margin", [0.1, 0.2]),
      grid.axis("seed", range(3)),
    )

A grid is a tuple of cells, so that what makes grids of grids is a plain
function. Which fields there are, and of what kind, is checked by `cells.py`,
which knows the base config.
"""

from __future__ import annotations

import builtins
import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from tripletjax.errors import UserError
from tripletjax.sweeps.cell import Cell, Grid, Sweep, label, matching

__all__ = [
  "Cell",
  "Grid",
  "Sweep",
  "arms",
  "axis",
  "chain",
  "exclude",
  "product",
  "sweep",
  "zip",
]


def axis(field: str, values: Iterable[Any]) -> Grid:
  """One cell for each value of a field.

  Args:
    field: dotted, such as `loss.margin`.
    values: of the field's kind.

  Raises:
    UserError: there is no value.

  >>> [cell.values for cell in axis("loss.margin", [0.1, 0.2])]
  [{'loss.margin': '0.1'}, {'loss.margin': '0.2'}]
  """
  _check_name("axis", field)
  if isinstance(values, str | Mapping) or not isinstance(values, Iterable):
    raise UserError(
      f"axis {field}: expected a list of values, got {values!r}; write "
      f"[{values!r}] for one"
    )
  values = list(values)
  if not values:
    raise UserError(f"axis {field}: expected at least one value, got none")
  return tuple(Cell({field: label(x)}, {field: x}) for x in values)


def arms(name: str, choices: Mapping[str, Mapping[str, Any]]) -> Grid:
  """One cell for each named set of fields.

  Args:
    name: of this axis; no dotted field.
    choices: label -> dotted field -> value; a choice without a field is the
      base config as it is.

  Raises:
    UserError: there is no choice, or one is not a mapping.

  >>> arms("distance", {"plain": {}, "cosine": {"loss.distance": "cosine"}})[1]
  Cell(values={'distance': 'cosine'}, fields={'loss.distance': 'cosine'})
  """
  _check_name("arms", name)
  if not isinstance(choices, Mapping) or not choices:
    raise UserError(
      f"arms {name}: expected {{label: {{field: value}}}} with at least one "
      f"label, got {choices!r}"
    )
  for key, fields in choices.items():
    if not isinstance(key, str) or not key:
      raise UserError(f"arms {name}: expected a label, got {key!r}")
    if not isinstance(fields, Mapping):
      raise UserError(
        f"arms {name}: {key}: expected {{field: value}}, got {fields!r}"
      )
  return tuple(
    Cell({name: key}, dict(fields)) for key, fields in choices.items()
  )


def product(*grids: Grid) -> Grid:
  """Every cell of one with every cell of the others; the last moves fastest.

  Raises:
    UserError: a grid is empty, or two set the same axis or field.

  >>> grid = product(axis("seed", [0, 1]), axis("loss.margin", [0.1, 0.2, 0.4]))
  >>> len(grid), grid[1].fields
  (6, {'seed': 0, 'loss.margin': 0.2})
  """
  _check_grids("product", grids)
  return tuple(_merged("product", cells) for cells in itertools.product(*grids))


def zip(*grids: Grid) -> Grid:
  """The first cell of one with the first of the others, and so on.

  Raises:
    UserError: their lengths differ, or two set the same axis or field.

  >>> zip(axis("batch.images", [2, 4]), axis("batch.identities", [8, 4]))[1].fields
  {'batch.images': 4, 'batch.identities': 4}
  """  # noqa: E501
  _check_grids("zip", grids)
  if len({len(grid) for grid in grids}) > 1:
    sizes = ", ".join(f"{_named(grid)} has {len(grid)}" for grid in grids)
    raise UserError(f"zip: expected grids of one length, got: {sizes}")
  return tuple(
    _merged("zip", cells) for cells in builtins.zip(*grids, strict=True)
  )


def chain(*grids: Grid) -> Grid:
  """The cells of one after those of another.

  A cell that lacks an axis of another has the base config's value there.

  Raises:
    UserError: a grid is empty.

  >>> len(chain(axis("seed", [0, 1]), axis("seed", [7])))
  3
  """
  _check_grids("chain", grids)
  return tuple(itertools.chain(*grids))


def exclude(
  grid: Grid,
  where: Mapping[str, Any] | Callable[[Cell], bool] | None = None,
  **values: Any,
) -> Grid:
  """A grid without some of its cells.

  Args:
    grid: the cells.
    where: axis -> value or label, or a list of them: cells of which all are so
      go. Or a function that is true of cells that go.
    **values: as in `where`, by the last part of an axis.

  Raises:
    UserError: an axis or a value isn't in the grid, or no cell is left.

  >>> grid = product(axis("seed", [0, 1]), axis("loss.margin", [0.1, 0.2]))
  >>> len(exclude(grid, {"loss.margin": 0.1, "seed": 0})), len(exclude(grid, margin=0.1))
  (3, 2)
  """  # noqa: E501
  _check_grids("exclude", (grid,))
  if callable(where):
    if values:
      raise UserError("exclude: expected a function or values, got both")
    kept = tuple(cell for cell in grid if not where(cell))
  else:
    wanted = {**(where or {}), **values}
    if not wanted:
      raise UserError("exclude: expected which cells go, got nothing")
    gone = matching(grid, wanted, "exclude")
    kept = tuple(
      cell for cell, goes in builtins.zip(grid, gone, strict=True) if not goes
    )
  if not kept:
    raise UserError("exclude: no cell is left; expected at least one")
  return kept


def sweep(
  *,
  config: str,
  cells: Grid,
  changes: Mapping[str, Any] = MappingProxyType({}),
  baseline: Mapping[str, Any] = MappingProxyType({}),
  metric: str = "map@r",
  test_split: str = "",
  budget: str = "",
) -> Sweep:
  """What `get_sweep` of a sweep file returns; see `Sweep`.

  Raises:
    UserError: an argument is of the wrong kind, or the grid is empty.
  """
  _check_grids("sweep: cells", (cells,))
  for name, value in (("changes", changes), ("baseline", baseline)):
    if not isinstance(value, Mapping):
      raise UserError(
        f"sweep: {name}: expected {{field: value}}, got {value!r}"
      )
  texts = {"config": config, "metric": metric, "test_split": test_split}
  for name, text in (texts | {"budget": budget}).items():
    if not isinstance(text, str):
      raise UserError(f"sweep: {name}: expected a text, got {text!r}")
  return Sweep(
    cells, config, dict(changes), dict(baseline), metric, test_split, budget
  )


def _merged(what: str, cells: Sequence[Cell]) -> Cell:
  values: dict[str, str] = {}
  fields: dict[str, Any] = {}
  for cell in cells:
    for so_far, more in ((values, cell.values), (fields, cell.fields)):
      if twice := sorted(so_far.keys() & more.keys()):
        raise UserError(
          f"{what}: {', '.join(twice)}: set by two of its grids; expected each "
          "field once"
        )
    values |= cell.values
    fields |= cell.fields
  return Cell(values, fields)


def _check_grids(what: str, grids: Sequence[Any]) -> None:
  if not grids:
    raise UserError(f"{what}: expected at least one grid, got none")
  for grid in grids:
    if not isinstance(grid, tuple) or not all(
      isinstance(cell, Cell) for cell in grid
    ):
      raise UserError(
        f"{what}: expected grids, as axis, arms, product, zip, chain and "
        f"exclude give them, got {grid!r}"
      )
    if not grid:
      raise UserError(f"{what}: the grid is empty; expected at least one cell")


def _check_name(what: str, name: Any) -> None:
  if not isinstance(name, str) or not name:
    raise UserError(f"{what}: expected a name first, got {name!r}")


def _named(grid: Grid) -> str:
  return " x ".join(grid[0].values)
