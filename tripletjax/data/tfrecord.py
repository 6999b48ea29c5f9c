"""TFRECORD shards by random access, without TensorFlow.

A record is its length (8 bytes, little endian), a checksum of that (4), the
data, a checksum of these (4). One pass over the lengths makes the index, and
their checksums are checked: a wrong length would lead astray. Those of the data
aren't looked at: a damaged image shows when it is decoded.
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
_HEAD = struct.Struct("<QI")  # with its checksum
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
  heads: list[tuple[int, int]] = []
  start, size, end = 0, len(data), 0
  while start < size:
    end = start + _BEFORE
    if end <= size:
      heads.append(_HEAD.unpack_from(data, start))
      end += heads[-1][0] + _AFTER
    if end > size:
      break
    starts.append(start)
    start = end
  _check_lengths(path, heads)
  if end > size:
    raise UserError(
      f"--data_dir: {path} is cut short at record {len(starts)}; prepare the "
      "data set again"
    )
  if len(starts) != expected:
    raise UserError(
      f"--data_dir: {path} holds {len(starts)} records, expected {expected}; "
      "prepare the data set again"
    )
  return data, np.asarray(starts, np.int64)


def _check_lengths(path: Path, heads: Sequence[tuple[int, int]]) -> None:
  """UserError where the checksum of a record's length isn't right."""
  lengths, noted = np.array(heads, np.uint64).reshape(-1, 2).T
  wrong = np.flatnonzero(checksums(lengths) != noted)
  if len(wrong):
    raise UserError(
      f"--data_dir: {path} is damaged at record {wrong[0]}: its length's "
      "checksum is wrong; prepare the data set again"
    )


def checksums(lengths: np.ndarray) -> np.ndarray:
  """TFRecord's masked CRC-32C of lengths `[N]`, uint64, as uint32 `[N]`.

  Castagnoli's polynomial, reflected; the mask is TensorFlow's
  (lib/hash/crc32c.h).
  """
  table = np.arange(256, dtype=np.uint32)
  for _ in range(8):
    table = np.where(table & 1, (table >> 1) ^ 0x82F63B78, table >> 1)
  table = table.astype(np.uint32)
  crc = np.full(len(lengths), 0xFFFFFFFF, np.uint32)
  for byte in range(8):
    value = (lengths >> np.uint64(8 * byte)).astype(np.uint32)
    crc = table[(crc ^ value) & 0xFF] ^ (crc >> 8)
  crc ^= np.uint32(0xFFFFFFFF)
  return ((crc >> 15) | (crc << 17)) + np.uint32(0xA282EAD8)
