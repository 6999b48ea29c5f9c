"""Verification over all pairs of a set, of which no list is kept."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

import jax
import numpy as np
from jax.typing import ArrayLike

from tripletjax.distances import resolve_distance
from tripletjax.metrics import curves
from tripletjax.metrics.blocks import (
  Rows,
  check_host,
  check_labels,
  distance_tile,
  distinct,
  encode,
  starts,
  tile_edge,
)
from tripletjax.metrics.intervals import interval, resampled_ratios
from tripletjax.metrics.verification import (
  check_protocol,
  curve_scores,
  fold_scores,
)
from tripletjax.types import DistanceFn

# Distances of different pairs that are sorted together.
SORTED = 1 << 22


def pair_verification(
  embeddings: ArrayLike,
  labels: ArrayLike,
  *,
  distance: str | DistanceFn = "squared_euclidean",
  folds: int = 10,
  far: Sequence[float] = (1e-3,),
  seed: int = 0,
  resamples: int = 1000,
) -> dict[str, float]:
  """`verification` over all unordered pairs of a set.

  AUC, EER and TAR see every pair, by exact counting. `accuracy`, its error and
  `threshold` see as many same as different pairs, as LFW does: all of the rarer
  kind, and as many of the other drawn with `seed`; over all pairs of many
  classes "always different" would already be right 99% of the time.

  Of the pairs only the same ones are kept (their distance, identity and two
  counts of different pairs: 24 bytes each); different ones are counted
  against these a block at a time.

  Args:
    embeddings: `[N, D]`, floating.
    labels: identities, `[N]`, integer.
    distance: a name from `DISTANCES`, or a symmetric function of `x` and `y`.
    folds: number of folds, at least 2.
    far: false-accept rates, each in (0, 1).
    seed: of the draw, the deal into folds, and the bootstrap.
    resamples: how often is drawn anew for the intervals.

  Returns:
    As `verification`; `same_pairs` and `different_pairs` count every pair. The
    interval of a TAR is that of drawing identities, at a fixed threshold: the
    pairs of an identity succeed or fail together. That of `accuracy` takes
    pairs as independent, and is too narrow.

  Raises:
    TypeError: embeddings not floating, or labels not integer.
    ValueError: a shape doesn't fit, `folds` or a FAR is out of its range.

  >>> points = np.array([[0.0], [1.0], [5.0], [7.0]], np.float32)
  >>> scores = pair_verification(points, np.array([0, 0, 1, 1]), folds=2)
  >>> scores["auc"], scores["eer"], scores["accuracy"]
  (1.0, 0.0, 1.0)
  """
  array = check_host(embeddings, "embeddings")
  labels = check_labels(labels, len(array), "labels")
  check_protocol(folds, far, resamples)
  images = image_set(array, labels, distance)
  same, identity = same_pairs(images)
  different = len(labels) * (len(labels) - 1) // 2 - len(same)
  rng = np.random.default_rng(seed)
  count = min(len(same), different)
  of_same = _draw(rng, len(same), count)
  pairs, drawn, _ = count_different(images, same, _draw(rng, different, count))
  scores = fold_scores(
    np.concatenate([same[of_same], drawn]),
    np.arange(2 * count) < count,
    folds,
    seed=rng,
    resamples=resamples,
  )
  scores |= curve_scores(pairs, far)
  for rate in far:
    key = curves.rate_key("tar@far", rate)
    low = high = np.array([np.nan])
    if resamples and not np.isnan(scores[key]) and pairs is not None:
      most = curves.allowed(rate, pairs.different)
      low, high = _over_identities(
        identity,
        int(curves.accepted(pairs.upto, most)),
        resamples=resamples,
        seed=seed,
      )
    scores |= interval([key], low, high)
  return scores | {
    "same_pairs": float(len(same)),
    "different_pairs": float(different),
  }


class ImageSet(NamedTuple):
  """A set of images, in the order of their identities.

  Attributes:
    rows: embeddings `[N, D]` with their order.
    codes: identities in that order, `[N]`, ascending.
    distance_fn: symmetric.
  """

  rows: Rows
  codes: np.ndarray
  distance_fn: DistanceFn


def image_set(
  embeddings: np.ndarray | jax.Array,
  labels: np.ndarray,
  distance: str | DistanceFn,
) -> ImageSet:
  """Embeddings `[N, D]` in the order of their labels, `[N]`."""
  (codes,) = encode(labels)
  order = np.argsort(codes, kind="stable")
  return ImageSet(
    Rows(embeddings, order), codes[order], resolve_distance(distance)
  )


class PairTile(NamedTuple):
  """Distances of two runs of images, and which of them are pairs, `[B, C]`."""

  codes: np.ndarray  # of its rows, [B]
  distances: np.ndarray
  same: np.ndarray
  different: np.ndarray


def pair_tiles(images: ImageSet, *, own: bool = False) -> Iterator[PairTile]:
  """Every unordered pair once; where `own`, only tiles with same pairs."""
  rows, codes, distance_fn = images
  edge = tile_edge(rows.size)
  for start, count in starts(rows.size, edge):
    of_rows = codes[start : start + count]
    for begin, many in starts(rows.size, edge):
      of_columns = codes[begin : begin + many]
      if begin < start or (own and of_columns[0] > of_rows[-1]):
        continue
      tile = distance_tile(
        rows, rows, start, begin, edge, edge, distance_fn=distance_fn
      )
      equal = of_rows[:, None] == of_columns[None, :]
      pair = np.ones((count, many), bool)
      if begin == start:
        pair = np.triu(pair, 1)
      distances = np.asarray(tile)[:count, :many]
      yield PairTile(of_rows, distances, equal & pair, ~equal & pair)


def same_pairs(images: ImageSet) -> tuple[np.ndarray, np.ndarray]:
  """Distance and identity of all same pairs, nearest first, `[S]`."""
  distances, identities = [np.zeros(0, np.float32)], [np.zeros(0, np.int32)]
  for tile in pair_tiles(images, own=True):
    distances.append(tile.distances[tile.same])
    identities.append(tile.codes[np.nonzero(tile.same)[0]])
  found = np.concatenate(distances)
  order = np.argsort(found, kind="stable")
  return found[order], np.concatenate(identities)[order]


def count_different(
  images: ImageSet, same: np.ndarray, drawn: np.ndarray
) -> tuple[curves.SamePairs | None, np.ndarray, float]:
  """Counts different pairs against the same ones, and takes the drawn ones.

  Args:
    images: the set.
    same: distances of same pairs, ascending, `[S]`.
    drawn: numbers of different pairs, in the order of tiles, ascending.

  Returns:
    The counts, None where a distance is NaN; distances of the drawn pairs; the
    sum of all distances of different pairs.
  """
  below, upto = (np.zeros(len(same), np.int64) for _ in range(2))
  seen, total, broken = 0, 0.0, bool(np.isnan(same).any())
  taken: list[np.ndarray] = [np.zeros(0, same.dtype)]
  waiting: list[np.ndarray] = []

  def counted(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    values.sort()
    return (
      np.searchsorted(values, same, "left"),
      np.searchsorted(values, same, "right"),
    )

  with ThreadPoolExecutor(os.cpu_count()) as threads:
    running: list[Future] = []

    def add(most: int) -> None:
      while len(running) > most:
        one, other = running.pop(0).result()
        below[:] += one
        upto[:] += other

    def flush() -> None:
      if waiting:
        running.append(threads.submit(counted, np.concatenate(waiting)))
        waiting.clear()

    for tile in pair_tiles(images):
      values = tile.distances[tile.different]
      total += float(values.sum(dtype=np.float64))
      here = slice(*np.searchsorted(drawn, [seen, seen + len(values)]))
      taken.append(values[drawn[here] - seen])
      seen += len(values)
      waiting.append(values)
      if sum(map(len, waiting)) >= SORTED:
        flush()
        # Sorting keeps up with the distances, or these wait for it.
        add(os.cpu_count() or 1)
    flush()
    add(0)
  # A sum of NaN is NaN; so is that of both infinities, which no distance has.
  broken |= bool(np.isnan(total))
  pairs = None if broken else curves.SamePairs(same, below, upto, seen)
  return pairs, np.concatenate(taken), total


def _draw(rng: np.random.Generator, total: int, count: int) -> np.ndarray:
  """`count` of the numbers below `total`, ascending, without repetition.

  In memory of `count`, not of `total`.
  """
  if 2 * count > total:
    left_out = np.ones(total, bool)
    left_out[_draw(rng, total, total - count)] = False
    return np.flatnonzero(left_out)
  found = np.zeros(0, np.int64)
  while len(found) < count:
    more = rng.integers(0, total, 2 * (count - len(found)))
    found = distinct(np.concatenate([found, more]))
  return np.sort(rng.choice(found, count, replace=False))


def _over_identities(
  identity: np.ndarray, accepted: int, *, resamples: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
  """Interval of the share accepted, identities drawn with replacement."""
  _, codes = np.unique(identity, return_inverse=True)
  totals = np.bincount(codes)
  found = np.bincount(codes[:accepted], minlength=len(totals))
  if len(totals) < 2:
    return np.array([np.nan]), np.array([np.nan])
  return resampled_ratios(
    found[:, None], totals[:, None], resamples=resamples, seed=seed
  )
