"""Data sets as sources: images by random access, labels as integers."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow_datasets as tfds

from tripletjax.data.catalog import settings
from tripletjax.data.images import read_size
from tripletjax.data.preparation import prepare
from tripletjax.data.records import Images, Texts, open_records, read_values
from tripletjax.errors import UserError


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
  """Images by random access, and whose they are.

  Attributes:
    images: anything that gives a uint8 `[H, W, C]` array for an index.
    labels: int32 `[N]`, an index into `label_names`.
    label_names: the identities, sorted.
    image_shape: `(H, W, C)`.
    groups: int32 `[N]`, an index into `group_names`; None where the set has
      none.
    group_names: coarser classes (an alphabet, a country), sorted.
    paths: where each image came from, `[N]`; empty where the set doesn't say.
  """

  images: Any
  labels: np.ndarray
  label_names: tuple[str, ...]
  image_shape: tuple[int, int, int]
  groups: np.ndarray | None = None
  group_names: tuple[str, ...] = ()
  paths: Sequence[str] = ()

  def __len__(self) -> int:
    return len(self.labels)

  def __getitem__(self, index: int) -> np.ndarray:
    return self.images[index]


def open_source(
  name: str,
  *,
  data_dir: str | os.PathLike[str],
  split: str,
  image_key: str = "",
  label_key: str = "",
  group_key: str = "",
  image_size: str = "",
  channels: int = 0,
  invert: bool = False,
  frame: str = "",
  name_field: str = "data.name",
  split_field: str = "data.train_split",
) -> Source:
  """Opens one split of a data set; draws one of `BUILDERS` before, if needed.

  Args:
    name: a name from `BUILDERS`, or of a set that is prepared in `data_dir`;
      `name/config` and `name:version` too.
    data_dir: folder of the prepared data sets.
    split: a TFDS split expression, such as `latin+greek[:50%]`.
    image_key: the feature that is the image.
    label_key: the feature that is the identity; integers or text.
    group_key: the feature that is a coarser class. A key that is "" is the one
      of `catalog.settings`.
    image_size: `64` or `128x64`, height first, to resize to; "" leaves it.
    channels: 1 grey, 3 colour, 0 as in the set.
    invert: whether white becomes black: what augmentations move in from outside
      is black, as the paper of a drawing should then be.
    frame: a name from `FRAMES`: where a drawing stands on its paper.
    name_field: what a message about `name` calls it.
    split_field: what a message about `split` calls it.

  Returns:
    A source that decodes at every access.

  Raises:
    UserError: a name, split, key or size can't be right, the set isn't
      prepared, or it is damaged.
  """
  builder = prepare(name, data_dir=data_dir, field=name_field)
  _check_split(builder, split, split_field)
  ready = settings(name)
  features = builder.info.features
  image_key = image_key or ready.image_key
  label_key = label_key or ready.label_key
  if not group_key and ready.group_key in features:
    group_key = ready.group_key
  _check_keys(name, features, image=image_key, label=label_key, group=group_key)
  if channels not in (0, 1, 3):
    raise UserError(f"data.channels: expected 0, 1 or 3, got {channels}")
  size = read_size(image_size, field="data.image_size")
  try:
    raw = open_records(builder, split)
    images = Images(
      raw,
      image_key,
      features[image_key],
      name,
      channels or (1 if features[image_key].shape[-1] == 1 else 3),
      size,
      invert,
      frame,
    )
    label_names, labels = _factorised(raw, label_key, features)
    group_names, groups = _factorised(raw, group_key, features)
    height, width, depth = images[0].shape
  except (UserError, MemoryError):
    raise
  except Exception as error:
    # Whatever the parsers of four formats raise of damaged files.
    raise UserError(
      f"--data_dir: {builder.data_dir} is damaged; delete that folder and "
      "prepare it again"
    ) from error
  shape = (height, width, depth)
  paths: Sequence[str] = ()
  if "path" in features and isinstance(features["path"], tfds.features.Text):
    paths = Texts(raw, "path", features["path"], np.arange(len(raw)))
  return Source(
    images=dataclasses.replace(images, shape=shape),
    labels=labels,
    label_names=label_names,
    image_shape=shape,
    groups=groups if group_key else None,
    group_names=group_names,
    paths=paths,
  )


def take(source: Source, ids: np.ndarray) -> Source:
  """Some images of a source, with the identities and groups that they have.

  Args:
    source: N images.
    ids: which ones, integer `[M]`.

  >>> labels = np.array([0, 1, 2], np.int32)
  >>> images = np.zeros((3, 8, 8, 1), np.uint8)
  >>> source = Source(images, labels, ("a", "b", "c"), (8, 8, 1))
  >>> part = take(source, np.array([2, 0]))
  >>> part.label_names, part.labels.tolist()
  (('a', 'c'), [1, 0])
  """
  label_names, labels = _renumbered(source.labels[ids], source.label_names)
  groups, group_names = source.groups, source.group_names
  if groups is not None:
    group_names, groups = _renumbered(groups[ids], group_names)
  paths = source.paths
  if isinstance(paths, Texts):
    paths = dataclasses.replace(paths, ids=paths.ids[ids])
  elif len(paths):
    paths = [paths[index] for index in ids]
  return Source(
    images=_Taken(source.images, ids),
    labels=labels,
    label_names=label_names,
    image_shape=source.image_shape,
    groups=groups,
    group_names=group_names,
    paths=paths,
  )


@dataclasses.dataclass(frozen=True, eq=False)
class _Taken:
  """The images `ids` of others."""

  images: Any
  ids: np.ndarray

  def __getitem__(self, index: int) -> np.ndarray:
    return self.images[self.ids[index]]

  def __getitems__(self, indices: np.ndarray) -> Iterable[np.ndarray]:
    return read_images(self.images, self.ids[indices])


def read_images(images: Any, ids: np.ndarray) -> Iterable[np.ndarray]:
  """The images `ids`, in one read if `images` has `__getitems__`."""
  if hasattr(images, "__getitems__"):
    return images.__getitems__(ids)
  return (images[index] for index in ids)


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
  if not known:
    raise UserError(
      f"--data_dir: {builder.data_dir} holds no split; prepare it again"
    )
  try:
    count = builder.info.splits[split].num_examples
  except (KeyError, ValueError) as error:
    raise UserError(
      f"{field}: no split {split!r}; choose from {known}, joined by +"
    ) from error
  if not count:
    raise UserError(f"{field}: {split!r} is empty; choose from {known}")


def _check_keys(
  name: str, features: tfds.features.FeaturesDict, **keys: str
) -> None:
  for field, key in keys.items():
    if key and key not in features:
      raise UserError(
        f"data.{field}_key: {name} has no feature {key!r}; choose one of "
        f"{', '.join(sorted(features))}"
      )
  for field, key in keys.items():
    is_image = key and isinstance(features[key], tfds.features.Image)
    if field == "image" and not is_image:
      raise UserError(f"data.image_key: feature {key!r} is not an image")
    if key and field != "image" and features[key].shape != ():
      raise UserError(
        f"data.{field}_key: feature {key!r} is neither a number nor a text"
      )


def _factorised(
  raw: Any, key: str, features: tfds.features.FeaturesDict
) -> tuple[tuple[str, ...], np.ndarray]:
  """The different values of a feature, sorted, and the index of each's."""
  if not key:
    return (), np.zeros(0, np.int32)
  values, index = np.unique(
    read_values(raw, key, features[key]), return_inverse=True
  )
  names = [str(value) for value in values]
  feature = features[key]
  if isinstance(feature, tfds.features.ClassLabel) and feature.names:
    names = [feature.names[int(value)] for value in values]
  return tuple(names), index.reshape(-1).astype(np.int32)


def _renumbered(
  index: np.ndarray, names: Sequence[str]
) -> tuple[tuple[str, ...], np.ndarray]:
  present, dense = np.unique(index, return_inverse=True)
  return (
    tuple(names[value] for value in present),
    dense.reshape(-1).astype(np.int32),
  )
