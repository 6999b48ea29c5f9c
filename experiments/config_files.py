"""Config files, looked at before ml_collections does, which ends in a trace."""

from __future__ import annotations

import difflib
import re
import runpy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

CONFIGS = Path(__file__).parent.parent / "configs"
COMPLETE = CONFIGS / "glyphs.py"  # has all fields, of the right kinds
_KINDS: dict[type, tuple[type, ...]] = {
  float: (float, int),
  tuple: (tuple, list),
}


def mistake(argv: Sequence[str]) -> str:
  """What is wrong with `--config`, or with a field that is set; "" if nothing.

  Args:
    argv: of the command, with `--config=FILE`.
  """
  text = " ".join(argv[1:])
  filename = re.search(r"(?:^| )--?config[= ](\S+)", text)
  if filename is None:
    return ""
  path, _, variant = filename[1].partition(":")
  if not Path(path).is_file():
    known = sorted(f"configs/{file.name}" for file in CONFIGS.glob("[!_]*.py"))
    return f"--config: there is no file {path!r}; there are {', '.join(known)}"
  try:
    get_config = runpy.run_path(path)["get_config"]
    config = get_config(variant) if variant else get_config()
  except KeyError as error:
    return (
      f"--config: {filename[1]}: expected a function get_config, no {error}"
    )
  except Exception as error:
    return f"--config: {filename[1]}: {type(error).__name__}: {error}"
  complete = runpy.run_path(str(COMPLETE))["get_config"]()
  return _of_file(path, config, complete) or _of_fields(text, config)


def config_of(name: str) -> Any:
  """The config of a file of `configs/`, such as `facenet.py:glyphs`."""
  file, _, variant = name.partition(":")
  return runpy.run_path(str(CONFIGS / file))["get_config"](variant)


def did_you_mean(name: str, known: Sequence[str]) -> str:
  """A hint at the nearest name, or ""."""
  close = difflib.get_close_matches(name, known, n=1)
  return f", did you mean {close[0]!r}?" if close else ""


def _of_file(file: str, config: Any, complete: Any, at: str = "") -> str:
  """A field that is missing, or of another kind."""
  if not hasattr(config, "keys"):
    place = at.rstrip(".") or "get_config"
    return f"--config: {file}: {place}: expected a ConfigDict, got {config!r}"
  for name in complete:
    field = f"{at}{name}"
    if name not in config:
      hint = did_you_mean(name, list(config))
      return f"--config: {file} lacks the field {field}{hint}; see {COMPLETE}"
    got, right = config[name], complete[name]
    if hasattr(right, "keys"):
      if wrong := _of_file(file, got, right, f"{field}."):
        return wrong
    elif not isinstance(got, _KINDS.get(type(right), (type(right),))) or (
      isinstance(got, bool) != isinstance(right, bool)
    ):
      kind = type(right).__name__
      return f"--config: {file}: {field}: expected {kind}, got {got!r}"
  return ""


def _of_fields(text: str, config: Any) -> str:
  """A field on the command line that the config doesn't have."""
  for field in re.findall(r"(?:^| )--?config\.([\w.]+)", text):
    node, known = config, []
    for name in field.split("."):
      known = sorted(node) if hasattr(node, "keys") else []
      if name not in known:
        fields = ", ".join(known) or "none"
        hint = did_you_mean(name, known)
        return f"--config.{field}: no field {name!r}{hint}; there are {fields}"
      node = node[name]
  return ""
