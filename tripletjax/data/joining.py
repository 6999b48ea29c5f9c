"""Two sets as one, to train on both."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from tripletjax.data.sources import Source, read_images
from tripletjax.errors import UserError


class Chained:
  """Images of several, some of each, under one index."""

  def __init__(self, parts: Sequence[tuple[Any, np.ndarray]]) -> None:
    """Takes of each part its images and which ones, integer `[n]`."""
    self._parts = [images for images, _ in parts]
    self._part = np.repeat(
      np.arange(len(parts)), [len(ids) for _, ids in parts]
    )
    self._id = np.concatenate([ids for _, ids in parts])

  def __getitem__(self, index: int) -> np.ndarray:
    return self._parts[self._part[index]][int(self._id[index])]

  def __getitems__(self, indices: np.ndarray) -> Iterable[np.ndarray]:
    part, ids = self._part[indices], self._id[indices]
    images = [
      iter(read_images(own, ids[part == number]))
      for number, own in enumerate(self._parts)
    ]
    return (next(images[number]) for number in part)


def join(source: Source, other: Source, *, name: str) -> Source:
  """The images of a set, followed by those of another one.

  Their identities are different ones, and so are their groups, whatever their
  names are.

  Args:
    source: N images.
    other: M images of the same shape. Without groups it is one.
    name: of the other set: stands before its identities and groups, `name:a`.

  Returns:
    N + M images; identities and groups of `source` keep their numbers.

  Raises:
    UserError: the images differ in shape.

  >>> images = np.zeros((1, 8, 8, 1), np.uint8)
  >>> label = np.zeros(1, np.int32)
  >>> one = Source(images, label, ("a",), (8, 8, 1))
  >>> both = join(one, one, name="more")
  >>> both.labels.tolist(), both.label_names
  ([0, 1], ('a', 'more:a'))
  """
  if source.image_shape != other.image_shape:
    mine, its = ("x".join(map(str, x.image_shape)) for x in (source, other))
    raise UserError(
      f"data.beside: images of {name} are {its}, those beside them {mine}; "
      "bring both to one shape by data.image_size and data.channels"
    )
  groups, group_names = source.groups, source.group_names
  if groups is not None:
    its_groups, its_names = other.groups, other.group_names
    if its_groups is None:
      its_groups, its_names = np.zeros_like(other.labels), ("",)
    groups = np.concatenate([groups, its_groups + np.int32(len(group_names))])
    group_names = (*group_names, *(f"{name}:{group}" for group in its_names))
  paths: list[str] = []
  if len(source.paths):
    its_paths = other.paths if len(other.paths) else [""] * len(other)
    paths = [*source.paths, *its_paths]
  return Source(
    images=Chained(
      [(each.images, np.arange(len(each))) for each in (source, other)]
    ),
    labels=np.concatenate(
      [source.labels, other.labels + np.int32(len(source.label_names))]
    ),
    label_names=(
      *source.label_names,
      *(f"{name}:{label}" for label in other.label_names),
    ),
    image_shape=source.image_shape,
    groups=groups,
    group_names=group_names,
    paths=paths,
  )
