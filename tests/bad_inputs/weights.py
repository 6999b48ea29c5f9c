"""Weights in PyTorch's and safetensors' formats, written by hand."""

import io
import json
import os
import pickle
import struct
import zipfile
from collections import OrderedDict

import numpy as np

KINDS = {"<f4": "FloatStorage", "<f8": "DoubleStorage", "<i8": "LongStorage"}


class Named:
  """Pickled as a name, such as torch.FloatStorage."""

  def __init__(self, module, name):
    self.module, self.name = module, name


class Tensor:
  """A tensor as PyTorch describes it."""

  def __init__(self, key, array, *, offset=0, size=None, stride=None):
    self.key, self.kind = key, KINDS[array.dtype.str]
    self.count, self.offset = array.size, offset
    self.size = array.shape if size is None else size
    steps = tuple(step // array.itemsize for step in array.strides)
    self.stride = steps if stride is None else stride


class Evil:
  """What a pickle can do: call anything."""

  def __reduce__(self):
    return os.system, ("touch PWNED",)


class Pickler(pickle._Pickler):
  """Python's own in Python, which can write names of what isn't there."""

  def persistent_id(self, value):
    if isinstance(value, tuple) and value and value[0] == "storage":
      return value
    return None

  def save(self, value, save_persistent_id=True):
    if isinstance(value, Named):
      self.write(f"c{value.module}\n{value.name}\n".encode())
      return
    if isinstance(value, Tensor):
      storage = Named("torch", value.kind)
      self.save(Named("torch._utils", "_rebuild_tensor_v2"))
      self.save(
        (
          ("storage", storage, value.key, "cpu", value.count),
          value.offset,
          value.size,
          value.stride,
          False,
          OrderedDict(),
        )
      )
      self.write(pickle.REDUCE)
      return
    super().save(value, save_persistent_id)


def program(value):
  """The pickle of something with tensors in it."""
  buffer = io.BytesIO()
  Pickler(buffer, 2).dump(value)
  return buffer.getvalue()


def torch_zip(path, described, storages, *, compression=zipfile.ZIP_STORED):
  """A `.pth`: the description, a pickle, and the bytes of each storage."""
  with zipfile.ZipFile(path, "w", compression) as archive:
    archive.writestr("archive/data.pkl", described)
    archive.writestr("archive/byteorder", "little")
    for key, data in storages.items():
      archive.writestr(f"archive/data/{key}", data)


def torch_legacy(
  described, storages, *, version=1001, little=True, keys=None, count=None
):
  """A `.pth` of before PyTorch 1.6: pickles, and the storages after them."""
  system = {
    "protocol_version": version,
    "little_endian": little,
    "type_sizes": {"short": 2, "int": 4, "long": 4},
  }
  keys = sorted(storages) if keys is None else keys
  parts = [
    *(pickle.dumps(x, 2) for x in (0x1950A86A20F9469CFC6C, version, system)),
    described,
    pickle.dumps(keys, 2),
  ]
  for data in storages.values():
    length = len(data) // 4 if count is None else count
    parts += [struct.pack("<q", length), data]
  return b"".join(parts)


def safetensors(header, data=b""):
  """A safetensors file's bytes."""
  text = header if isinstance(header, bytes) else json.dumps(header).encode()
  return struct.pack("<Q", len(text)) + text + data


def build(world):
  """One file for each thing that can be wrong."""
  folder = world / "weights"
  folder.mkdir()
  array = np.arange(6, dtype="<f4").reshape(2, 3)
  held = {"0": array.tobytes()}
  good = Tensor("0", array)
  for name, value, storages in (
    ("good", OrderedDict(w=good), held),
    ("evil", OrderedDict(w=Evil()), held),
    ("list", [good], held),
    ("text", OrderedDict(w="hello"), held),
    ("outside", OrderedDict(w=Tensor("0", array, offset=9)), held),
    ("endless", {"w": Tensor("0", array, size=(2**40,), stride=(0,))}, held),
    ("negative", {"w": Tensor("0", array, size=(-1, 3))}, held),
    ("no_storage", OrderedDict(w=good), {}),
    ("short_storage", OrderedDict(w=good), {"0": b"1234"}),
    ("numbers", {3: good}, held),
  ):
    torch_zip(folder / f"{name}.pth", program(value), storages)
  torch_zip(
    folder / "packed.pth", program({"w": good}), held,
    compression=zipfile.ZIP_DEFLATED,
  )  # fmt: skip
  whole = program({"w": good})
  for name, text in {
    "cut": whole[: len(whole) // 2],
    "empty": b"",
    "memo": b"\x80\x02r\xff\xff\xff\x7f.",
    "deep": b"\x80\x02)" + b"\x85" * 200_000 + b".",
    "length": b"\x80\x02X\xff\xff\xff\x7fa.",
    "tuple_key": b"\x80\x02})K\x01s.",
    "eval": b"\x80\x02cbuiltins\neval\nX\x01\x00\x00\x001\x85R.",
    "stack": b"\x80\x02R.",
  }.items():
    torch_zip(folder / f"{name}.pth", text, held)
  with zipfile.ZipFile(folder / "other_zip.pth", "w") as archive:
    archive.writestr("a/b.txt", "hello")
  renamed = bytearray((folder / "good.pth").read_bytes())
  renamed[6:8], renamed[30] = b"\x00\x08", 0xFF  # "UTF-8", which it isn't
  (folder / "renamed.pth").write_bytes(renamed)
  (folder / "legacy.pth").write_bytes(pickle.dumps(Evil(), 2))
  old = torch_legacy(whole, held)
  for name, content in {
    "evil": torch_legacy(program({"w": Evil()}), held),
    "system_evil": old[: old.index(b"}q")] + pickle.dumps(Evil(), 2)[2:],
    "version": torch_legacy(whole, held, version=1002),
    "big": torch_legacy(whole, held, little=False),
    "keys": torch_legacy(whole, held, keys=["0", "0"]),
    "no_keys": torch_legacy(whole, {}),
    "count": torch_legacy(whole, held, count=2**62),
    "cut": old[:-4],
    "short": old[: len(old) // 2],
    "text": torch_legacy(program({"w": "hello"}), held),
  }.items():
    (folder / f"legacy_{name}.pth").write_bytes(content)
  (folder / "legacy_torch.tar").write_bytes(b"hello")
  entry = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
  data = bytes(8)
  for name, content in {
    "good": safetensors({"w": entry}, data),
    "void": b"",
    "length": struct.pack("<Q", 2**63) + b"{}",
    "json": safetensors(b"{'w': 1}"),
    "deep": safetensors(b"[" * 100_000),
    "list": safetensors([1]),
    "twice": safetensors(b'{"w": 1, "w": 2}'),
    "dtype": safetensors({"w": entry | {"dtype": "F4"}}, data),
    "shape": safetensors({"w": entry | {"shape": [-2]}}, data),
    "huge": safetensors({"w": entry | {"shape": [2**40, 2**40]}}, data),
    "offsets": safetensors({"w": entry | {"data_offsets": [0, 99]}}, data),
    "overlap": safetensors({"v": entry, "w": entry}, data),
    "hole": safetensors({"w": entry}, data + b"hidden"),
    "entry": safetensors({"w": 3}, data),
  }.items():
    (folder / f"{name}.safetensors").write_bytes(content)
