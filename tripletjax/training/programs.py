"""Compiled programs, of which a process can hold only so many."""

from __future__ import annotations

import gc
from pathlib import Path

import jax

# Linux gives a process 65,530 memory maps, and each compiled program takes a
# few: beyond, LLVM crashes. A training adds about a thousand.
MOST_MAPS = 15_000
_MAPS = Path("/proc/self/maps")


def forget_programs(most: int = MOST_MAPS) -> bool:
  """Forgets compiled programs where the process has more memory maps.

  They are compiled again when they are needed.

  Returns:
    Whether it did; never where the system doesn't say how many maps there are.
  """
  if not _MAPS.exists() or _MAPS.read_bytes().count(b"\n") <= most:
    return False
  jax.clear_caches()
  gc.collect()
  return True
