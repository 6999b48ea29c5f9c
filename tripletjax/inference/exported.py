"""An exported network, of any format: it embeds, without the run's folder."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jax.typing import ArrayLike

from tripletjax.data.framing import FRAMES
from tripletjax.data.pipeline import padded_batches
from tripletjax.data.sources import Source
from tripletjax.distances import pairwise_distance
from tripletjax.errors import UserError, printable
from tripletjax.inference.embedder import Embedder
from tripletjax.inference.export_folder import METADATA, read_metadata
from tripletjax.inference.export_formats import (
  FORMATS,
  ForwardFn,
  check_installed,
  open_network,
)
from tripletjax.inference.reading import Image, Images, name_of, read_image


@dataclasses.dataclass(frozen=True, eq=False)
class Exported:
  """A network that was exported, as `Embedder` is one of a run.

  Attributes:
    folder: of the export.
    metadata: what its `metadata.json` says.
    image_shape: `(H, W, C)` that images are brought to.
    dimension: length D of an embedding.
    distance: by which it was trained, a name from `DISTANCES`.
    invert: whether images are inverted.
    frame: a name from `FRAMES`: where a drawing stands on its paper.
    threshold: up to which distance images are of one identity; None where
      nobody measured it.
    forward: uint8 `[B, H, W, C]` as `read` gives them, to float32 `[B, D]`.
  """

  folder: Path
  metadata: Mapping[str, Any]
  image_shape: tuple[int, int, int]
  dimension: int
  distance: str
  invert: bool
  frame: str
  threshold: float | None
  forward: ForwardFn

  def read(self, image: Image) -> np.ndarray:
    """An image as the network was trained on it, uint8 `[H, W, C]`.

    Args:
      image: a path, the bytes of an image file, or uint8 `[H, W]` or
        `[H, W, C]`, as decoded.

    Raises:
      UserError: it is no image, or can't be read.
    """
    return read_image(
      image,
      image_shape=self.image_shape,
      invert=self.invert,
      frame=self.frame,
      name=name_of(image, 0),
    )

  def embed(
    self, images: Sequence[Image] | np.ndarray, *, batch_size: int = 64
  ) -> np.ndarray:
    """Embeddings of images, float32 `[N, D]`; read as by `read`, in threads.

    Args:
      images: paths, bytes or arrays; or one uint8 array `[N, H, W, C]`.
      batch_size: images at a time.

    Raises:
      UserError: there is no image, or one can't be read.
    """
    count = len(images)
    if not count:
      raise UserError("expected images to embed, got none")
    source = Source(
      images=Images(images, self.image_shape, self.invert, frame=self.frame),
      labels=np.zeros(count, np.int32),
      label_names=("",),
      image_shape=self.image_shape,
    )
    batches = padded_batches(
      source, batch_size=min(batch_size, count), num_threads=None
    )
    return np.concatenate(
      [self.forward(batch["image"])[batch["where"]] for batch in batches]
    )

  def distances(self, a: ArrayLike, b: ArrayLike) -> np.ndarray:
    """Distances `[N, M]` of embeddings `[N, D]` and `[M, D]`, by the run's."""
    return np.asarray(pairwise_distance(a, b, distance=self.distance))


def _frame(image: Mapping[str, Any]) -> str:
  """How images are framed; exports of before it came don't say it."""
  name = image.get("frame", "")
  if name not in FRAMES:
    raise ValueError(f"expected a frame of {', '.join(FRAMES)}, got {name!r}")
  return name


def load_exported(folder: str | Path) -> Exported:
  """Opens an export of any format.

  Nothing in it is a pickle; its files have to be those that were written.

  Args:
    folder: as `experiments.export` wrote it.

  Raises:
    UserError: there is no export, it is damaged, or the package that opens its
      format isn't installed.
  """
  folder = Path(folder)
  metadata = read_metadata(folder)
  try:
    kind = metadata["format"]
    image, embedding = metadata["image"], metadata["embedding"]
    threshold = metadata["threshold"]
    found = {
      "image_shape": (image["height"], image["width"], image["channels"]),
      "dimension": embedding["dimension"],
      "distance": embedding["distance"],
      "invert": image["inverted"],
      "frame": _frame(image),
      "threshold": threshold and float(threshold["value"]),
    }
    form = FORMATS[kind]
  except (KeyError, TypeError, ValueError) as error:
    said = printable(str(error))[:80]
    raise UserError(
      f"{folder / METADATA}: expected the metadata of an export: {said}"
    ) from error
  check_installed(f"{folder / form.file}", form.opens_with, kind)
  return Exported(
    folder=folder,
    metadata=metadata,
    forward=form.open(folder, metadata),
    **found,
  )


def load_embedder(
  folder: str | Path, *, batch_size: int | None = None
) -> Embedder:
  """A `flax` export as the `Embedder` of the run that it came from.

  Args:
    folder: as `experiments.export` wrote it.
    batch_size: images at a time; the run's when None.

  Raises:
    UserError: there is no such export, or it is damaged.
  """
  folder = Path(folder)
  metadata = read_metadata(folder)
  if metadata.get("format") != "flax":
    raise UserError(
      f"{folder}: expected an export of format flax, got "
      f"{printable(str(metadata.get('format')))[:20]}"
    )
  image = metadata["image"]
  return Embedder.of_run(
    open_network(folder, metadata),
    (image["height"], image["width"], image["channels"]),
    batch_size=batch_size,
  )
