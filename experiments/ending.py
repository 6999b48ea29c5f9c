"""How a command ends before its time."""

from __future__ import annotations

import os
import re
import select
import signal
import sys
import traceback
from typing import NoReturn


def fail(message: str) -> NoReturn:
  """Ends the command with one line on stderr and exit code 2."""
  message = " ".join(message.split())
  if sys.exc_info()[0] and _debugging():
    traceback.print_exc()
  # As errors.printable does, without importing JAX for a misspelt flag.
  shown = (c if c.isprintable() else ascii(c)[1:-1] for c in message)
  print("error: " + "".join(shown), file=sys.stderr)
  sys.exit(2)


def _debugging() -> bool:
  # Not the flag's value: flags that can't be parsed are mistakes too.
  return any(re.fullmatch("--?debug(=true|=1)?", word) for word in sys.argv)


def out_of_memory(error: Exception) -> bool:
  """Whether Python or an accelerator had no memory left."""
  if isinstance(error, MemoryError):
    return True
  return "RESOURCE_EXHAUSTED" in str(error) and "Jax" in type(error).__name__


def is_unread() -> bool:
  """Whether whoever read what is printed, such as `head`, has left."""
  poll = select.poll()
  poll.register(sys.stdout.fileno(), 0)
  return any(event & select.POLLERR for _, event in poll.poll(0))


def end_unread() -> NoReturn:
  """Ends a command whose output nobody reads any more.

  With the exit code that a shell gives it, and without a word.
  """
  os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
  sys.exit(128 + signal.SIGPIPE)
