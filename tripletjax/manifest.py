"""Which checkpoints are whole: by a digest of each of their files.

The manifest is one of the files of a checkpoint, written last and before the
checkpoint gets its name: a checkpoint with a name has a whole manifest.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path

from tripletjax.errors import UserError

Say = Callable[[str], None]
MANIFEST = "manifest.json"


def write_manifest(folder: Path, *, changing: Sequence[str] = ()) -> None:
  """Writes `manifest.json` into a folder, of all files below it.

  Args:
    folder: whole, but for the manifest.
    changing: files whose bytes may still change; they only have to be there.

  Raises:
    OSError: the folder can't be read or written.
  """
  digests = {
    str(path.relative_to(folder)): None
    if str(path.relative_to(folder)) in changing
    else _digest(path)
    for path in sorted(folder.rglob("*"))
    if path.is_file() and path != folder / MANIFEST
  }
  (folder / MANIFEST).write_text(json.dumps({"blake2b": digests}, indent=1))


def damage(folder: Path) -> str:
  """What is wrong with a folder by its manifest, in words; "" if nothing.

  A folder without a manifest is taken as it is: one of before there were any.
  """
  path = folder / MANIFEST
  if not path.exists():
    return ""
  try:
    digests = json.loads(path.read_text())["blake2b"].items()
  except (OSError, ValueError, KeyError, TypeError, AttributeError):
    return f"{MANIFEST} can't be read"
  for name, digest in digests:
    try:
      if digest != (None if digest is None else _digest(folder / name)):
        return f"{name} has other bytes than were written"
      if not (folder / name).exists():
        return f"{name} is missing"
    except FileNotFoundError:
      return f"{name} is missing"
    except OSError as error:
      return f"{name} can't be read: {error.strerror}"
  return ""


def steps_in(directory: Path) -> list[int]:
  """The steps of the checkpoints of a folder, in order."""
  return sorted(
    int(path.name) for path in directory.glob("[0-9]*") if path.name.isdigit()
  )


def set_aside_damaged(directory: Path, say: Say) -> None:
  """Moves damaged checkpoints away until the latest one is whole.

  Args:
    directory: of the checkpoints; the damaged go to `damaged/` beside it.
    say: is told of each.
  """
  steps = steps_in(directory)
  while steps and (reason := damage(directory / str(steps[-1]))):
    step = steps.pop()
    folder = directory.parent / "damaged"
    folder.mkdir(exist_ok=True)
    count = len(list(folder.glob(f"{step}*")))
    aside = folder / (f"{step}-{count}" if count else str(step))
    os.replace(directory / str(step), aside)
    going_on = f"going on from {steps[-1]}" if steps else "starting again"
    say(
      f"checkpoint {step} is damaged ({reason}): {going_on}; it lies in {aside}"
    )


def choose_step(
  directory: Path, which: str, say: Say, *, best_of: Callable[[Path], int]
) -> int:
  """The step of the checkpoint that is meant, which isn't damaged.

  Args:
    directory: of the checkpoints.
    which: latest, best, or a step.
    say: is told where a damaged one is passed over.
    best_of: the best step that a checkpoint knows of, or 0.

  Raises:
    UserError: there is none.
  """
  steps = steps_in(directory)
  if not steps:
    raise UserError(
      f"--workdir: no checkpoint in {directory}; train first, or name the "
      "folder of another run"
    )
  if which not in ("latest", "best", *map(str, steps)):
    raise UserError(
      "--checkpoint: expected latest, best or one of "
      f"{', '.join(map(str, steps))}, got {which!r}"
    )
  step = int(which) if which.isdecimal() else _latest(directory, steps, say)
  if which == "best":
    step = best_of(directory / str(step))
    if step not in steps:
      raise UserError(
        f"--checkpoint: no best one in {directory}: expected latest, or a run "
        "with checkpoint.best, such as map@r"
      )
  if which != "latest" and (reason := damage(directory / str(step))):
    raise UserError(
      f"--checkpoint: {directory / str(step)} is damaged ({reason}); expected "
      "another one, such as latest"
    )
  return step


def _latest(directory: Path, steps: list[int], say: Say) -> int:
  """The latest that isn't damaged."""
  passed = ""
  for step in reversed(steps):
    if not (reason := damage(directory / str(step))):
      if passed:
        say(f"{passed}: taking {step}")
      return step
    passed = passed or f"checkpoint {step} is damaged ({reason})"
  raise UserError(f"--workdir: {directory}: {passed}, and there is no other")


def _digest(path: Path) -> str:
  with path.open("rb") as file:
    return hashlib.file_digest(
      file, lambda: hashlib.blake2b(digest_size=16)
    ).hexdigest()
