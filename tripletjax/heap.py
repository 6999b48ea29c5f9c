"""Keeps the memory that was freed, for the next step to use.

XLA asks for a step's buffers by `malloc` and frees them after it. glibc gives
large ones back to the system at once, and the next step gets new pages, each of
which is cleared and mapped in when it's first touched: with the default
training of `glyphs` 12,000 page faults a step, and 1.3 times its time
(`python -m experiments.benchmark --suite=heap`). On an accelerator the buffers
are others, and nothing changes.
"""

from __future__ import annotations

import ctypes
import os
import platform

# Of glibc's malloc.h.
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -3, -8
# In bytes. Older versions of glibc take no threshold beyond 32 MiB.
LARGEST, USUAL = 1 << 30, 1 << 25
_kept = False


def keep_freed() -> bool:
  """Lets this process keep freed memory, up to 1 GiB at the heap's end.

  One heap for all threads, so that what one has freed another can use: resident
  memory stays about where it was. Call it before threads are started. Whoever
  has chosen otherwise by `MALLOC_...` or `GLIBC_TUNABLES` in the environment
  is left alone.

  Returns:
    Whether it was done: not without glibc.
  """
  chosen = any(
    name.startswith("MALLOC_") or name == "GLIBC_TUNABLES"
    for name in os.environ
  )
  if chosen or platform.libc_ver()[0] != "glibc":
    return False
  global _kept
  mallopt = ctypes.CDLL(None).mallopt
  mallopt(M_ARENA_MAX, 1)
  mallopt(M_TRIM_THRESHOLD, LARGEST)
  _kept = bool(
    mallopt(M_MMAP_THRESHOLD, LARGEST) or mallopt(M_MMAP_THRESHOLD, USUAL)
  )
  return _kept


def give_back() -> None:
  """Gives back to the system what is free, where it was kept.

  For now and then: after an evaluation, whose buffers no step needs.
  """
  if _kept:
    ctypes.CDLL(None).malloc_trim(0)
