"""A gallery of people (or whatever the identities are), and who is in it."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tripletjax.errors import UserError, printable
from tripletjax.inference.embedder import Embedder
from tripletjax.inference.searching import SearchFn, make_search
from tripletjax.npz_files import read_npz, take
from tripletjax.writers import write_npz

_LONGEST = 255  # letters of a name


@dataclasses.dataclass(frozen=True, eq=False)
class Gallery:
  """Embeddings by name; one or more of a name.

  Attributes:
    embeddings: float32 `[N, D]`.
    names: of whom each is, `[N]`, str.
    fingerprint: of the network, as `Embedder.fingerprint`.
    distance: the run's, a name from `DISTANCES`.
    run: the name of the run's folder, and the step, for people.
  """

  embeddings: np.ndarray
  names: np.ndarray
  fingerprint: str
  distance: str
  run: str

  def __len__(self) -> int:
    return len(self.names)

  def people(self) -> dict[str, int]:
    """Names, sorted, with the number of images of each."""
    names, counts = np.unique(self.names, return_counts=True)
    return dict(zip(names.tolist(), counts.tolist(), strict=True))


class Found(NamedTuple):
  """Who is nearest to a query.

  Attributes:
    names: the nearest people, nearest first.
    distances: to the nearest image of each.
    entries: which entry of the gallery that image is.
    is_known: whether the first is near enough.
  """

  names: list[str]
  distances: list[float]
  entries: list[int]
  is_known: bool

  @property
  def name(self) -> str | None:
    """Who it is; None where it is nobody of the gallery."""
    return self.names[0] if self.is_known else None


def new_gallery(embedder: Embedder) -> Gallery:
  """An empty gallery of a run."""
  return Gallery(
    embeddings=np.zeros((0, embedder.dimension), np.float32),
    names=np.zeros(0, "U1"),
    fingerprint=embedder.fingerprint,
    distance=embedder.distance,
    run=f"{embedder.workdir.resolve().name}, step {embedder.step}",
  )


def enroll(
  gallery: Gallery, names: Sequence[str], embeddings: np.ndarray
) -> Gallery:
  """The gallery with more images; what is in it already isn't added again.

  Args:
    gallery: as it was.
    names: of whom each image is, `[M]`.
    embeddings: by the gallery's run, `[M, D]`.

  Raises:
    UserError: a name can't be one.
    ValueError: a shape doesn't fit.
  """
  more = np.asarray(embeddings, np.float32)
  expected = (len(names), gallery.embeddings.shape[1])
  if more.shape != expected:
    raise ValueError(f"expected embeddings {expected}, got {more.shape}")
  if not np.isfinite(more).all():
    raise ValueError("expected finite embeddings, got NaN or infinity")
  for name in names:
    check_name(name)
  there = {
    (name, row.tobytes())
    for name, row in zip(
      gallery.names.tolist(), gallery.embeddings, strict=True
    )
  }
  kept = []
  for index, (name, row) in enumerate(zip(names, more, strict=True)):
    if (name, row.tobytes()) not in there:
      there.add((name, row.tobytes()))
      kept.append(index)
  added = np.array([names[index] for index in kept], dtype=np.str_)
  return dataclasses.replace(
    gallery,
    embeddings=np.concatenate([gallery.embeddings, more[kept]]),
    names=np.concatenate([gallery.names, added]) if kept else gallery.names,
  )


def check_name(name: str) -> None:
  """Raises a `UserError` unless somebody can be called so.

  >>> check_name(" ")
  Traceback (most recent call last):
  tripletjax.errors.UserError: expected a name, got ' '
  """
  # NumPy drops NULs from the end of a text.
  if not name.strip() or "\0" in name:
    raise UserError(f"expected a name, got {name!r}")
  if len(name) > _LONGEST:
    raise UserError(
      f"expected a name of at most {_LONGEST} letters, got {len(name):,}"
    )


def remove(gallery: Gallery, name: str) -> Gallery:
  """The gallery without somebody.

  Raises:
    UserError: nobody there is called so.
  """
  kept = gallery.names != name
  if kept.all():
    raise UserError(f"--remove: nobody in the gallery is called {_some(name)}")
  return dataclasses.replace(
    gallery, embeddings=gallery.embeddings[kept], names=gallery.names[kept]
  )


def identify(
  gallery: Gallery,
  queries: np.ndarray,
  *,
  k: int = 5,
  threshold: float,
  search: str | SearchFn = "auto",
) -> list[Found]:
  """The nearest people to each query.

  Somebody is as far as the nearest of their images; people at one distance rank
  by the place of that image in the gallery.

  Args:
    gallery: whom to search.
    queries: embeddings by the same run, `[Q, D]`.
    k: how many people, at least 1; fewer where the gallery has fewer.
    threshold: up to which distance the nearest is who is asked for.
    search: auto, blocks or faiss, or what `make_search` made of the gallery.

  Raises:
    UserError: the gallery is empty, `k` is below 1, or there is no such search.
  """
  if k < 1:
    raise UserError(f"--k: expected at least 1, got {k}")
  if not len(gallery):
    raise UserError("--gallery: nobody is in it; enroll somebody first")
  if isinstance(search, str):
    search = make_search(gallery.embeddings, gallery.distance, search=search)
  queries = np.asarray(queries, np.float32)
  found: dict[int, tuple[np.ndarray, np.ndarray]] = {}
  pending, many = np.arange(len(queries)), min(k, len(gallery))
  while len(pending):
    index, distances = search(queries[pending], many)
    left = []
    for place, query in enumerate(pending.tolist()):
      # Of each person the first, which is the nearest.
      _, first = np.unique(gallery.names[index[place]], return_index=True)
      if len(first) < k and many < len(gallery):
        left.append(query)
        continue
      first = np.sort(first)[:k]
      found[query] = index[place][first], distances[place][first]
    pending = np.array(left, np.int64)
    if len(pending):
      # Images of one person stand in the way of others.
      people = len(np.unique(gallery.names))
      k, many = min(k, people), min(2 * many, len(gallery))
  limit = np.float32(threshold)
  return [
    Found(
      names=gallery.names[entries].tolist(),
      distances=distances.tolist(),
      entries=entries.tolist(),
      is_known=bool(distances[0] <= limit),
    )
    for entries, distances in (found[query] for query in range(len(queries)))
  ]


def save_gallery(path: str | Path, gallery: Gallery) -> None:
  """Writes a gallery, whole or not at all.

  Raises:
    UserError: it can't be written.
  """
  try:
    write_npz(
      Path(path),
      {
        "embeddings": gallery.embeddings,
        "names": gallery.names,
        "fingerprint": np.array(gallery.fingerprint),
        "distance": np.array(gallery.distance),
        "run": np.array(gallery.run),
      },
    )
  except OSError as error:
    raise UserError(
      f"--gallery: can't write {_some(path)}: {error.strerror or error}"
    ) from error


def load_gallery(
  path: str | Path, *, embedder: Embedder | None = None
) -> Gallery:
  """Reads a gallery.

  Args:
    path: as `save_gallery` wrote it.
    embedder: whose it has to be; None takes any.

  Raises:
    UserError: it can't be read, or was made by another network.
  """
  path = Path(path)
  if not path.exists():
    raise UserError(
      f"--gallery: there is no {_some(path)}; experiments.enroll makes one"
    )
  try:
    arrays = read_npz(path)
    embeddings = take(arrays, path, "embeddings", "f", (None, None))
    names = take(arrays, path, "names", "U", (len(embeddings),))
    texts = {
      name: str(take(arrays, path, name, "U", ()))
      for name in ("fingerprint", "distance", "run")
    }
  except UserError as error:
    raise UserError(f"--gallery: {error}") from None
  if not np.isfinite(embeddings).all():
    raise UserError(f"--gallery: {_some(path)}: expected finite embeddings")
  gallery = Gallery(embeddings.astype(np.float32), names, **texts)
  if embedder is not None and gallery.fingerprint != embedder.fingerprint:
    raise UserError(
      f"--gallery: {_some(path)} was enrolled by another network "
      f"({printable(gallery.run)}) than {new_gallery(embedder).run}: enroll "
      "anew, or name that run and --checkpoint"
    )
  return gallery


def _some(name: str | Path) -> str:
  return printable(str(name))
