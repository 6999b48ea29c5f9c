"""Weights in safetensors files: a JSON header, and the numbers after it.

https://huggingface.co/docs/safetensors. Nothing in such a file can be run;
what it says about itself is checked before any of it is believed.
"""

from __future__ import annotations

import json
import math
import os
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np

from tripletjax.errors import UserError

HEADER = 100_000_000  # bytes at most, as the format has it
DIMENSIONS = 32  # of an array, at most; NumPy has 64
# The format's dtypes -> NumPy's; BF16, which NumPy lacks, becomes float32.
DTYPES = {
  "BOOL": "?",
  "U8": "u1",
  "I8": "i1",
  "U16": "<u2",
  "I16": "<i2",
  "U32": "<u4",
  "I32": "<i4",
  "U64": "<u8",
  "I64": "<i8",
  "F16": "<f2",
  "BF16": "<u2",
  "F32": "<f4",
  "F64": "<f8",
}
_NAMES = {np.dtype(of): name for name, of in DTYPES.items() if name != "BF16"}


def read_safetensors(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
  """All arrays of a safetensors file, by name; read-only.

  Args:
    path: the file.

  Raises:
    UserError: it can't be read, or its header and its length disagree.
  """
  path = Path(path)
  try:
    data = path.read_bytes()
  except OSError as error:
    raise UserError(f"{path}: can't be read: {error.strerror}") from error
  if len(data) < 8:
    raise UserError(f"{path}: expected a safetensors file, got {len(data)} B")
  (length,) = struct.unpack_from("<Q", data)
  if length > min(HEADER, len(data) - 8):
    raise UserError(
      f"{path}: expected a header of at most {min(HEADER, len(data) - 8):,} "
      f"bytes, got {length:,}; the file is cut short or no safetensors"
    )
  header = _header(path, data[8 : 8 + length])
  body = memoryview(data)[8 + length :]
  arrays, covered = {}, []
  for name, entry in header.items():
    start, stop, dtype, shape = _entry(path, name, entry, len(body))
    found = np.frombuffer(body[start:stop], DTYPES[dtype])
    if dtype == "BF16":
      found = from_bfloat16(found)
    arrays[name] = found.reshape(shape)
    covered.append((start, stop))
  end = 0
  for start, stop in sorted(covered):
    if start != end:
      raise UserError(
        f"{path}: expected arrays one after the other, got one that begins at "
        f"{start:,} where {end:,} was expected"
      )
    end = stop
  if end != len(body):
    raise UserError(
      f"{path}: expected {end:,} bytes after the header, got {len(body):,}"
    )
  return arrays


def write_safetensors(arrays: Mapping[str, np.ndarray]) -> bytes:
  """The bytes of a safetensors file with these arrays, by name.

  Args:
    arrays: of dtypes that NumPy and the format both have.

  Raises:
    ValueError: an array has another dtype.
  """
  header, parts, end = {}, [], 0
  # The wider first, so that each begins at a multiple of its own width.
  for name in sorted(arrays, key=lambda name: (-arrays[name].itemsize, name)):
    array = arrays[name]
    if array.dtype.kind == "V" or array.dtype not in _NAMES:
      raise ValueError(
        f"expected {name} of {', '.join(map(str, _NAMES))}, got {array.dtype}"
      )
    parts.append(np.ascontiguousarray(array).tobytes())
    header[name] = {
      "dtype": _NAMES[array.dtype],
      "shape": list(array.shape),
      "data_offsets": [end, end + len(parts[-1])],
    }
    end += len(parts[-1])
  text = json.dumps(header, separators=(",", ":")).encode()
  text += b" " * (-len(text) % 8)
  return struct.pack("<Q", len(text)) + text + b"".join(parts)


def from_bfloat16(bits: np.ndarray) -> np.ndarray:
  """Bits of bfloat16, uint16, as float32: its upper half, so exactly.

  >>> from_bfloat16(np.array([0x3FC0], np.uint16)).tolist()
  [1.5]
  """
  return (bits.astype(np.uint32) << 16).view(np.float32)


def _header(path: Path, text: bytes) -> dict[str, Any]:
  def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
      raise ValueError("a name is there twice")
    return found

  try:
    header = json.loads(text.decode(), object_pairs_hook=once)
  except (ValueError, RecursionError) as error:
    said = str(error).splitlines()[0][:80]
    raise UserError(f"{path}: its header is no JSON: {said}") from error
  if not isinstance(header, dict):
    raise UserError(
      f"{path}: expected a header of names, got {type(header).__name__}"
    )
  header.pop("__metadata__", None)
  return header


def _entry(
  path: Path, name: str, entry: Any, size: int
) -> tuple[int, int, str, tuple[int, ...]]:
  """Start, stop, dtype and shape of an array, checked."""
  where = f"{path}: {name[:80]!r}:"
  if not isinstance(entry, dict):
    raise UserError(f"{where} expected dtype, shape and data_offsets")
  dtype, shape, offsets = (
    entry.get(key) for key in ("dtype", "shape", "data_offsets")
  )
  if not isinstance(dtype, str) or dtype not in DTYPES:
    raise UserError(
      f"{where} expected a dtype of {', '.join(DTYPES)}, got "
      f"{str(dtype)[:20] if isinstance(dtype, str) else type(dtype).__name__}"
    )
  if not _counts(shape) or len(shape) > DIMENSIONS:
    raise UserError(
      f"{where} expected a shape of at most {DIMENSIONS} sizes from 0"
    )
  if not _counts(offsets) or len(offsets) != 2:
    raise UserError(f"{where} expected data_offsets of two numbers from 0")
  start, stop = offsets
  if not start <= stop <= size:
    raise UserError(
      f"{where} expected data_offsets up to {size:,}, got {start:,} to "
      f"{stop:,}; the file is cut short"
    )
  wanted = math.prod(shape) * np.dtype(DTYPES[dtype]).itemsize
  if stop - start != wanted:
    raise UserError(
      f"{where} expected {wanted:,} bytes of {dtype} {tuple(shape)}, got "
      f"{stop - start:,}"
    )
  return start, stop, dtype, tuple(shape)


def _counts(value: Any) -> TypeGuard[list[int]]:
  """Whether it is a list of integers from 0 that an array could have."""
  return isinstance(value, list) and all(
    type(size) is int and 0 <= size < 2**62 for size in value
  )
