"""SIGTERM and SIGINT: the first asks a run to stop, the second ends it."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator

# The exit code of a command that was asked to stop, and can go on: EX_TEMPFAIL
# of sysexits.h.
STOPPED = 75
SIGNALS = (signal.SIGTERM, signal.SIGINT)
# Signals within so many seconds are one: a terminal or a scheduler sends it to
# each process, and the launcher passes it on as well.
ONE = 0.5


@contextlib.contextmanager
def asked_to_stop() -> Iterator[Callable[[], str]]:
  """Listens for the signals, in the main thread; elsewhere it hears nothing.

  The second one ends the process at once, also in the middle of a program on
  the devices or of compiling: its exit code is 128 + its number.

  Yields:
    A function to the name of the signal that asked for it; "" if none did.
  """
  if threading.current_thread() is not threading.main_thread():
    yield lambda: ""
    return
  heard: list[int] = []

  def hear(number: int, frame: object) -> None:
    if not heard:
      heard.append(number)
      _tell(
        f"{signal.Signals(number).name}: ends after this step with a "
        "checkpoint; once more ends at once"
      )

  receiver, sender = os.pipe()
  os.set_blocking(sender, False)
  before = {number: signal.signal(number, hear) for number in SIGNALS}
  # Python's own handlers wait for the main thread, this one doesn't.
  woken = signal.set_wakeup_fd(sender, warn_on_full_buffer=False)
  thread = threading.Thread(target=_end_by_second, args=(receiver,))
  thread.daemon = True
  thread.start()
  try:
    yield lambda: signal.Signals(heard[0]).name if heard else ""
  finally:
    signal.set_wakeup_fd(woken)
    for number, handler in before.items():
      signal.signal(number, handler)
    os.close(sender)
    thread.join()
    os.close(receiver)


def _end_by_second(receiver: int) -> None:
  """Reads the numbers of signals until the other end is closed."""
  first = None
  while number := os.read(receiver, 1):
    if number[0] not in SIGNALS:
      continue
    if first is None:
      first = time.monotonic()
    elif time.monotonic() - first > ONE:
      os._exit(128 + number[0])


def _tell(line: str) -> None:
  # Not print, which may be interrupted in the middle of itself.
  with contextlib.suppress(OSError):
    os.write(
      sys.__stderr__.fileno() if sys.__stderr__ else 2, f"\n{line}\n".encode()
    )
