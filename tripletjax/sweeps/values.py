"""Dotted fields of a config: found, checked against its kinds, changed."""

from __future__ import annotations

import ast
import copy
import difflib
from collections.abc import Iterator, Mapping
from typing import Any

from ml_collections import ConfigDict

from tripletjax.errors import UserError

# Kind of a field -> what stands for it.
_KINDS: Mapping[type, tuple[type, ...]] = {
  float: (float, int),
  tuple: (tuple, list),
}
_BOOLS = {"true": True, "false": False}


def fields_of(config: ConfigDict, at: str = "") -> Iterator[str]:
  """All fields of a config, dotted."""
  for name in config:
    if isinstance(config[name], ConfigDict):
      yield from fields_of(config[name], f"{at}{name}.")
    else:
      yield at + name


def field_of(config: ConfigDict, field: str, what: str) -> Any:
  """The value of a dotted field.

  Args:
    config: complete.
    field: such as `loss.margin`.
    what: what the message calls it.

  Raises:
    UserError: there is no such field; the nearest one is named.
  """
  node: Any = config
  for part in str(field).split("."):
    if not isinstance(node, ConfigDict) or part not in node:
      raise UserError(f"{what}: no field {field!r}{_nearest(config, field)}")
    node = node[part]
  if isinstance(node, ConfigDict):
    inside = ", ".join(f"{field}.{name}" for name in node)
    raise UserError(f"{what}: {field} isn't one field; there are {inside}")
  return node


def check_value(config: ConfigDict, field: str, value: Any, what: str) -> Any:
  """A value as the config's field takes it: 1 is 1.0 where that is a float.

  Raises:
    UserError: there is no such field, or the value is of another kind.
  """
  right = field_of(config, field, what)
  kind = type(right)
  fits = isinstance(value, _KINDS.get(kind, (kind,)))
  if not fits or isinstance(value, bool) != isinstance(right, bool):
    raise UserError(
      f"{what}: {field}: expected {_kind_name(right)}, got {value!r}"
    )
  if kind is not tuple:
    return kind(value)
  inner = {type(part) for part in right}
  for part in value:
    if inner and type(part) not in inner:
      raise UserError(
        f"{what}: {field}: expected values such as {right!r}, got {value!r}"
      )
  return tuple(value)


def parse_value(config: ConfigDict, field: str, text: str, what: str) -> Any:
  """A value from a command line, by the kind of the config's field.

  Args:
    config: complete.
    field: dotted.
    text: `0.3`, `true`, `150 steps`, `16,32` or `(16, 32)`.
    what: what the message calls it.

  Raises:
    UserError: there is no such field, or the text is no value of it.
  """
  right = field_of(config, field, what)
  value: Any = text
  try:
    if isinstance(right, bool):
      value = _BOOLS[text.lower()]
    elif isinstance(right, int | float):
      value = type(right)(text)
    elif isinstance(right, tuple):
      value = _tuple(text, right)
  except (ValueError, KeyError, SyntaxError):
    raise UserError(
      f"{what}: {field}: expected {_kind_name(right)}, got {text!r}"
    ) from None
  return check_value(config, field, value, what)


def changed(
  config: ConfigDict, fields: Mapping[str, Any], what: str
) -> ConfigDict:
  """A copy of a config with some of its fields changed.

  A field that follows another one, as `loss.margin_end` does, still does.

  Raises:
    UserError: a field or a value can't be right.
  """
  config = copy.deepcopy(config)
  for field, value in fields.items():
    value = check_value(config, field, value, what)
    *path, last = field.split(".")
    node = config
    for part in path:
      node = node[part]
    node[last] = value
  return config


def _tuple(text: str, right: tuple) -> tuple:
  text = text.strip()
  if (right and isinstance(right[0], str)) or not text.startswith(("(", "[")):
    parts = [part.strip() for part in text.strip("()[]").split(",")]
    kind = type(right[0]) if right else str
    return tuple(kind(part) for part in parts if part)
  return tuple(ast.literal_eval(text))


def _kind_name(right: Any) -> str:
  if isinstance(right, bool):
    return "true or false"
  names: dict[type, str] = {
    int: "a whole number",
    float: "a number",
    str: "a text",
  }
  return names.get(type(right), f"values such as {right!r}")


def _nearest(config: ConfigDict, field: str) -> str:
  known = list(fields_of(config))
  last = str(field).rpartition(".")[2]
  # "margin" is likelier to be loss.margin than a name of as many letters.
  ends = [name for name in known if name.rpartition(".")[2] == last]
  near = ends or difflib.get_close_matches(str(field), known, n=1)
  if not near:
    short = {name.rpartition(".")[2]: name for name in known}
    near = [short[n] for n in difflib.get_close_matches(last, list(short), n=1)]
  return f", did you mean {near[0]!r}?" if near else ""
