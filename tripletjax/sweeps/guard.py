"""Runs one command, and ends it when whoever started it is gone.

A script with nothing but the standard library in it: `python -I guard.py
SETTINGS COMMAND...`, where SETTINGS is JSON:

    log     file to which the command's output is added
    cores   the cores it may run on; [] is all
    env     variables that are set for it
    cwd     where it runs
    stop    file; when it appears, its first word is a signal's number that is
            sent to the command, once; "" is none
    alive   file that the starter holds locked while it lives, and what is in
            it; ["", ""] is none

SIGTERM and SIGINT are passed on; SIGUSR2, by which some schedulers announce the
end of the time, as SIGTERM. When the parent process ends, in any way, or lets
go of `alive`, and at SIGHUP, the command and what it started in its group are
killed. The exit code is the command's, 128 + n where signal n ended it, but 75
where that was a signal that was passed on: asked to stop while it didn't listen
yet, or no more, it stopped, and nothing is lost.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import json
import os
import signal
import sys

PR_SET_PDEATHSIG = 1
# The kernel says by it that the parent is gone.
GONE = signal.SIGUSR1
PASSED_ON = {
  signal.SIGTERM: signal.SIGTERM,
  signal.SIGINT: signal.SIGINT,
  signal.SIGUSR2: signal.SIGTERM,
}
HEARD = {signal.SIGCHLD, signal.SIGHUP, GONE, *PASSED_ON}
# Seconds between looks at the files.
PAUSE = 0.5
NO_SUCH_COMMAND = 127
STOPPED = 75


def main(settings: dict, command: list[str]) -> int:
  """Starts the command and waits for its end."""
  parent = os.getppid()
  before = signal.pthread_sigmask(signal.SIG_BLOCK, HEARD)
  _tell_when_parent_ends(GONE)
  child = os.fork()
  if not child:
    _become(settings, command, before)
  with contextlib.suppress(OSError):
    os.setpgid(child, child)  # as the child does: whichever is first
  watcher = _watch(child)
  asked = False
  sent: set[int] = set()
  while True:
    pid, status = os.waitpid(child, os.WNOHANG)
    if pid:
      os.kill(watcher, signal.SIGKILL)
      _kill(child)  # what it left behind
      code = os.waitstatus_to_exitcode(status)
      if -code in sent:
        return STOPPED
      return code if code >= 0 else 128 - code
    if os.getppid() != parent or _free(*settings["alive"]):
      _kill(child)
      os.waitpid(child, 0)
      return 128 + signal.SIGKILL
    if not asked and (number := _asked(settings["stop"])):
      asked = True
      sent.add(number)
      _send(child, number)
    heard = signal.sigtimedwait(HEARD, PAUSE)
    if heard is None:
      continue
    if heard.si_signo == signal.SIGHUP:
      _kill(child)
    elif heard.si_signo in PASSED_ON:
      number = PASSED_ON[signal.Signals(heard.si_signo)]
      sent.add(number)
      _send(child, number)


def _become(settings: dict, command: list[str], mask: set) -> None:
  """Turns this process, a fork, into the command."""
  try:
    os.setpgid(0, 0)
    _tell_when_parent_ends(signal.SIGKILL)
    os.chdir(settings["cwd"])
    os.makedirs(os.path.dirname(settings["log"]) or ".", exist_ok=True)
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    log = os.open(settings["log"], flags, 0o644)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((nothing, 0), (log, 1), (log, 2)):
      os.dup2(source, target)
    if settings["cores"]:
      os.sched_setaffinity(0, settings["cores"])
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    os.execvpe(command[0], command, {**os.environ, **settings["env"]})
  except OSError as error:
    os.write(2, f"{command[0]}: {error}\n".encode())
  finally:
    os._exit(NO_SUCH_COMMAND)


def _watch(child: int) -> int:
  """Starts a process that kills the command's group when the guard is killed.

  Ray does so to the children of its workers.
  """
  guard = os.getpid()
  watcher = os.fork()
  if watcher:
    return watcher
  try:
    os.setsid()
    _tell_when_parent_ends(GONE)
    while os.getppid() == guard:
      signal.sigtimedwait({GONE}, PAUSE)
    _kill(child)
  finally:
    os._exit(0)


def _tell_when_parent_ends(number: int) -> None:
  ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(number))


def _send(child: int, number: int) -> None:
  # To the command alone: one that starts others passes it on itself.
  with contextlib.suppress(ProcessLookupError):
    os.kill(child, number)


def _kill(child: int) -> None:
  with contextlib.suppress(ProcessLookupError):
    os.killpg(child, signal.SIGKILL)


def _free(path: str, token: str) -> bool:
  """Whether nobody holds the file locked, or somebody else does."""
  if not path:
    return False
  try:
    with open(path) as file:
      if file.read() != token:
        return True
      fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
  except FileNotFoundError:
    return True
  except OSError:
    return False
  return True


def _asked(path: str) -> int:
  if not path:
    return 0
  try:
    with open(path) as file:
      return int(file.read() or 0)
  except OSError:
    return 0


if __name__ == "__main__":
  sys.exit(main(json.loads(sys.argv[1]), sys.argv[2:]))
