"""Encoded examples of a prepared set by random access, whatever their format.

None needs TensorFlow. TFDS reads array_record; it can't read TFRECORD at
random, and of a part of a parquet split it reads the whole. Only the features
that are asked for are parsed.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow
import tensorflow_datasets as tfds
from pyarrow import parquet

from tripletjax.data.framing import frame_fn
from tripletjax.data.images import DECODE_ERRORS, decode_image
from tripletjax.data.tfrecord import TFRecords
from tripletjax.errors import UserError

_CHUNK = 1024  # records per read: one call costs as much as 20 records


def open_records(builder: tfds.core.DatasetBuilder, split: str) -> Any:
  """The serialized examples of a split, by `[]`, `__getitems__` and `len`."""
  info = builder.info.splits[split]
  records: Any
  if builder.info.file_format == tfds.core.FileFormat.TFRECORD:
    records = TFRecords(info.file_instructions)
  elif builder.info.file_format == tfds.core.FileFormat.PARQUET:
    records = _ParquetRecords(info.file_instructions)
  else:
    records = builder.as_data_source(
      split=split,
      deserialize_method=tfds.decode.DeserializeMethod.RAW_BYTES,
    )
  if len(records) != info.num_examples:
    raise UserError(
      f"--data_dir: {builder.data_dir} holds {len(records):,} records of "
      f"{split}, expected {info.num_examples:,}; prepare it again"
    )
  return records


class _ParquetRecords:
  """The records of parquet shards; they are held in memory, encoded."""

  def __init__(self, instructions: Sequence[Any]):
    # TFDS's instructions: what to take of each shard. Records are in the first
    # column (TFDS, core/file_adapters.py).
    self._column = pyarrow.chunked_array(
      [
        chunk
        for entry in instructions
        for chunk in parquet.read_table(entry.filename)
        .column(0)
        .slice(entry.skip, None if entry.take == -1 else entry.take)
        .chunks
      ],
      type=pyarrow.binary(),
    )

  def __len__(self) -> int:
    return len(self._column)

  def __getitem__(self, index: int) -> bytes:
    return self._column[index].as_py()

  def __getitems__(self, indices: Sequence[int]) -> list[bytes]:
    return [self[index] for index in indices]


@dataclasses.dataclass(frozen=True, eq=False)
class Images:
  """Images of a split, decoded at every access.

  Attributes:
    raw: serialized examples.
    key: the feature that is the image.
    feature: that feature.
    name: of the set, for messages.
    channels: 1 or 3.
    size: `(H, W)` to resize to; None leaves the size.
    invert: whether white becomes black and black white.
    frame: a name from `FRAMES`.
    shape: `(H, W, C)` that all must have; None before it is known.
  """

  raw: Any
  key: str
  feature: tfds.features.FeatureConnector
  name: str
  channels: int
  size: tuple[int, int] | None = None
  invert: bool = False
  frame: str = ""
  shape: tuple[int, ...] | None = None

  def __post_init__(self):
    features = tfds.features.FeaturesDict({self.key: self.feature})
    object.__setattr__(self, "_features", features)

  def __getitem__(self, index: int) -> np.ndarray:
    return self._decode(int(index), self.raw[int(index)])

  def __getitems__(self, indices: np.ndarray) -> Iterator[np.ndarray]:
    ids = [int(index) for index in indices]
    for index, record in zip(ids, self.raw.__getitems__(ids), strict=True):
      yield self._decode(index, record)

  def _decode(self, index: int, record: bytes) -> np.ndarray:
    try:
      encoded = self._features.deserialize_example_np(  # type: ignore[attr-defined]
        record, decoders={self.key: tfds.decode.SkipDecoding()}
      )[self.key]
    except Exception as error:
      # Whatever the parser raises of a damaged record.
      raise UserError(
        f"--data_dir: record {index} of {self.name} is damaged; prepare the "
        "data set again"
      ) from error
    try:
      image = decode_image(
        encoded,
        channels=self.channels,
        size=self.size,
        frame=frame_fn(self.frame, invert=self.invert),
      )
    except DECODE_ERRORS as error:
      raise UserError(
        f"data.name: image {index} of {self.name} can't be decoded: {error}"
      ) from error
    if self.shape and image.shape != self.shape:
      sizes = [f"{x[0]}x{x[1]}" for x in (self.shape, image.shape)]
      raise UserError(
        f"data.image_size: the images of {self.name} differ in size, such as "
        f"{' and '.join(sizes)}; choose one for all, such as {sizes[0]}"
      )
    return 255 - image if self.invert else image


@dataclasses.dataclass(frozen=True, eq=False)
class Texts(Sequence[str]):
  """A text feature of some records, read at every access.

  Attributes:
    raw: serialized examples.
    key: the feature.
    feature: that feature.
    ids: which records, `[N]`.
  """

  raw: Any
  key: str
  feature: tfds.features.FeatureConnector
  ids: np.ndarray

  def __len__(self) -> int:
    return len(self.ids)

  def __getitem__(self, index: Any) -> Any:
    ids = self.ids[index]
    values = read_values(self.raw, self.key, self.feature, np.atleast_1d(ids))
    texts = [str(value) for value in values]
    return texts if np.ndim(ids) else texts[0]

  def __iter__(self) -> Iterator[str]:
    return iter(self[:])


def read_values(
  raw: Any,
  key: str,
  feature: tfds.features.FeatureConnector,
  ids: np.ndarray | None = None,
) -> np.ndarray:
  """A feature of all records, or of the records `ids`, `[N]`."""
  # Only this feature is parsed: a third of the time of the whole example.
  parser = tfds.features.FeaturesDict({key: feature})
  ids = np.arange(len(raw)) if ids is None else ids
  values: list[Any] = []
  for start in range(0, len(ids), _CHUNK):
    for record in raw.__getitems__(ids[start : start + _CHUNK].tolist()):
      value = parser.deserialize_example_np(record)[key]
      values.append(value.decode() if isinstance(value, bytes) else value)
  return np.asarray(values)
