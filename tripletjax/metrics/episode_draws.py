"""Which images an n-way k-shot episode shows, and which it asks about."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import numpy as np

# -> indices of images [ways, shots + queries], a row for each identity.
DrawFn = Callable[[np.random.Generator], np.ndarray]
# Sets of cameras that are looked through for a group; where there are more, so
# many are drawn.
_SETS = 10_000


def episode_draws(
  labels: np.ndarray,
  groups: np.ndarray,
  cameras: np.ndarray | None,
  *,
  ways: int,
  images: int,
  seed: int,
) -> list[DrawFn]:
  """How to draw an episode, for each group that has enough for one.

  Args:
    labels: identities, `[N]`, integer.
    groups: of which each episode has one, `[N]`, integer.
    cameras: who made each image, `[N]`, integer: column j of an episode is all
      by one of them, and no two columns by the same; None draws any images.
    ways: identities of an episode.
    images: of each of them.
    seed: of the sets of cameras, where there are too many to look through.

  Returns:
    A function for each group, in order; none for a group without `ways`
    identities that have enough images, or images by the same `images` cameras.
  """
  draws = []
  for group in np.unique(groups):
    here = np.flatnonzero(groups == group)
    if cameras is None:
      draw = _of_any(here, labels[here], ways=ways, images=images)
    else:
      draw = _of_cameras(
        here,
        labels[here],
        cameras[here],
        ways=ways,
        images=images,
        rng=np.random.default_rng(seed),
      )
    if draw:
      draws.append(draw)
  return draws


def _of_any(
  here: np.ndarray, labels: np.ndarray, *, ways: int, images: int
) -> DrawFn | None:
  order = np.argsort(labels, kind="stable")
  _, first = np.unique(labels[order], return_index=True)
  pool = [own for own in np.split(here[order], first[1:]) if len(own) >= images]
  if len(pool) < ways:
    return None

  def draw(rng: np.random.Generator) -> np.ndarray:
    chosen = rng.choice(len(pool), ways, replace=False)
    return np.stack(
      [rng.choice(pool[c], images, replace=False) for c in chosen]
    )

  return draw


def _of_cameras(
  here: np.ndarray,
  labels: np.ndarray,
  cameras: np.ndarray,
  *,
  ways: int,
  images: int,
  rng: np.random.Generator,
) -> DrawFn | None:
  names, rows = np.unique(labels, return_inverse=True)
  kinds, columns = np.unique(cameras, return_inverse=True)
  there = np.zeros((len(names), len(kinds)), bool)
  there[rows, columns] = True
  sets = [
    chosen
    for chosen in _sets(len(kinds), images, rng)
    if there[:, chosen].all(axis=1).sum() >= ways
  ]
  if not sets:
    return None
  # Images of one identity by one camera stand together.
  cells = rows * len(kinds) + columns
  order = np.argsort(cells, kind="stable")
  cells = cells[order]

  def draw(rng: np.random.Generator) -> np.ndarray:
    chosen = rng.permutation(sets[int(rng.integers(len(sets)))])
    common = np.flatnonzero(there[:, chosen].all(axis=1))
    identities = rng.choice(common, ways, replace=False)
    wanted = identities[:, None] * len(kinds) + chosen
    first = np.searchsorted(cells, wanted, side="left")
    count = np.searchsorted(cells, wanted, side="right") - first
    return here[order[first + rng.integers(count)]]

  return draw


def _sets(count: int, size: int, rng: np.random.Generator) -> list[list[int]]:
  """Sets of `size` out of `count` cameras: all of them, or 10,000 drawn."""
  if math.comb(count, size) <= _SETS:
    return [
      list(chosen) for chosen in itertools.combinations(range(count), size)
    ]
  return [rng.choice(count, size, replace=False).tolist() for _ in range(_SETS)]
