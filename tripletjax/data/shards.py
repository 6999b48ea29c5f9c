"""Parts of a listing, each decoded, checked and written as one shard.

A part is whole on the disk or not there: the shard is written under another
name and renamed, and its sidecar, a JSON file, comes last.
"""

from __future__ import annotations

import collections
import concurrent.futures
import contextlib
import errno
import io
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import tensorflow_datasets as tfds
from array_record.python.array_record_module import ArrayRecordWriter
from PIL import Image

from tripletjax.data.entries import Entry
from tripletjax.data.images import store_image
from tripletjax.errors import UserError

IMAGES = 1024  # of a part; more where there would be over PARTS parts
BYTES = 64 * 2**20
PARTS = 256  # every shard is an open file when a set is read


class Part(NamedTuple):
  """Consecutive entries of one split.

  Attributes:
    name: of its files, without ending.
    split: the split.
    start: the first entry.
    stop: behind the last entry.
  """

  name: str
  split: str
  start: int
  stop: int


class Stored(NamedTuple):
  """One image as it is kept: see `store_image`."""

  encoded: bytes
  channels: int
  digest: str
  size: tuple[int, int]
  kind: str


def parts(entries: Sequence[Entry]) -> list[Part]:
  """Divides entries, which are sorted by split, into parts."""
  images = max(IMAGES, -(-len(entries) // PARTS))
  limit = max(BYTES, sum(max(entry.size, 0) for entry in entries) // PARTS)
  found: list[Part] = []
  start = held = 0
  numbers: collections.Counter[str] = collections.Counter()
  for index, entry in enumerate([*entries, None]):
    if index > start and (
      entry is None
      or entry.split != entries[start].split
      or index - start == images
      or held + entry.size > limit
    ):
      split = entries[start].split
      name = f"{split}-{numbers[split]:05d}"
      found.append(Part(name, split, start, index))
      numbers[split] += 1
      start, held = index, 0
    held += max(entry.size, 0) if entry else 0
  return found


def features(channels: int) -> tfds.features.FeaturesDict:
  """What a record holds; images of any size with 1 or 3 channels."""
  return tfds.features.FeaturesDict(
    {
      "image": tfds.features.Image(shape=(None, None, channels)),
      "label": tfds.features.Text(),
      "group": tfds.features.Text(),
      "path": tfds.features.Text(),
    }
  )


def write_part(
  part: Part,
  entries: Sequence[Entry],
  folder: Path,
  *,
  size: tuple[int, int] | None,
  skip_unreadable: bool,
  pool: concurrent.futures.Executor,
  advance: Callable[[int], Any],
) -> Mapping[str, Any]:
  """Writes `<name>.array_record` and `<name>.json` into a folder.

  Args:
    part: which entries.
    entries: all of the listing.
    folder: where to.
    size: `(H, W)` to resize to, or None.
    skip_unreadable: leave out what can't be read, instead of ending.
    pool: threads that decode.
    advance: told about every image done.

  Returns:
    What the sidecar holds: `records`, `bytes` (of the records), `file_bytes`,
    `hashes` (of the pixels, one a record), `channels`, `formats` and `sizes`
    (value -> count), `skipped` (index in the listing, reason).

  Raises:
    UserError: an image can't be read, and isn't to be skipped.
    OSError: the shard can't be written.
  """
  serializer = tfds.core.example_serializer.ExampleSerializer(
    features(1).get_serialized_info()  # the same for 3 channels
  )
  hashes: list[str] = []
  skipped: list[tuple[int, str]] = []
  counts: dict[str, collections.Counter[str]] = {
    key: collections.Counter() for key in ("channels", "formats", "sizes")
  }
  written = 0

  def records() -> Iterator[bytes]:
    nonlocal written
    futures = collections.deque(
      pool.submit(_store, entry, size)
      for entry in entries[part.start : part.stop]
    )
    try:
      for index in range(part.start, part.stop):
        stored, entry = futures.popleft().result(), entries[index]
        advance(1)
        if isinstance(stored, str):
          if not skip_unreadable:
            raise UserError(
              f"can't read the image {entry.file}: {stored}; mend or remove "
              "it, or leave out all such images by --skip_unreadable"
            )
          skipped.append((index, stored))
          continue
        example = serializer.get_tf_example(
          {
            "image": stored.encoded,
            "label": entry.label.encode(),
            "group": entry.group.encode(),
            "path": entry.path.encode(),
          }
        )
        # Else the order of the features changes from process to process.
        record = example.SerializeToString(deterministic=True)
        written += len(record)
        hashes.append(stored.digest)
        counts["channels"][str(stored.channels)] += 1
        counts["formats"][stored.kind] += 1
        counts["sizes"]["{}x{}".format(*stored.size)] += 1
        yield record
    finally:
      for future in futures:
        future.cancel()

  path = folder / f"{part.name}.array_record"
  _write_records(path, records())
  sidecar = {
    "records": len(hashes),
    "bytes": written,
    "file_bytes": path.stat().st_size,
    "hashes": hashes,
    **counts,
    "skipped": skipped,
  }
  write_whole(folder / f"{part.name}.json", json.dumps(sidecar).encode())
  return sidecar


def write_whole(path: Path, data: bytes) -> None:
  """Writes a file that is whole or not there."""
  temporary = path.with_name(path.name + ".tmp")
  with temporary.open("wb") as file:
    file.write(data)
    file.flush()
    os.fsync(file.fileno())
  temporary.replace(path)


def _write_records(path: Path, records: Iterator[bytes]) -> None:
  temporary = path.with_name(path.name + ".tmp")
  writer = _writing(ArrayRecordWriter, os.fspath(temporary), "group_size:1")
  try:
    for record in records:
      _writing(writer.write, record)
  except BaseException:
    # Closing flushes what nobody wants, and may fail for the same reason.
    with contextlib.suppress(RuntimeError):
      writer.close()
    temporary.unlink(missing_ok=True)
    raise
  _writing(writer.close)
  with temporary.open("rb") as file:
    os.fsync(file.fileno())
  temporary.replace(path)


def _writing(call: Callable[..., Any], *arguments: Any) -> Any:
  """Calls array_record, which says RuntimeError where the disk is full."""
  try:
    return call(*arguments)
  except RuntimeError as error:
    said = str(error).split(";")[0]
    full = os.strerror(errno.ENOSPC)
    if full in said:
      raise OSError(errno.ENOSPC, full) from error
    raise OSError(errno.EIO, said) from error


def _store(entry: Entry, size: tuple[int, int] | None) -> Stored | str:
  """The image as it is kept, or why it can't be read."""
  try:
    encoded = entry.read()
    kept, channels, digest = store_image(encoded, size=size)
    with Image.open(io.BytesIO(encoded)) as file:
      kind, shape = file.format or "unknown", (file.height, file.width)
    if kept is not encoded:
      with Image.open(io.BytesIO(kept)) as file:
        shape = file.height, file.width
  except Exception as error:
    # Decoders raise nearly anything for a damaged file.
    if isinstance(error, OSError) and error.strerror:
      return error.strerror
    said = " ".join(str(error).split())
    # Pillow's own message ends in the address of a buffer.
    return said.partition(" <_io.BytesIO")[0] or type(error).__name__
  return Stored(kept, channels, digest.hex(), shape, kind)
