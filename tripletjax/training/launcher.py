"""Several processes on this machine, that live and end together."""

from __future__ import annotations

import contextlib
import math
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from tripletjax.training.signals import ONE, SIGNALS, STOPPED

# How long a process may take to end when it is asked to, in seconds.
GRACE = 10.0
# Where a process that fails says so, by a file named by its number, before it
# ends: others notice its end sooner than we do, and abort in many lines.
FAILED = "TRIPLETJAX_FAILED"
# Exit codes after which nothing is started again: the end, a user's mistake,
# and a stop that was asked for, with or without a checkpoint.
FINAL = (0, 2, STOPPED, *(128 + number for number in SIGNALS))


def launch(
  command: Sequence[str],
  *,
  processes: int,
  restarts: int = 0,
  say: Callable[[str], None] = lambda line: None,
) -> int:
  """Runs a command as processes that train together.

  Where one of them fails the others are ended, and all are started again if
  there are restarts left: a training goes on from its latest checkpoint. A
  mistake of the user and a stop that was asked for are no failures. SIGTERM and
  SIGINT are passed on, so that the processes can save and end.

  Args:
    command: what Python runs, such as `-m experiments.train`; each process gets
      `--coordinator`, `--num_processes` and `--process_id` beside it.
    processes: how many.
    restarts: how often all are started again, at most.
    say: is told of each restart.

  Returns:
    The exit code: of the first that failed, the last time, 128 + n where signal
    n ended it. Of those that were asked to stop, theirs.
  """
  for left in range(restarts, 0, -1):
    code = _launch(command, processes)
    if code in FINAL:
      return code
    say(
      f"a process ended with exit code {code}: all {processes} are started "
      f"again; restarts left: {left - 1}"
    )
  return _launch(command, processes)


def _launch(command: Sequence[str], processes: int) -> int:
  """Runs the processes once."""
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
    patience = 0.0
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
      if STOPPED in codes and None in codes:
        # They stop together; one may be a little later.
        patience = patience or time.monotonic() + GRACE
        if time.monotonic() < patience and set(codes) <= {None, STOPPED, 0}:
          time.sleep(0.05)
          continue
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
  """Ends what still runs, whatever happens; passes SIGTERM and SIGINT on."""
  first = math.inf

  def pass_on(number: int, frame: object) -> None:
    nonlocal first
    first = min(first, time.monotonic())
    for child in children:
      child.send_signal(number)
    if time.monotonic() - first > ONE:
      raise SystemExit(128 + number)

  before = {number: signal.signal(number, pass_on) for number in SIGNALS}
  try:
    yield children
  finally:
    for number, handler in before.items():
      signal.signal(number, handler)
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
