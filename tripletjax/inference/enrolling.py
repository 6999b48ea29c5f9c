"""A gallery's file, changed by one process at a time."""

from __future__ import annotations

import contextlib
import fcntl
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from tripletjax.data.listing import list_loose
from tripletjax.errors import UserError, printable
from tripletjax.inference.embedder import Embedder
from tripletjax.inference.folders import OpenBar, embed_some
from tripletjax.inference.gallery import (
  Gallery,
  check_name,
  enroll,
  load_gallery,
  new_gallery,
  remove,
  save_gallery,
)
from tripletjax.inference.reading import Image


def enroll_images(
  embedder: Embedder,
  path: str | Path,
  *,
  name: str = "",
  images: Sequence[str] = (),
  folder: str = "",
  skip_unreadable: bool = False,
  open_bar: OpenBar | None = None,
  say: Callable[[str], object] = print,
) -> tuple[Gallery, int]:
  """Adds images to a gallery's file, which is made where there is none.

  Args:
    embedder: the run.
    path: of the gallery.
    name: of whom `images` are.
    images: paths of images.
    folder: a folder or zip, in which each image lies in the folder of its name.
    skip_unreadable: leave out what can't be read, instead of ending there.
    open_bar: makes a progress bar of the number of images.
    say: is told what was left out.

  Returns:
    The gallery, and how many images are new in it.

  Raises:
    UserError: an image or the gallery can't be read, the gallery is another
      network's or can't be written, or a name can't be one.
  """
  path = Path(path)
  every: list[Image] = list(images)
  names = [name] * len(images)
  if folder:
    entries = list_loose(folder).entries
    nameless = [entry for entry in entries if not entry.label]
    if nameless:
      raise UserError(
        f"--images: {printable(str(nameless[0].file))} lies in no person's "
        "folder; put the images of each into a folder of that name"
      )
    every += entries
    names += [entry.label for entry in entries]
  for one in dict.fromkeys(names):
    check_name(one)
  check_place(path)
  before = load_gallery(path, embedder=embedder) if path.exists() else None
  del before  # only to be refused before it takes time
  embeddings, kept = embed_some(
    embedder,
    every,
    skip_unreadable=skip_unreadable,
    open_bar=open_bar,
    say=say,
  )
  with _locked(path):
    gallery = new_gallery(embedder)
    if path.exists():
      gallery = load_gallery(path, embedder=embedder)
    changed = enroll(gallery, [names[index] for index in kept], embeddings)
    save_gallery(path, changed)
  return changed, len(changed) - len(gallery)


def remove_people(path: str | Path, names: Sequence[str]) -> Gallery:
  """Removes people from a gallery's file; all of them, or none.

  Raises:
    UserError: one of them isn't there, or the gallery can't be read or written.
  """
  path = Path(path)
  load_gallery(path)
  with _locked(path):
    gallery = load_gallery(path)
    for name in names:
      gallery = remove(gallery, name)
    save_gallery(path, gallery)
  return gallery


def check_place(path: Path) -> None:
  """Raises a `UserError` for a file that couldn't be written in the end."""
  if path.suffix != ".npz":
    raise UserError(
      "--gallery: expected a file that ends in .npz, got "
      f"{printable(str(path))}"
    )
  if not path.absolute().parent.is_dir():
    raise UserError(
      f"--gallery: there is no folder {printable(str(path.parent))}"
    )


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
  """Keeps others from changing a gallery between reading and writing it."""
  try:
    file = path.with_name(f".{path.name}.lock").open("w")
  except OSError as error:
    raise UserError(
      f"--gallery: can't write {printable(str(path))}: {error.strerror}"
    ) from error
  with file:
    with contextlib.suppress(OSError):  # a file system without locks
      fcntl.flock(file, fcntl.LOCK_EX)
    yield
