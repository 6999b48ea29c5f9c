"""Several processes on this machine, that live and end together."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

# How long a process may take to end when it is asked to, in seconds.
GRACE = 10.0
# Where a process that fails says so, by a file named by its number, before it
# ends: others notice its end sooner than we do, and abort in many lines.
FAILED = "TRIPLETJAX_FAILED"


def launch(command: Sequence[str], *, processes: int) -> int:
  """Runs a command as processes that train together.

  Args:
    command: what Python runs, such as `-m experiments.train`; each process gets
      `--coordinator`, `--num_processes` and `--process_id` beside it.
    processes: how many.

  Returns:
    The exit code: of the first that failed, 128 + n where signal n ended it;
    the others are ended then.
  """
  together = (
    f"--coordinator=127.0.0.1:{free_port()}",
    f"--num_processes={processes}",
  )
  with (
    tempfile.TemporaryDirectory() as folder,
    _ended(
      [
        subprocess.Popen(
          [sys.executable, *command, *together, f"--process_id={number}"],
          env={**os.environ, FAILED: folder},
        )
        for number in range(processes)
      ]
    ) as children,
  ):
    while True:
      told = next(Path(folder).iterdir(), None)
      # After that, so that one that was killed is found before those that only
      # fail since it is gone.
      codes = [child.poll() for child in children]
      if told is not None and not any(codes):
        failed = children[int(told.name)]
        _kill(child for child in children if child is not failed)
        told.unlink()
        codes = [failed.wait()]
      for code in filter(None, codes):
        # The others can't go on, and may wait for this one forever.
        _kill(children)
        return code if code > 0 else 128 - code
      if None not in codes:
        return 0
      time.sleep(0.05)


def say_failed(number: int) -> None:
  """Tells the launcher, if there is one, and lets it end the others first.

  Of several that fail at the same time one returns from here.
  """
  folder = os.environ.get(FAILED)
  if folder is None:
    return
  told = Path(folder) / str(number)
  told.touch()
  patience = time.monotonic() + GRACE / 2
  while told.exists() and time.monotonic() < patience:
    time.sleep(0.01)


def free_port() -> int:
  """A port of this machine that nobody listens to."""
  with socket.socket() as found:
    found.bind(("127.0.0.1", 0))
    return found.getsockname()[1]


@contextlib.contextmanager
def _ended(
  children: list[subprocess.Popen],
) -> Iterator[list[subprocess.Popen]]:
  """Ends what still runs, whatever happens: an error, Ctrl-C, SIGTERM."""

  def leave(number: int, frame: object) -> None:
    raise SystemExit(128 + number)

  before = signal.signal(signal.SIGTERM, leave)
  try:
    yield children
  finally:
    signal.signal(signal.SIGTERM, before)
    for child in children:
      child.terminate()
    patience = time.monotonic() + GRACE
    for child in children:
      with contextlib.suppress(subprocess.TimeoutExpired):
        child.wait(max(patience - time.monotonic(), 0))
    _kill(children)


def _kill(children: Iterable[subprocess.Popen]) -> None:
  for child in children:
    child.kill()
    child.wait()
