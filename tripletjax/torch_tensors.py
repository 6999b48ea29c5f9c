"""Tensors as PyTorch's files describe them, by a pickle that isn't run.

What such a description may name and call, and the array that a tensor is once
its storage has been read.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from tripletjax.safetensors_files import from_bfloat16
from tripletjax.torch_program import Global, MalformedError

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


class Storage(NamedTuple):
  """A storage: its key in the zip, its kind, and its number of elements."""

  key: str
  kind: str
  length: int


class Tensor(NamedTuple):
  """A view of a storage, as `_rebuild_tensor_v2` has it."""

  storage: Storage
  offset: int
  size: tuple[int, ...]
  stride: tuple[int, ...]


def tensors_of(found: Any) -> dict[str, Tensor]:
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
    if not isinstance(name, str) or not isinstance(value, Tensor):
      kind = type(value).__name__.strip("_").lower()
      raise MalformedError(
        f"{str(name)[:80]!r}: expected tensors only, a state_dict, got {kind}"
      )
  return found


def storage_of(entry: Any) -> Storage:
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
  return Storage(entry[2], entry[1].name, entry[4])


def _rebuild_tensor(*arguments: Any) -> Tensor:
  """As `torch._utils._rebuild_tensor_v2`: storage, offset, size, stride, ..."""
  if len(arguments) < 4 or not isinstance(arguments[0], Storage):
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
  return Tensor(storage, offset, size, stride)


def _rebuild_parameter(*arguments: Any) -> Tensor:
  """As `torch._utils._rebuild_parameter`: a tensor that can be learned."""
  if not arguments or not isinstance(arguments[0], Tensor):
    raise MalformedError("data.pkl: expected a parameter's tensor")
  return arguments[0]


def _ordered_dict(*arguments: Any) -> dict[Any, Any]:
  """As `collections.OrderedDict`, which pickles begin with an empty one."""
  if arguments:
    raise MalformedError(
      "data.pkl: expected an empty OrderedDict to begin with"
    )
  return {}


CALLS = {
  "collections.OrderedDict": _ordered_dict,
  "torch._utils._rebuild_tensor_v2": _rebuild_tensor,
  "torch._utils._rebuild_parameter": _rebuild_parameter,
}
# All that a file may name.
NAMES = {*CALLS, *(f"torch.{name}" for name in STORAGES)}


def array_of(
  name: str, tensor: Tensor, held: Callable[[str], np.ndarray]
) -> np.ndarray:
  """A tensor as a view of its storage, read-only.

  Args:
    name: of the tensor, for messages.
    tensor: which part of its storage it is.
    held: the bytes of a storage by its key, uint8.

  Raises:
    MalformedError: it isn't inside of its storage.
  """
  storage = tensor.storage
  dtype = np.dtype(STORAGES[storage.kind])
  data = held(storage.key)
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
