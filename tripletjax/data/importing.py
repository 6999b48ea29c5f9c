"""Images of one's own as a prepared TFDS set, atomic and resumable.

Everything is written into `.preparing-<name>` beside the finished sets, part by
part, and renamed to `<name>/1.0.0` when it is whole. What a killed preparation
leaves is taken up by the next one of the same images and options.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import errno
import fcntl
import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import tensorflow_datasets as tfds

from tripletjax.data.assembling import FINDINGS, VERSION, assemble
from tripletjax.data.catalog import CATALOG
from tripletjax.data.entries import Entry, Listing
from tripletjax.data.findings import find
from tripletjax.data.preparation import BUILDERS
from tripletjax.data.shards import (
  Part,
  parts,
  write_part,
  write_whole,
)
from tripletjax.errors import UserError

_LAYOUT = 1  # of what is written; another one makes leftovers useless


class Bar(Protocol):
  """A progress bar, such as tqdm's."""

  def update(self, count: int) -> Any:
    """Goes on by some images."""
    ...

  def close(self) -> Any:
    """Ends it."""
    ...


def valid_name(text: str) -> str:
  """A set's name made of a file's: letters, digits and _.

  >>> valid_name("My faces (2)"), valid_name("1st"), valid_name("digits")
  ('my_faces_2', 'set_1st', 'digits_images')
  """
  name = re.sub(r"[^a-z0-9]+", "_", text.lower()).strip("_") or "images"
  name = name if name[0].isalpha() else f"set_{name}"
  return f"{name}_images" if name in _taken() else name


def import_images(
  listing: Listing,
  *,
  name: str,
  data_dir: str | os.PathLike[str],
  size: tuple[int, int] | None = None,
  skip_unreadable: bool = False,
  say: Callable[[str], Any] = print,
  open_bar: Callable[[int, int], Bar] | None = None,
  draw: Callable[[Path], Any] | None = None,
) -> Path:
  """Writes a set that `tfds.builder_from_directory` opens.

  Args:
    listing: the images.
    name: of the set.
    data_dir: folder of the prepared sets.
    size: `(H, W)` to resize to; None leaves the sizes.
    skip_unreadable: leave out what can't be read, instead of ending there.
    say: called with a line, such as that an interrupted preparation goes on.
    open_bar: makes a progress bar of the number of images and of those done.
    draw: called with the path of the findings, before the set is finished.

  Returns:
    The folder of the set, `<data_dir>/<name>/1.0.0`, with `findings.json`.

  Raises:
    UserError: the name is taken, an image can't be read, or the folder can't
      be written.
  """
  _check_name(name)
  root = Path(data_dir).expanduser()
  print_of = fingerprint(listing.entries, size)
  staging = root / f".preparing-{name}"
  try:
    root.mkdir(parents=True, exist_ok=True)
    with _locked(root / f".{name}.lock", name, say):
      folder = root / name / VERSION
      if not _is_prepared(folder, print_of):
        _start(staging, print_of, say)
        sidecars = _write_parts(
          listing.entries, staging, size, skip_unreadable, say, open_bar
        )
        found = {
          "name": name,
          "fingerprint": print_of,
          **find(listing, sidecars),
        }
        _check_left(found)
        whole = assemble(staging, name, sidecars, found, draw)
        folder.parent.mkdir(exist_ok=True)
        whole.rename(folder)
        shutil.rmtree(staging)
      else:
        shutil.rmtree(staging, ignore_errors=True)  # if killed in its removal
        say(f"{folder} is already prepared of the same images and options")
  except OSError as error:
    free = error.errno in (errno.ENOSPC, errno.EDQUOT)
    hint = (
      "free some and run the same command: it goes on where it ended"
      if free
      else "choose a folder that can be written"
    )
    raise UserError(
      f"--data_dir: can't prepare {name} in {root}: "
      f"{error.strerror or error}; {hint}"
    ) from error
  return folder


def fingerprint(entries: Sequence[Entry], size: tuple[int, int] | None) -> str:
  """Changes with the images and the options, not with where the images lie."""
  digest = hashlib.blake2b(digest_size=16)
  digest.update(json.dumps([_LAYOUT, size]).encode())
  for entry in entries:
    digest.update(json.dumps(entry[:6]).encode())
  return digest.hexdigest()


