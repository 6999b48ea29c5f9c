"""The set that an evaluation is about: a split, two splits, or listed pairs."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
from ml_collections import ConfigDict

from tripletjax.data.caching import hold
from tripletjax.data.cameras import read_cameras
from tripletjax.data.joining import Chained
from tripletjax.data.pairs import read_pairs
from tripletjax.data.sources import Source
from tripletjax.data.splits import gallery_and_query
from tripletjax.errors import UserError
from tripletjax.training.evaluation_settings import Labelled
from tripletjax.training.splits import describe_part, open_part


class Listed(NamedTuple):
  """Pairs of a file.

  Attributes:
    first, second: indices into the set, `[P]`.
    is_same: whether they share their identity, `[P]`, bool.
    fold: the fold that each pair is in, `[P]`, integer.
  """

  first: np.ndarray
  second: np.ndarray
  is_same: np.ndarray
  fold: np.ndarray


class EvaluatedSet(NamedTuple):
  """Images and whose they are.

  Attributes:
    name: for people.
    source: the images.
    labelled: their labels, gallery and queries.
    pairs: what alone is measured, or None.
  """

  name: str
  source: Source
  labelled: Labelled
  pairs: Listed | None = None


def open_set(
  config: ConfigDict,
  data_dir: Path,
  split: str,
  *,
  gallery_images: int | None = None,
  cameras: str = "",
) -> EvaluatedSet:
  """A split whose images ask for each other, or the rest for some of each.

  Args:
    config: the run's.
    data_dir: folder of the prepared data sets.
    split: "eval", "train" or a split expression.
    gallery_images: how many of each identity are searched by all others; None
      searches all images by all others.
    cameras: see `read_cameras`.

  Raises:
    UserError: there is no such split, it can't be read, or nothing is left to
      ask with.
  """
  source = open_part(config, data_dir, split, field="--split")
  source = hold(source, where=config.data.cache).source
  name = describe_part(config, split)
  labelled = Labelled(
    labels=source.labels,
    groups=source.groups,
    cameras=read_cameras(source.paths, cameras, field="--cameras"),
  )
  if gallery_images is not None:
    gallery, query = gallery_and_query(
      source.labels,
      images=gallery_images,
      seed=config.seed,
      field="--gallery_images",
    )
    labelled = labelled._replace(gallery=gallery, query=query)
    name = f"{name}, {gallery_images} of each identity searched by the rest"
  return EvaluatedSet(name, source, labelled)


def open_gallery(
  config: ConfigDict,
  data_dir: Path,
  gallery: str,
  query: str,
  *,
  cameras: str = "",
) -> EvaluatedSet:
  """Two splits: the images of `query` ask for those of `gallery`.

  An image of both, by its path, isn't its own match.

  Raises:
    UserError: there is no such split, or their images differ in shape.
  """
  parts = [
    open_part(config, data_dir, gallery, field="--gallery"),
    open_part(config, data_dir, query, field="--query"),
  ]
  shapes = [part.image_shape for part in parts]
  if shapes[0] != shapes[1]:
    raise UserError(
      f"--query: expected images of {shapes[0]} as in the gallery, got "
      f"{shapes[1]}"
    )
  # Each split numbers the identities that it has: names are what they share.
  names, labels = np.unique(
    np.concatenate([np.array(part.label_names)[part.labels] for part in parts]),
    return_inverse=True,
  )
  sizes = [len(part) for part in parts]
  paths = [path for part in parts for path in part.paths]
  ids = None
  if len(paths) == len(labels):
    ids = np.unique(paths, return_inverse=True)[1].reshape(-1)
  images = Chained([(part.images, np.arange(len(part))) for part in parts])
  source = Source(
    images=images,
    labels=labels.astype(np.int32),
    label_names=tuple(str(name) for name in names),
    image_shape=shapes[0],
  )
  source = hold(source, where=config.data.cache).source
  shown = [describe_part(config, split) for split in (query, gallery)]
  return EvaluatedSet(
    f"{shown[0]} in {shown[1]}",
    source,
    Labelled(
      labels=source.labels,
      gallery=np.arange(sizes[0]),
      query=sizes[0] + np.arange(sizes[1]),
      cameras=read_cameras(paths, cameras, field="--cameras"),
      ids=ids,
    ),
  )


def open_pairs(
  config: ConfigDict, data_dir: Path, split: str, path: str
) -> EvaluatedSet:
  """The images of a split that a file of pairs names.

  Raises:
    UserError: the file can't be read or names an image that isn't there, or
      all its pairs are of one kind.
  """
  whole = open_part(config, data_dir, split, field="--split")
  first, second, is_same, fold = read_pairs(path, whole)
  if is_same.all() or not is_same.any():
    kind = "same" if is_same.all() else "different"
    raise UserError(
      f"--pairs: {path} holds {kind} pairs only; expected both kinds"
    )
  named, ends = np.unique(np.stack([first, second]), return_inverse=True)
  first, second = ends.reshape(2, -1).astype(np.int32)
  source = Source(
    images=Chained([(whole.images, named)]),
    labels=whole.labels[named],
    label_names=whole.label_names,
    image_shape=whole.image_shape,
  )
  asked = f"{len(first):,} pairs of {Path(path).name}"
  return EvaluatedSet(
    f"{describe_part(config, split)}, {asked}",
    source,
    Labelled(labels=source.labels),
    Listed(first, second, np.asarray(is_same, bool), np.asarray(fold)),
  )
