"""Data sets as sources: images by random access, labels as integers.

TFDS's own decoding of PNG goes wrong for 1-bit and palette images, so
that images are decoded here, by Pillow.
"""

from __future__ import annotations

import dataclasses
import io
import os
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image

from tripletjax.data.preparation import prepare
from tripletjax.errors import UserError

_CHUNK = 1024  # records per read: one call costs as much as 20 records


class IdentityCounts(NamedTuple):
  """How the images of a split are divided among identities.

  Attributes:
    images: number of images.
    identities: number of identities.
    lone: identities with a single image, which can't be an anchor.
    smallest: the fewest images of an identity.
    median: the median number of images of an identity.
    largest: the most images of an identity.
  """

  images: int
  identities: int
  lone: int
  smallest: int
  median: float
  largest: int


@dataclasses.dataclass(frozen=True, eq=False)
class Source:
  """Images by random access, and their labels.

  Attributes:
    images: anything that gives a uint8 `[H, W, C]` array for an index.
    labels: int32 `[N]`, an index into `label_names`.
    label_names: the identities, sorted.
    image_shape: `(H, W, C)`.
  """

  images: Any
  labels: np.ndarray
  label_names: tuple[str, ...]
  image_shape: tuple[int, int, int]

  def __len__(self) -> int:
    return len(self.labels)

  def __getitem__(self, index: int) -> np.ndarray:
    return self.images[index]


@dataclasses.dataclass(frozen=True, eq=False)
class _Records:
  """Encoded images of a split, decoded one by one."""

  raw: Sequence[bytes]
  key: str
  features: tfds.features.FeaturesDict
  mode: str

  def __getitem__(self, index: int) -> np.ndarray:
    encoded = self.features.deserialize_example_np(
      self.raw[int(index)], decoders={self.key: tfds.decode.SkipDecoding()}
    )[self.key]
    with Image.open(io.BytesIO(encoded)) as image:
      pixels = np.asarray(image.convert(self.mode))
    return pixels[..., None] if pixels.ndim == 2 else pixels


def open_source(
  name: str,
  *,
  data_dir: str | os.PathLike[str],
  split: str,
  image_key: str = "image",
  label_key: str = "label",
  split_field: str = "data.train_split",
) -> Source:
  """Opens one split of a data set; prepares the data set before, if needed.

  Args:
    name: a name from `BUILDERS`, or `name/config`.
    data_dir: folder of the prepared data sets.
    split: a TFDS split expression, such as `latin+greek[:50%]`.
    image_key: the feature that is the image.
    label_key: the feature that is the identity; integers or text.
    split_field: what a message about `split` calls it.

  Returns:
    A source that decodes at every access.

  Raises:
    UserError: a name, split or key doesn't exist, or the data is damaged.
  """
  builder = prepare(name, data_dir=data_dir)
  _check_split(builder, split, split_field)
  features = builder.info.features
  for field, key in (
    ("data.image_key", image_key),
    ("data.label_key", label_key),
  ):
    if key not in features:
      raise UserError(
        f"{field}: {name} has no feature {key!r}; choose one of "
        f"{', '.join(sorted(features))}"
      )
  if not isinstance(features[image_key], tfds.features.Image):
    raise UserError(f"data.image_key: feature {image_key!r} is not an image")
  raw = builder.as_data_source(
    split=split,
    deserialize_method=tfds.decode.DeserializeMethod.RAW_BYTES,
  )
  mode = "L" if features[image_key].shape[-1] == 1 else "RGB"
  image_features = tfds.features.FeaturesDict({image_key: features[image_key]})
  records = _Records(raw, image_key, image_features, mode)
  try:
    values = _read_values(raw, label_key, features[label_key])
    height, width, channels = records[0].shape
  except (KeyError, OSError, RuntimeError, ValueError) as error:
    raise UserError(
      f"--data_dir: {builder.data_dir} is damaged; delete that folder and it "
      "is prepared again"
    ) from error
  names, labels = np.unique(values, return_inverse=True)
  return Source(
    images=records,
    labels=labels.astype(np.int32),
    label_names=tuple(str(value) for value in names),
    image_shape=(height, width, channels),
  )


def identity_counts(labels: np.ndarray) -> IdentityCounts:
  """Counts images and identities.

  >>> identity_counts(np.array([4, 4, 4, 7, 9, 9]))[:3]
  (6, 3, 1)
  """
  counts = np.unique(labels, return_counts=True)[1]
  if not len(counts):
    return IdentityCounts(0, 0, 0, 0, 0.0, 0)
  return IdentityCounts(
    images=len(labels),
    identities=len(counts),
    lone=int((counts == 1).sum()),
    smallest=int(np.min(counts)),
    median=float(np.median(counts)),
    largest=int(np.max(counts)),
  )


def _check_split(
  builder: tfds.core.DatasetBuilder, split: str, field: str
) -> None:
  known = ", ".join(builder.info.splits)
  try:
    count = builder.info.splits[split].num_examples
  except (KeyError, ValueError) as error:
    raise UserError(
      f"{field}: no split {split!r}; choose from {known}, joined by +"
    ) from error
  if not count:
    raise UserError(f"{field}: {split!r} is empty; choose from {known}")


def _read_values(
  raw: Any, key: str, feature: tfds.features.FeatureConnector
) -> np.ndarray:
  # Only this feature is parsed: a third of the time of the whole example.
  parser = tfds.features.FeaturesDict({key: feature})
  values = []
  for start in range(0, len(raw), _CHUNK):
    indices = range(start, min(start + _CHUNK, len(raw)))
    for record in raw.__getitems__(indices):
      value = parser.deserialize_example_np(record)[key]
      values.append(value.decode() if isinstance(value, bytes) else value)
  return np.asarray(values)