def _check_name(name: str) -> None:
  if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
    raise UserError(
      "--name: expected small letters, digits and _ that begin with a letter, "
      f"such as {valid_name(name)}; got {name!r}"
    )
  if name in _taken():
    raise UserError(
      f"--name: {name} is the name of another set; choose one such as "
      f"{valid_name(name)}"
    )


def _taken() -> set[str]:
  """Names by which other sets are known, of other features."""
  known = tfds.list_builders(with_community_datasets=False)
  return {*BUILDERS, *CATALOG.keys() & set(known)}


def _is_prepared(folder: Path, print_of: str) -> bool:
  """Whether the set is there; UserError where another one is."""
  if not folder.parent.exists():
    return False
  if folder.parent.is_dir() and not any(folder.parent.iterdir()):
    return False
  try:
    found = json.loads((folder / FINDINGS).read_text())
    if found["fingerprint"] == print_of:
      return True
  except (OSError, ValueError, KeyError, TypeError):
    pass
  raise UserError(
    f"--name: {folder.parent} holds a set of other images or options; choose "
    "another --name, or remove that folder"
  )


def _start(staging: Path, print_of: str, say: Callable[[str], Any]) -> None:
  """A staging folder for these images and options."""
  mark = staging / "fingerprint"
  if staging.exists() and not (mark.is_file() and mark.read_text() == print_of):
    say(
      "the images or options are others than those of the interrupted "
      "preparation: starting anew"
    )
    shutil.rmtree(staging)
  staging.mkdir(exist_ok=True)
  write_whole(mark, print_of.encode())


def _write_parts(
  entries: Sequence[Entry],
  staging: Path,
  size: tuple[int, int] | None,
  skip_unreadable: bool,
  say: Callable[[str], Any],
  open_bar: Callable[[int, int], Bar] | None,
) -> list[tuple[Part, Mapping[str, Any]]]:
  """All parts with their sidecars; those that are there aren't written."""
  every = parts(entries)
  done = {
    part.name: sidecar
    for part in every
    if (sidecar := _finished(staging, part, skip_unreadable))
  }
  count = sum(part.stop - part.start for part in every if part.name in done)
  if done:
    say(
      f"going on: {count:,} of {len(entries):,} images were done before the "
      "interruption"
    )
  bar = open_bar(len(entries), count) if open_bar else None
  pool = concurrent.futures.ThreadPoolExecutor(os.cpu_count())
  try:
    for part in every:
      if part.name not in done:
        done[part.name] = write_part(
          part,
          entries,
          staging,
          size=size,
          skip_unreadable=skip_unreadable,
          pool=pool,
          advance=bar.update if bar else lambda count: None,
        )
  finally:
    pool.shutdown(cancel_futures=True)
    if bar:
      bar.close()
  return [(part, done[part.name]) for part in every]


def _finished(
  staging: Path, part: Part, skip_unreadable: bool
) -> Mapping[str, Any] | None:
  """The sidecar of a part that is whole."""
  try:
    sidecar = json.loads((staging / f"{part.name}.json").read_text())
    shard = staging / f"{part.name}.array_record"
    whole = shard.stat().st_size == sidecar["file_bytes"]
  except (OSError, ValueError, KeyError):
    return None
  # Where unreadable ones aren't to be skipped any more, they come up again.
  return (
    sidecar if whole and (skip_unreadable or not sidecar["skipped"]) else None
  )


def _check_left(found: Mapping[str, Any]) -> None:
  empty = [
    split for split, counts in found["splits"].items() if not counts["images"]
  ]
  if empty:
    raise UserError(f"no image of the split {empty[0]} can be read")
  if found["identities"] < 2:
    raise UserError(
      "expected two identities or more, got one: no image of the others can "
      "be read"
    )


@contextlib.contextmanager
def _locked(path: Path, name: str, say: Callable[[str], Any]) -> Iterator[None]:
  with path.open("w") as file:
    try:
      fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
      say(f"waiting for another preparation of {name}")
      fcntl.flock(file, fcntl.LOCK_EX)
    yield
