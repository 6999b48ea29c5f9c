"""Files by which jobs on other machines hear of a stop or of our end."""

from __future__ import annotations

import contextlib
import fcntl
import signal
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

from tripletjax.errors import UserError
from tripletjax.sweeps import guard

# Seconds in which another launcher may end.
PATIENCE = 5.0


@contextlib.contextmanager
def stop_file(folder: Path) -> Iterator[tuple[Path, Callable[[str], None]]]:
  """A file that asks jobs to stop, since signals don't cross machines.

  Args:
    folder: where it will be; all machines see it.

  Yields:
    Its path, and a function that is given the name of a signal, and makes it.
  """
  folder.mkdir(parents=True, exist_ok=True)
  path = folder / "stop"
  path.unlink(missing_ok=True)

  def say(name: str) -> None:
    # Renamed, so that no one reads half of it.
    half = folder / "stop.half"
    half.write_text(str(int(signal.Signals[name])))
    half.rename(path)

  try:
    yield path, say
  finally:
    path.unlink(missing_ok=True)


@contextlib.contextmanager
def alive_file(folder: Path) -> Iterator[tuple[Path, str]]:
  """A file that is locked as long as this process lives.

  Jobs end when it isn't locked any more, or by another one: the next launcher
  waits so long that it doesn't begin beside those of one that was killed.

  Yields:
    Its path, and what is written in it.

  Raises:
    UserError: another launcher holds it.
  """
  folder.mkdir(parents=True, exist_ok=True)
  path = folder / "alive"
  with path.open("a+") as file:
    patience = time.monotonic() + PATIENCE
    while True:
      try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        break
      except OSError as error:
        if time.monotonic() > patience:
          raise UserError(
            f"--workdir: another launcher is at work in {folder.parent}"
          ) from error
        time.sleep(0.1)
    file.seek(0)
    if file.read():  # killed: at its end it would have emptied it
      time.sleep(4 * guard.PAUSE)
    file.truncate(0)
    token = uuid.uuid4().hex
    file.write(token)
    file.flush()
    yield path, token
    file.truncate(0)
