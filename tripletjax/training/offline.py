"""Offline mining: hard positives and negatives of the whole training set.

Every so many steps the set is embedded and searched, exactly and in blocks;
until the next time one trains on what was found (Schroff et al., 2015, section
3.2, name it as the other way to online mining; Harwood et al., 2017, "Smart
mining for deep metric learning"). It goes stale: what was hard when it was
mined may cost nothing when it is used.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int

from tripletjax.distances import DISTANCES
from tripletjax.errors import UserError
from tripletjax.types import DistanceFn

_BLOCK = 512  # rows that are searched at once,
_PAIRS = 2**26  # and distances


class Mined(NamedTuple):
  """What was found for each of N images; indices into the set, -1 for none.

  Attributes:
    positives: the farthest image of the same identity, int32 `[N]`.
    negatives: the nearest ones of others, nearest first, int32 `[N, M]`.
  """

  positives: np.ndarray
  negatives: np.ndarray


def mine(
  embeddings: np.ndarray,
  labels: np.ndarray,
  *,
  count: int,
  distance: str,
  approximate: bool = False,
) -> Mined:
  """Searches a set for each image's hardest positive and nearest negatives.

  Holds a block of distances, not all of them.

  Args:
    embeddings: `[N, D]`, floating.
    labels: identities, integer `[N]`.
    count: M, negatives of each image.
    distance: a name from `DISTANCES`.
    approximate: search by `lax.approx_max_k` (Chern et al., 2022), which on a
      TPU is faster and may miss some of the nearest; elsewhere it's exact.

  Raises:
    UserError: the set has fewer images of others than `count`.
  """
  size = len(labels)
  largest = int(np.unique(labels, return_counts=True)[1].max())
  if size - largest < count:
    raise UserError(
      f"mining.negatives: expected at most {size - largest}, the images that "
      f"are of another identity, got {count}"
    )
  rows = max(1, min(_BLOCK, _PAIRS // size, size))
  found = []
  everything = jnp.asarray(embeddings), jnp.asarray(labels, jnp.int32)
  for start in range(0, size, rows):
    # The last block is moved up, so that one program does for all.
    first = min(start, size - rows)
    block = _search(
      *everything,
      first,
      rows=rows,
      count=count,
      distance_fn=DISTANCES[distance],
      approximate=approximate,
    )
    found.append([np.asarray(x)[start - first :] for x in block])
  positives, negatives = zip(*found, strict=True)
  return Mined(np.concatenate(positives), np.concatenate(negatives))


@functools.partial(
  jax.jit, static_argnames=("rows", "count", "distance_fn", "approximate")
)
def _search(
  embeddings: Float[Array, "n d"],
  labels: Int[Array, " n"],
  first: Int[Array, ""],
  *,
  rows: int,
  count: int,
  distance_fn: DistanceFn,
  approximate: bool,
) -> tuple[Int[Array, " b"], Int[Array, "b m"]]:
  block = lax.dynamic_slice_in_dim(embeddings, first, rows)
  own = lax.dynamic_slice_in_dim(labels, first, rows)
  distances = distance_fn(block, embeddings)
  same = own[:, None] == labels[None]
  columns = jnp.arange(len(labels))[None]
  itself = (first + jnp.arange(rows))[:, None] == columns
  to_positives = jnp.where(same & ~itself, distances, -jnp.inf)
  farthest = jnp.argmax(to_positives, axis=1).astype(jnp.int32)
  some = (same & ~itself).any(axis=1)
  nearness = jnp.where(same, -jnp.inf, -distances)
  top_k = lax.approx_max_k if approximate else lax.top_k
  nearest = top_k(nearness, count)[1].astype(jnp.int32)
  return jnp.where(some, farthest, -1), nearest


def active_share(
  embeddings: np.ndarray, mined: Mined, *, distance: str, margin: float
) -> float:
  """The share of mined triplets that cost something by these embeddings.

  Of each image with its positive and its nearest negative.

  Args:
    embeddings: `[N, D]`.
    mined: by these embeddings, or by others.
    distance: a name from `DISTANCES`.
    margin: of the loss.
  """
  (anchors,) = np.nonzero(mined.positives >= 0)
  gap = _gaps(
    jnp.asarray(embeddings),
    anchors,
    mined.positives[anchors],
    mined.negatives[anchors, 0],
    DISTANCES[distance],
  )
  return float(np.mean(np.asarray(gap) < margin))


@functools.partial(jax.jit, static_argnums=4)
def _gaps(
  embeddings: Float[Array, "n d"],
  anchors: Int[Array, " t"],
  positives: Int[Array, " t"],
  negatives: Int[Array, " t"],
  distance_fn: DistanceFn,
) -> Float[Array, " t"]:
  pair = jax.vmap(lambda x, y: distance_fn(x[None], y[None])[0, 0])
  own = embeddings[anchors]
  return pair(own, embeddings[negatives]) - pair(own, embeddings[positives])


def confused_identities(
  labels: np.ndarray, negatives: np.ndarray, *, count: int
) -> np.ndarray:
  """The identities that each one's images are nearest to, most often first.

  Args:
    labels: identities, integer `[N]`, from 0.
    negatives: the images nearest to each, `[N, M]`.
    count: how many identities, at most.

  Returns:
    int32 `[L, count]`; -1 for none, at the end of a row.

  >>> confused_identities(
  ...   np.array([0, 0, 1, 2]), np.array([[3], [3], [0], [2]]), count=2
  ... ).tolist()
  [[2, -1], [0, -1], [1, -1]]
  """
  size = int(labels.max()) + 1
  codes, times = np.unique(
    labels.astype(np.int64)[:, None] * size + labels[negatives],
    return_counts=True,
  )
  own, other = np.divmod(codes, size)
  order = np.lexsort((other, -times, own))
  own, other = own[order], other[order]
  place = np.arange(len(own)) - np.searchsorted(own, own)
  table = np.full((size, count), -1, np.int32)
  kept = place < count
  table[own[kept], place[kept]] = other[kept]
  return table
