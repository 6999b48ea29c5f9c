"""TFRECORD shards by random access, without TensorFlow.

A record is its length (8 bytes, little endian), a checksum of that (4), the
data, a checksum of these (4). One pass over the lengths makes the index. The
checksums aren't looked at: a file that was cut short shows in its lengths, a
damaged image when it is decoded.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tripletjax.errors import UserError

_LENGTH = struct.Struct("<Q")
_BEFORE, _AFTER = 12, 4


class TFRecords:
  """The records of some shards, one after the other."""

  def __init__(self, instructions: Sequence[Any]):
    """Indexes the shards.

    Args:
      instructions: TFDS's file instructions of a split: `filename`, `skip`,
        `take` and `examples_in_shard` of each shard.

    Raises:
      UserError: a shard is missing, cut short, or holds another number of
        records than TFDS noted.
    """
    self._maps: list[Any] = []
    shards, offsets = [], []
    for number, entry in enumerate(instructions):
      data, starts = _index(Path(entry.filename), entry.examples_in_shard)
      take = None if entry.take == -1 else entry.skip + entry.take
      starts = starts[entry.skip : take]
      self._maps.append(data)
      shards.append(np.full(len(starts), number, np.int32))
      offsets.append(starts)
    self._shards = np.concatenate(shards)
    self._offsets = np.concatenate(offsets)

  def __len__(self) -> int:
    return len(self._offsets)

  def __getitem__(self, index: int) -> bytes:
    """The record's data."""
    data = self._maps[self._shards[index]]
    start = int(self._offsets[index])
    (length,) = _LENGTH.unpack_from(data, start)
    return data[start + _BEFORE : start + _BEFORE + length]

  def __getitems__(self, indices: Iterable[int]) -> list[bytes]:
    """Several records' data."""
    return [self[index] for index in indices]


def _index(path: Path, expected: int) -> tuple[Any, np.ndarray]:
  """The mapped file, and where each record starts."""
  try:
    with path.open("rb") as file:
      data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
  except (OSError, ValueError) as error:
    raise UserError(f"--data_dir: can't read {path}: {error}") from error
  starts: list[int] = []
  start, size = 0, len(data)
  while start < size:
    end = start + _BEFORE
    if end <= size:
      end += _LENGTH.unpack_from(data, start)[0] + _AFTER
    if end > size:
      raise UserError(
        f"--data_dir: {path} is cut short at record {len(starts)}; prepare "
        "the data set again"
      )
    starts.append(start)
    start = end
  if len(starts) != expected:
    raise UserError(
      f"--data_dir: {path} holds {len(starts)} records, expected {expected}; "
      "prepare the data set again"
    )
  return data, np.asarray(starts, np.int64)
