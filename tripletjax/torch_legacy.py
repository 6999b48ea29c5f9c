"""What `torch.save` wrote before PyTorch 1.6: pickles one after the other.

A number that says what it is, the format's version, the system's sizes, the
description of the tensors, and the keys of their storages; then each storage,
its length before it. As in a zip of today, nothing of the pickles is run.
"""

from __future__ import annotations

import io
import struct
from typing import Any

import numpy as np

from tripletjax.torch_program import MalformedError, follow
from tripletjax.torch_tensors import (
  CALLS,
  NAMES,
  STORAGES,
  Storage,
  array_of,
  storage_of,
  tensors_of,
)

# The first pickle, of 0x1950a86a20f9469cfc6c: how such a file begins.
MAGIC = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
_VERSION = 1001


def read_legacy(data: bytes) -> dict[str, np.ndarray]:
  """The tensors by name, read-only.

  Args:
    data: the file, which begins with `MAGIC`.

  Raises:
    MalformedError: it holds anything but tensors, or is damaged.
  """
  file = io.BytesIO(data)
  file.seek(len(MAGIC))
  if _plain(file) != _VERSION:
    raise MalformedError(f"expected version {_VERSION} of the format")
  system = _plain(file)
  if not isinstance(system, dict) or system.get("little_endian") is not True:
    raise MalformedError("expected numbers with the lowest byte first")
  kinds: dict[str, Storage] = {}

  def persistent(entry: Any) -> Storage:
    # A sixth part is for storages that share another one's memory.
    if isinstance(entry, tuple) and len(entry) == 6 and entry[5] is None:
      entry = entry[:5]
    storage = storage_of(entry)
    return kinds.setdefault(storage.key, storage)

  found = follow(file, names=NAMES, calls=CALLS, persistent=persistent)
  tensors = tensors_of(found)
  keys = _plain(file)
  if not isinstance(keys, list):
    raise MalformedError("expected the keys of the storages")
  held = {}
  for key in keys:
    if not isinstance(key, str) or key not in kinds or key in held:
      raise MalformedError(f"expected a storage's key, got {str(key)[:80]!r}")
    held[key] = _storage(data, file, kinds[key])

  def bytes_of(key: str) -> np.ndarray:
    if key not in held:
      raise MalformedError(f"expected a storage {key[:80]!r}: it is cut short")
    return held[key]

  return {
    name: array_of(name, tensor, bytes_of) for name, tensor in tensors.items()
  }


def _plain(file: io.BytesIO) -> Any:
  """The next pickle, which may hold numbers, texts and lists only."""

  def none(entry: Any) -> Any:
    raise MalformedError("expected numbers and texts, got a storage")

  return follow(file, names=(), calls={}, persistent=none)


def _storage(data: bytes, file: io.BytesIO, storage: Storage) -> np.ndarray:
  """The bytes of the next storage of the file."""
  length = file.read(8)
  count = struct.unpack("<q", length)[0] if len(length) == 8 else -1
  size = storage.length * np.dtype(STORAGES[storage.kind]).itemsize
  start = file.tell()
  if count != storage.length or start + size > len(data):
    raise MalformedError(
      f"expected {storage.length:,} elements of {storage.kind}, got "
      f"{count:,}; the file is cut short or damaged"
    )
  file.seek(start + size)
  return np.frombuffer(data, np.uint8, size, start)
