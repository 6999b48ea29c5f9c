"""Names for functions: every registry is a literal dict."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

Function = TypeVar("Function", bound=Callable)


def resolve(
  choice: str | Function, registry: Mapping[str, Function], what: str
) -> Function:
  """The function that a name stands for; a function is itself.

  Args:
    choice: a name from `registry`, or a function.
    registry: name -> function.
    what: what the message calls it.

  Raises:
    ValueError: no function has this name; the valid ones are listed.

  >>> resolve("twice", {"once": abs}, "often")
  Traceback (most recent call last):
  ValueError: expected often to be one of once, got 'twice'
  """
  if callable(choice):
    return choice
  if choice not in registry:
    raise ValueError(
      f"expected {what} to be one of {', '.join(registry)}, got {choice!r}"
    )
  return registry[choice]
