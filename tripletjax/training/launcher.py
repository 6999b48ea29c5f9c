"""Several processes on this machine, that live and end together."""

from __future__ import annotations

import contextlib
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence

# How long a process may take to end when it is asked to, in seconds.
GRACE = 10.0


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
  with _ended(
    [
      subprocess.Popen(
        [sys.executable, *command, *together, f"--process_id={number}"]
      )
      for number in range(processes)
    ]
  ) as children:
    while True:
      codes = [child.poll() for child in children]
      failed = [code for code in codes if code]
      if failed:
        return failed[0] if failed[0] > 0 else 128 - failed[0]
      if None not in codes:
        return 0
      time.sleep(0.05)


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
      if child.poll() is None:
        child.terminate()
    patience = time.monotonic() + GRACE
    for child in children:
      try:
        child.wait(max(patience - time.monotonic(), 0))
      except subprocess.TimeoutExpired:
        child.kill()
        child.wait()
