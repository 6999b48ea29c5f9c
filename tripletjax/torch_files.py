"""Weights of PyTorch's files without PyTorch, and without running anything.

A `.pth` of `torch.save` is a zip: `data.pkl` describes the tensors, and each
storage is a member of its own. A pickle is a program; Python's own reader of
pickles would import and call what it names. It isn't used here: the few
instructions that a description of tensors needs are followed one by one, and
anything else is refused by its name.
"""

from __future__ import annotations

import os
import zipfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tripletjax.errors import UserError, printable
from tripletjax.safetensors_files import from_bfloat16, read_safetensors
from tripletjax.torch_program import Global, MalformedError, follow

LARGEST = 64 * 2**30  # bytes of a file
_DESCRIPTION = 64 * 2**20  # bytes of data.pkl
_MEMBERS = 100_000
_DIMENSIONS = 32
# Storages -> NumPy's dtypes; BFloat16, which NumPy lacks, becomes float32.
STORAGES = {
  "DoubleStorage": "<f8",
  "FloatStorage": "<f4",
  "HalfStorage": "<f2",
  "BFloat16Storage": "<u2",
  "LongStorage": "<i8",
  "IntStorage": "<i4",
  "ShortStorage": "<i2",
  "CharStorage": "i1",
  "ByteStorage": "u1",
  "BoolStorage": "?",
}
# Where a checkpoint of more than weights keeps them.
WRAPPERS = ("state_dict", "model_state_dict", "model")


class _Storage(NamedTuple):
  """A storage: its key in the zip, its kind, and its number of elements."""

  key: str
  kind: str
  length: int


class _Tensor(NamedTuple):
  """A view of a storage, as `_rebuild_tensor_v2` has it."""

  storage: _Storage
  offset: int
  size: tuple[int, ...]
  stride: tuple[int, ...]


