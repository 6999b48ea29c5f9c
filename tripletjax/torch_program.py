"""The few instructions of a pickle that a description of tensors needs.

Nothing is imported, and nothing called but the functions that are given. The
instructions are read by `pickletools`, which takes pickles apart and never runs
them. https://peps.python.org/pep-0307/ and pickletools' own table say what
each of them does.
"""

from __future__ import annotations

import io
import pickletools
from collections.abc import Callable, Collection, Mapping
from typing import Any, BinaryIO, NamedTuple

_CONSTANTS = {
  "NONE": None,
  "NEWTRUE": True,
  "NEWFALSE": False,
}
_EMPTY: dict[str, Callable[[], Any]] = {
  "EMPTY_DICT": dict,
  "EMPTY_LIST": list,
  "EMPTY_TUPLE": tuple,
}
_VALUES = {
  "BININT",
  "BININT1",
  "BININT2",
  "LONG1",
  "BINFLOAT",
  "BINUNICODE",
  "SHORT_BINUNICODE",
}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


class MalformedError(ValueError):
  """The file isn't what it should be; says why."""


class Global(NamedTuple):
  """A name that the program uses, such as torch.FloatStorage."""

  module: str
  name: str


class _Mark:
  """Where a list of arguments begins on the stack."""


_MARK = _Mark()


def follow(
  program: bytes | BinaryIO,
  *,
  names: Collection[str],
  calls: Mapping[str, Callable[..., Any]],
  persistent: Callable[[Any], Any],
) -> Any:
  """What a pickle describes.

  Args:
    program: the pickle; or a file, which is read up to the end of its next one.
    names: what it may name, as torch.FloatStorage; anything else is refused.
    calls: what of it may be called, and what is called instead.
    persistent: makes an object of a persistent id.

  Raises:
    MalformedError: it needs another instruction or name, or is damaged; or one
      of the functions says so.
  """
  machine = _Machine(names, calls, persistent)
  if isinstance(program, bytes):
    program = io.BytesIO(program)
  try:
    for operation, argument, _ in pickletools.genops(program):
      machine.step(operation.name, argument)
  except MalformedError:
    raise
  except Exception as error:
    # A stack that is too short, a key that can't be one, a length too long.
    said = str(error).partition("\n")[0][:80]
    raise MalformedError(f"data.pkl: is damaged: {said}") from error
  if len(machine.stack) != 1:
    raise MalformedError("data.pkl: is damaged: expected one object")
  return machine.stack[0]


class _Machine:
  """The stack and the memo of a pickle."""

  def __init__(
    self,
    names: Collection[str],
    calls: Mapping[str, Callable[..., Any]],
    persistent: Callable[[Any], Any],
  ):
    self.stack: list[Any] = []
    self._memo: dict[int, Any] = {}
    self._names, self._calls = names, calls
    self._persistent = persistent

  def step(self, name: str, argument: Any) -> None:
    """Does one instruction."""
    stack = self.stack
    if name in ("PROTO", "FRAME", "STOP"):
      pass
    elif name == "MARK":
      stack.append(_MARK)
    elif name in _VALUES:
      stack.append(argument)
    elif name in _CONSTANTS:
      stack.append(_CONSTANTS[name])
    elif name in _EMPTY:
      stack.append(_EMPTY[name]())
    elif name in _TUPLES:
      stack.append(tuple(self._pop() for _ in range(_TUPLES[name]))[::-1])
    elif name == "TUPLE":
      stack.append(tuple(self._pop_to_mark()))
    elif name in ("BINPUT", "LONG_BINPUT"):
      self._memo[argument] = stack[-1]
    elif name == "MEMOIZE":
      self._memo[len(self._memo)] = stack[-1]
    elif name in ("BINGET", "LONG_BINGET"):
      stack.append(self._memo[argument])
    elif name == "GLOBAL":
      stack.append(self._known(*argument.split(" ", 1)))
    elif name == "STACK_GLOBAL":
      attribute, module = self._pop(), self._pop()
      stack.append(self._known(str(module), str(attribute)))
    else:
      self._change(name)

  def _change(self, name: str) -> None:
    """The instructions that change what is on the stack."""
    if name == "BINPERSID":
      self.stack.append(self._persistent(self._pop()))
    elif name == "REDUCE":
      arguments, function = self._pop(), self._pop()
      self.stack.append(self._call(function, arguments))
    elif name == "BUILD":
      self._pop()  # attributes of a state_dict, such as its version: not needed
      if not isinstance(self.stack[-1], dict):
        raise MalformedError(
          "data.pkl: expected attributes of an OrderedDict only"
        )
    elif name == "SETITEM":
      value, key = self._pop(), self._pop()
      _put(self.stack[-1], [key, value])
    elif name == "SETITEMS":
      pairs = self._pop_to_mark()
      _put(self.stack[-1], pairs)
    elif name in ("APPEND", "APPENDS"):
      values = [self._pop()] if name == "APPEND" else self._pop_to_mark()
      if not isinstance(self.stack[-1], list):
        raise MalformedError(
          "data.pkl: is damaged: expected a list to append to"
        )
      self.stack[-1].extend(values)
    else:
      raise MalformedError(
        f"data.pkl: expected a description of tensors, got the instruction "
        f"{name}; save the state_dict only"
      )

  def _call(self, function: Any, arguments: Any) -> Any:
    name = ".".join(function) if isinstance(function, Global) else ""
    if name not in self._calls or not isinstance(arguments, tuple):
      raise MalformedError(
        f"data.pkl: expected tensors, got a call of {name or '?'}"
      )
    return self._calls[name](*arguments)

  def _pop(self) -> Any:
    value = self.stack.pop()
    if value is _MARK:
      raise MalformedError(
        "data.pkl: is damaged: a mark where a value should be"
      )
    return value

  def _pop_to_mark(self) -> list[Any]:
    found: list[Any] = []
    while (value := self.stack.pop()) is not _MARK:
      found.append(value)
    return found[::-1]

  def _known(self, module: str, name: str) -> Global:
    if f"{module}.{name}" not in self._names:
      raise MalformedError(
        f"data.pkl: names {module[:80]}.{name[:80]}, which isn't a tensor: "
        "nothing of this file is run; save the state_dict only"
      )
    return Global(module, name)


def _put(target: Any, pairs: list[Any]) -> None:
  """Sets items; keys are text or numbers, whose hash can't run anything."""
  if not isinstance(target, dict) or len(pairs) % 2:
    raise MalformedError("data.pkl: is damaged: expected pairs of a dict")
  for key, value in zip(pairs[::2], pairs[1::2], strict=True):
    if not isinstance(key, str | int):
      raise MalformedError(
        f"data.pkl: expected names as keys, got {type(key).__name__}"
      )
    target[key] = value
