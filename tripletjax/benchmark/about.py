"""What all suites do: check names, and say where and how long they ran."""

from __future__ import annotations

import os
import time
from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

import jax

from tripletjax.data.caching import num_cores
from tripletjax.errors import UserError


class Began(NamedTuple):
  """When a suite began, by a clock that only goes on, and the load before."""

  seconds: float
  load: float


def begin() -> Began:
  """The start of a suite: now."""
  return Began(time.perf_counter(), os.getloadavg()[0])


def about(
  suite: str, began: Began, *, repeats: int, **machine: Any
) -> dict[str, Any]:
  """What is said of a run beside its numbers.

  Args:
    suite: its name.
    began: when it began.
    repeats: how many samples were asked for.
    **machine: more about the machine.
  """
  return {
    "suite": suite,
    "repeats": repeats,
    "machine": {
      "cores": num_cores(),
      "backend": jax.default_backend(),
      "jax": jax.__version__,
      # What was at work before: all ratios suffer from neighbours.
      "load": began.load,
      **machine,
    },
    "seconds": time.perf_counter() - began.seconds,
  }


def check_only(only: Sequence[str], known: Collection[str]) -> None:
  """Checks the names of `--only`.

  Raises:
    UserError: one of them is unknown.
  """
  for name in only:
    if name not in known:
      raise UserError(
        f"--only: expected some of {', '.join(known)}; got {name!r}"
      )