def read_state_dict(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
  """The tensors of a `.pth` or `.safetensors` file, by name; read-only.

  Of a `.pth` that holds more than weights, those under `state_dict`,
  `model_state_dict` or `model`. Which format it is, the file itself says.

  Args:
    path: the file.

  Raises:
    UserError: it can't be read, holds anything but tensors, or is damaged.
  """
  path = Path(path)
  try:
    with path.open("rb") as file:
      start = file.read(4)
      size = file.seek(0, os.SEEK_END)
  except OSError as error:
    raise UserError(f"{path}: can't be read: {error.strerror}") from error
  if size > LARGEST:
    raise UserError(f"{path}: expected at most {LARGEST:,} B, got {size:,}")
  if start == b"PK\3\4":
    return _read_zip(path, size)
  if start[:2] in (b"\x80\2", b"\x80\3", b"\x80\4"):
    raise UserError(
      f"{path}: a pickle, as torch.save wrote before PyTorch 1.6; expected a "
      "zip: load it there and save it again, or as .safetensors"
    )
  return read_safetensors(path)


def _read_zip(path: Path, size: int) -> dict[str, np.ndarray]:
  try:
    with zipfile.ZipFile(path) as archive:
      members = _members(archive, size)
      found = follow(
        members.read("data.pkl"),
        names=_NAMES,
        calls=_CALLS,
        persistent=_persistent,
      )
      state = _state(found)
      storages: dict[str, np.ndarray] = {}
      return {
        name: _array(name, tensor, members, storages)
        for name, tensor in state.items()
      }
  except MalformedError as error:
    raise UserError(f"{path}: {printable(str(error))}") from error
  except (UserError, MemoryError):
    raise
  except Exception as error:
    # zipfile raises nearly anything for a damaged file.
    said = printable(str(error)) or type(error).__name__
    raise UserError(f"{path}: can't be read: {said}") from error


class _Members:
  """Members of the zip by their name below its only folder."""

  def __init__(self, archive: zipfile.ZipFile, by_name: dict[str, Any]):
    self._archive, self._by_name = archive, by_name

  def read(self, name: str) -> bytes:
    if name not in self._by_name:
      raise MalformedError(
        f"expected a file of torch.save, got a zip without {name}"
      )
    try:
      return self._archive.read(self._by_name[name])
    except RuntimeError as error:  # such as an encrypted one
      raise MalformedError(f"{name}: {error}") from error


def _members(archive: zipfile.ZipFile, size: int) -> _Members:
  infos = archive.infolist()
  if len(infos) > _MEMBERS:
    raise MalformedError(
      f"expected at most {_MEMBERS:,} members, got {len(infos):,}"
    )
  by_name: dict[str, Any] = {}
  for info in infos:
    if info.compress_type != zipfile.ZIP_STORED or info.file_size > size:
      raise MalformedError(
        f"{info.filename}: expected it as it is, as torch.save writes it, got "
        "it compressed"
      )
    name = info.filename.partition("/")[2]
    if name in by_name:
      raise MalformedError(f"{info.filename}: is there twice")
    by_name[name] = info
  if by_name.get("data.pkl") and by_name["data.pkl"].file_size > _DESCRIPTION:
    raise MalformedError(f"data.pkl: expected at most {_DESCRIPTION:,} B")
  members = _Members(archive, by_name)
  if "byteorder" in by_name and members.read("byteorder") != b"little":
    raise MalformedError("byteorder: expected little")
  return members


def _state(found: Any) -> dict[str, _Tensor]:
  """The tensors by name; MalformedError where there is anything else."""
  if isinstance(found, dict):
    for wrapper in WRAPPERS:
      if isinstance(found.get(wrapper), dict):
        found = found[wrapper]
        break
  if not isinstance(found, dict):
    raise MalformedError(
      f"expected tensors by name, a state_dict, got {type(found).__name__}"
    )
  for name, value in found.items():
    if not isinstance(name, str) or not isinstance(value, _Tensor):
      kind = type(value).__name__.strip("_").lower()
      raise MalformedError(
        f"{str(name)[:80]!r}: expected tensors only, a state_dict, got {kind}"
      )
  return found


def _persistent(entry: Any) -> _Storage:
  """A storage by `("storage", its class, key, device, number of elements)`."""
  if (
    not isinstance(entry, tuple)
    or len(entry) != 5
    or entry[0] != "storage"
    or not isinstance(entry[1], Global)
    or entry[1].name not in STORAGES
    or not isinstance(entry[2], str)
    or not _is_count(entry[4])
  ):
    raise MalformedError("data.pkl: expected a storage's kind, key and length")
  return _Storage(entry[2], entry[1].name, entry[4])


def _rebuild_tensor(*arguments: Any) -> _Tensor:
  """As `torch._utils._rebuild_tensor_v2`: storage, offset, size, stride, ..."""
  if len(arguments) < 4 or not isinstance(arguments[0], _Storage):
    raise MalformedError(
      "data.pkl: expected a tensor's storage, offset and shape"
    )
  storage, offset, size, stride = arguments[:4]
  if (
    not _is_count(offset)
    or not all(isinstance(part, tuple) for part in (size, stride))
    or not all(_is_count(number) for number in (*size, *stride))
    or len(size) != len(stride)
    or len(size) > _DIMENSIONS
  ):
    raise MalformedError(
      "data.pkl: expected a tensor's offset, size and stride from 0, of at "
      f"most {_DIMENSIONS} dimensions"
    )
  return _Tensor(storage, offset, size, stride)


def _rebuild_parameter(*arguments: Any) -> _Tensor:
  """As `torch._utils._rebuild_parameter`: a tensor that can be learned."""
  if not arguments or not isinstance(arguments[0], _Tensor):
    raise MalformedError("data.pkl: expected a parameter's tensor")
  return arguments[0]


def _ordered_dict(*arguments: Any) -> dict[Any, Any]:
  """As `collections.OrderedDict`, which pickles begin with an empty one."""
  if arguments:
    raise MalformedError(
      "data.pkl: expected an empty OrderedDict to begin with"
    )
  return {}


_CALLS = {
  "collections.OrderedDict": _ordered_dict,
  "torch._utils._rebuild_tensor_v2": _rebuild_tensor,
  "torch._utils._rebuild_parameter": _rebuild_parameter,
}
# All that a file may name.
_NAMES = {*_CALLS, *(f"torch.{name}" for name in STORAGES)}


def _array(
  name: str,
  tensor: _Tensor,
  members: _Members,
  storages: dict[str, np.ndarray],
) -> np.ndarray:
  """A view of the tensor's storage, which is read once."""
  storage = tensor.storage
  dtype = np.dtype(STORAGES[storage.kind])
  if storage.key not in storages:
    held = members.read(f"data/{storage.key}")
    storages[storage.key] = np.frombuffer(held, np.uint8)
  data = storages[storage.key]
  if data.nbytes != storage.length * dtype.itemsize:
    raise MalformedError(
      f"{name!r}: expected {storage.length:,} elements of {storage.kind}, got "
      f"{data.nbytes:,} bytes"
    )
  last = tensor.offset + sum(
    (size - 1) * stride
    for size, stride in zip(tensor.size, tensor.stride, strict=True)
  )
  elements = int(np.prod([1, *tensor.size], dtype=object))
  if elements and (last >= storage.length or elements > storage.length):
    raise MalformedError(
      f"{name!r}: expected a tensor inside its storage of {storage.length:,} "
      f"elements, got {tensor.size} from {tensor.offset:,}"
    )
  flat = data.view(dtype)
  if storage.kind == "BFloat16Storage":
    flat = from_bfloat16(flat)
  return np.lib.stride_tricks.as_strided(
    flat[tensor.offset :] if elements else flat[:0],
    tensor.size,
    [stride * flat.itemsize for stride in tensor.stride],
    writeable=False,
  )


def _is_count(value: Any) -> bool:
  return type(value) is int and 0 <= value < 2**62
