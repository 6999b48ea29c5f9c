"""Embedding all images of a folder, into a file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow
from pyarrow import parquet

from tripletjax.data.listing import list_loose
from tripletjax.errors import UserError, printable
from tripletjax.inference.embedder import Embedder
from tripletjax.inference.reading import Image, name_of
from tripletjax.writers import whole_file, write_npz

ENDINGS = (".npz", ".parquet")
# Makes a progress bar of a number of images, from so many on; it has `update`
# and `close`.
OpenBar = Callable[..., object]
Say = Callable[[str], object]


class Embedded(NamedTuple):
  """Images and their embeddings.

  Attributes:
    embeddings: float32 `[N, D]`.
    images: what was embedded, `[N]`.
    paths: of the images, `[N]`.
    labels: the folder that each lies in, `[N]`; "" where none.
  """

  embeddings: np.ndarray
  images: Sequence[Image]
  paths: list[str]
  labels: list[str]


def embed_folder(
  embedder: Embedder,
  images: str,
  *,
  skip_unreadable: bool = False,
  open_bar: OpenBar | None = None,
  say: Say = print,
) -> Embedded:
  """Embeds all images of a folder or zip, by path.

  Args:
    embedder: the run.
    images: the folder or zip; the folder that an image lies in is its label.
    skip_unreadable: leave out what can't be read, instead of ending there.
    open_bar: makes a progress bar of the number of images.
    say: is told what was left out or passed over.

  Raises:
    UserError: there is no image, or one can't be read.
  """
  listing = list_loose(images)
  for ending, count in sorted(listing.passed_over.items()):
    say(f"passed over: {count:,} {printable(ending) or 'without an ending'}")
  found, kept = embed_some(
    embedder,
    listing.entries,
    skip_unreadable=skip_unreadable,
    open_bar=open_bar,
    say=say,
  )
  entries = [listing.entries[index] for index in kept]
  return Embedded(
    embeddings=found,
    images=entries,
    paths=[str(entry.file) for entry in entries],
    labels=[entry.label for entry in entries],
  )


def embed_some(
  embedder: Embedder,
  images: Sequence[Image],
  *,
  skip_unreadable: bool = False,
  open_bar: OpenBar | None = None,
  say: Say = print,
) -> tuple[np.ndarray, np.ndarray]:
  """Embeds images with a progress bar.

  Returns:
    Embeddings, float32 `[M, D]`, and which images they are of, `[M]`: all but
    those that couldn't be read and were to be skipped.

  Raises:
    UserError: one of the images can't be read, or none.
  """
  bad: list[tuple[int, str]] = []
  bar = open_bar(len(images), 0) if open_bar else None
  try:
    found = embedder.embed(
      images,
      progress=bar.update if bar else None,  # type: ignore[attr-defined]
      on_unreadable=(lambda index, error: bad.append((index, str(error))))
      if skip_unreadable
      else None,
    )
  finally:
    if bar:
      bar.close()  # type: ignore[attr-defined]
  bad.sort()
  kept = np.setdiff1d(np.arange(len(images)), [index for index, _ in bad])
  if not len(kept):
    raise UserError(f"no image can be read: {bad[0][1]}")
  if bad:
    say(
      f"left out: {len(bad):,}, such as {name_of(images[bad[0][0]], bad[0][0])}"
    )
  return found[kept], kept


def check_output(path: Path) -> None:
  """Raises a `UserError` for a file that couldn't be written in the end."""
  if path.suffix not in ENDINGS:
    raise UserError(
      f"--output: expected a file that ends in {' or '.join(ENDINGS)}, got "
      f"{printable(str(path))}"
    )
  if not path.absolute().parent.is_dir():
    raise UserError(
      f"--output: there is no folder {printable(str(path.parent))}"
    )
  if path.is_dir():
    raise UserError(f"--output: {printable(str(path))} is a folder")


def write_embeddings(
  path: Path, embedded: Embedded, embedder: Embedder
) -> None:
  """Writes embeddings with the paths and labels of their images.

  Args:
    path: `.npz`: arrays `embeddings` `[N, D]`, `paths` `[N]` and, if any is
      known, `labels` `[N]` ("" where not), `distance` and `fingerprint`.
      `.parquet`: columns `path`, `label` (null where not) and `embedding`, with
      distance and fingerprint in the metadata. Whole or not there.
    embedded: what to write.
    embedder: by which it was embedded.

  Raises:
    UserError: the file can't be written.
  """
  check_output(path)
  about = {"distance": embedder.distance, "fingerprint": embedder.fingerprint}
  try:
    if path.suffix == ".npz":
      known = (
        {"labels": np.array(embedded.labels)} if any(embedded.labels) else {}
      )
      arrays = {
        "embeddings": embedded.embeddings,
        "paths": np.array(embedded.paths),
        **known,
        **{name: np.array(value) for name, value in about.items()},
      }
      write_npz(path, arrays)
      return
    with whole_file(path) as file:
      parquet.write_table(_table(embedded, about), file)
  except OSError as error:
    raise UserError(
      f"--output: can't write {printable(str(path))}: {error.strerror or error}"
    ) from error


def _table(embedded: Embedded, about: dict[str, str]) -> pyarrow.Table:
  flat = pyarrow.array(embedded.embeddings.reshape(-1))
  table = pyarrow.table(
    {
      "path": pyarrow.array(embedded.paths, pyarrow.string()),
      "label": pyarrow.array(
        [label or None for label in embedded.labels], pyarrow.string()
      ),
      "embedding": pyarrow.FixedSizeListArray.from_arrays(
        flat, embedded.embeddings.shape[1]
      ),
    }
  )
  return table.replace_schema_metadata(about)
