"""The set that the page shows: a split of the run's data, or a folder."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tripletjax.data.caching import hold
from tripletjax.errors import UserError
from tripletjax.inference.embedder import Embedder
from tripletjax.inference.folders import embed_folder
from tripletjax.inference.reading import Images
from tripletjax.training.splits import describe_part, open_part

OpenBar = Callable[..., Any]
Say = Callable[[str], object]


@dataclasses.dataclass(frozen=True, eq=False)
class Space:
  """Images and their embeddings.

  Attributes:
    name: of the set, for people.
    embeddings: float32 `[N, D]`.
    images: gives what the network sees, uint8 `[H, W, C]`, by index.
    names: of their files, `[N]`; "" where the set doesn't say.
    labels: identities, an index into `label_names`, int32 `[N]`; -1 where
      unknown.
    label_names: the identities.
  """

  name: str
  embeddings: np.ndarray
  images: Any
  names: list[str]
  labels: np.ndarray
  label_names: tuple[str, ...]

  def __len__(self) -> int:
    return len(self.embeddings)


def open_split(
  embedder: Embedder,
  split: str,
  *,
  data_dir: Path,
  open_bar: OpenBar | None = None,
) -> Space:
  """A split of the run's own data.

  Args:
    embedder: the run.
    split: "eval", "train", or a TFDS split expression.
    data_dir: folder of the prepared data sets.
    open_bar: makes a progress bar of a number of images.

  Raises:
    UserError: there is no such split, or its images are of another shape.
  """
  config = embedder.config
  source = open_part(config, data_dir, split, field="--split")
  if source.image_shape != embedder.image_shape:
    theirs, ours = (
      " x ".join(map(str, shape))
      for shape in (source.image_shape, embedder.image_shape)
    )
    raise UserError(
      f"--split: expected images of {ours}, as {embedder.workdir} was trained "
      f"on, got {theirs}"
    )
  source = hold(source, where=config.data.cache).source
  bar = open_bar(len(source), 0) if open_bar else None
  try:
    embeddings = embedder.embed_read(
      source.images,
      count=len(source),
      progress=bar.update if bar else None,
    )
  finally:
    if bar:
      bar.close()
  names = [str(path) for path in source.paths] if len(source.paths) else []
  return Space(
    name=f"{config.data.name} {describe_part(config, split)}",
    embeddings=embeddings,
    images=source.images,
    names=names or [""] * len(source),
    labels=source.labels.astype(np.int32),
    label_names=source.label_names,
  )


def open_folder(
  embedder: Embedder,
  folder: str,
  *,
  open_bar: OpenBar | None = None,
  say: Say = print,
) -> Space:
  """The images of a folder or zip; the folder an image lies in is its label.

  What can't be read is left out, and said.

  Args:
    embedder: the run.
    folder: the folder or zip.
    open_bar: makes a progress bar of a number of images.
    say: is told what was left out.

  Raises:
    UserError: there is no image that can be read.
  """
  embedded = embed_folder(
    embedder, folder, skip_unreadable=True, open_bar=open_bar, say=say
  )
  label_names = sorted({label for label in embedded.labels if label})
  number = {name: index for index, name in enumerate(label_names)} | {"": -1}
  return Space(
    name=Path(folder).expanduser().absolute().name,
    embeddings=embedded.embeddings,
    images=Images(
      embedded.images,
      embedder.image_shape,
      embedder.config.data.invert,
      frame=embedder.config.data.frame,
    ),
    names=[image.path for image in embedded.images],  # type: ignore[union-attr]
    labels=np.array([number[label] for label in embedded.labels], np.int32),
    label_names=tuple(label_names),
  )
