"""The files of an evaluation, checked; a broken one is named in one line."""

from __future__ import annotations

import pathlib
from typing import NamedTuple

import numpy as np

from tripletjax.errors import UserError
from tripletjax.npz_files import read_npz, take
from tripletjax.report.scores import SPACES


class Curves(NamedTuple):
  """What `curves.npz` holds of one representation.

  Attributes:
    far, tar: `[M]`, floating, ascending; empty without pairs of both kinds.
    edges: `[B + 1]`, floating, of the histograms.
    same, different: `[B]`, integer, pairs of each kind by distance.
    tar_at: `[F, 2]`, floating, a FAR and its TAR.
    recall_at: `[K, 2]`, floating, a k and its recall.
    threshold, auc, eer: nan where they weren't measured.
    distance: its name.
    images: how many images the curves are of, and how many the set has.
  """

  far: np.ndarray
  tar: np.ndarray
  edges: np.ndarray
  same: np.ndarray
  different: np.ndarray
  tar_at: np.ndarray
  recall_at: np.ndarray
  threshold: float
  auc: float
  eer: float
  distance: str
  images: tuple[int, int]


class ImagePairs(NamedTuple):
  """Pairs of images, `[P, H, W, C]` uint8, their labels and distances `[P]`."""

  first: np.ndarray
  second: np.ndarray
  first_labels: np.ndarray
  second_labels: np.ndarray
  distances: np.ndarray


class WorstPairs(NamedTuple):
  """What `worst_pairs.npz` holds, the worst first.

  Attributes:
    accepts: of different identities.
    rejects: of one.
    threshold: up to which a pair is accepted; nan if there is none.
  """

  accepts: ImagePairs
  rejects: ImagePairs
  threshold: float


def read_curves(path: pathlib.Path) -> dict[str, Curves]:
  """Reads and checks `curves.npz`: representation -> its curves.

  Raises:
    UserError: the file can't be read or an array is missing or misshapen.
  """
  data = read_npz(path)
  images = tuple(int(take(data, path, key, "i", ())) for key in ("drawn", "of"))
  curves = {}
  for space in SPACES:
    if f"{space}/edges" not in data:
      continue

    def of(
      name: str, kinds: str, shape: tuple, space: str = space
    ) -> np.ndarray:
      return take(data, path, f"{space}/{name}", kinds, shape)

    edges = of("edges", "f", (None,))
    far = of("far", "f", (None,))
    curves[space] = Curves(
      far=far,
      tar=of("tar", "f", far.shape),
      edges=edges,
      same=of("same", "i", (len(edges) - 1,)),
      different=of("different", "i", (len(edges) - 1,)),
      tar_at=of("tar_at", "f", (None, 2)),
      recall_at=of("recall_at", "f", (None, 2)),
      threshold=float(of("threshold", "f", ())),
      auc=float(of("auc", "f", ())),
      eer=float(of("eer", "f", ())),
      distance=str(of("distance", "U", ())),
      images=(images[0], images[1]),
    )
  if not curves:
    raise UserError(f"{path}: expected curves of {', '.join(SPACES)}, got none")
  return curves


def read_worst_pairs(path: pathlib.Path) -> WorstPairs:
  """Reads and checks `worst_pairs.npz`; there may be no pairs of a kind.

  Raises:
    UserError: the file can't be read or an array is missing or misshapen.
  """
  data = read_npz(path)

  def pairs(kind: str) -> ImagePairs:
    first = take(data, path, f"{kind}_first", "B", (None, None, None, None))
    count = (len(first),)
    return ImagePairs(
      first=first,
      second=take(data, path, f"{kind}_second", "B", first.shape),
      first_labels=take(data, path, f"{kind}_first_labels", "U", count),
      second_labels=take(data, path, f"{kind}_second_labels", "U", count),
      distances=take(data, path, f"{kind}_distances", "f", count),
    )

  threshold = take(data, path, "threshold", "f", ())
  return WorstPairs(pairs("accept"), pairs("reject"), float(threshold))
