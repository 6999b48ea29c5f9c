"""Sweep files, looked at so that each mistake in one is a line."""

from __future__ import annotations

import runpy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from experiments.config_files import CONFIGS, mistake
from tripletjax.errors import UserError, printable
from tripletjax.sweeps import grid
from tripletjax.sweeps.cell import Sweep
from tripletjax.sweeps.values import parse_value

ROOT = CONFIGS.parent


def load_sweep(
  name: str, overrides: Mapping[str, str] | None = None
) -> tuple[Sweep, ConfigDict]:
  """A sweep, and the base config that it names.

  Args:
    name: of the file, with `:variant`.
    overrides: dotted field -> text, which changes all cells.

  Raises:
    UserError: the file, the config or an override can't be right.
  """
  sweep = _sweep(name)
  base = _base(sweep, name)
  texts = dict(overrides or {})
  for field in texts:
    if any(field in (*c.fields, *c.values) for c in sweep.cells):
      raise UserError(
        f"--set {field}: the grid of {name} sets it; change it there"
      )
  if sweep.budget and "train.duration" in texts:
    # What the command line says of how long goes for what the file says.
    sweep = sweep._replace(budget="")
  parsed = {
    field: parse_value(base, field, text, "--set")
    for field, text in texts.items()
  }
  return sweep._replace(changes={**sweep.changes, **parsed}), base


def _sweep(name: str) -> Sweep:
  path, _, variant = name.partition(":")
  file = _find(path)
  if file is None:
    known = sorted(p.stem for p in (CONFIGS / "sweeps").glob("[!_]*.py"))
    there = ", ".join(f"configs/sweeps/{stem}.py" for stem in known)
    raise UserError(f"--sweep: there is no file {path!r}; there are {there}")
  try:
    get_sweep = runpy.run_path(str(file))["get_sweep"]
    sweep = get_sweep(grid, variant) if variant else get_sweep(grid)
  except KeyError as error:
    raise UserError(
      f"--sweep: {name}: expected a function get_sweep, no {error}"
    ) from None
  except UserError as error:
    raise UserError(f"--sweep: {name}: {error}") from None
  except Exception as error:
    said = printable(f"{type(error).__name__}: {error}")
    raise UserError(f"--sweep: {name}: {said}") from error
  if not isinstance(sweep, Sweep):
    raise UserError(
      f"--sweep: {name}: get_sweep: expected a grid.sweep(...), got {sweep!r}"
    )
  return sweep._replace(name=file.stem, file=name)


def _base(sweep: Sweep, name: str) -> ConfigDict:
  path, _, variant = sweep.config.partition(":")
  found = _find(path)
  file = f"{found or path}" + (f":{variant}" if variant else "")
  if wrong := mistake(["", f"--config={file}"]):
    raise UserError(wrong.replace("--config", f"--sweep: {name}: config", 1))
  get_config: Any = runpy.run_path(str(found))["get_config"]
  return get_config(variant) if variant else get_config()


def _find(path: str) -> Path | None:
  """A file from here, or from the repository."""
  return next((p for p in (Path(path), ROOT / path) if p.is_file()), None)
