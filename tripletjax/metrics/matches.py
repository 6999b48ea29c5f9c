"""A search, and where each query's own identity lies in its gallery."""

from __future__ import annotations

from typing import NamedTuple

import jax
import numpy as np

from tripletjax.metrics.blocks import Rows, distance_tile, tile_edge
from tripletjax.metrics.counts import (
  Thresholds,
  in_threads,
  sort_keys,
  without_own,
)
from tripletjax.types import DistanceFn


class Search(NamedTuple):
  """Queries and a gallery, each in the order of its identities.

  Attributes:
    query: embeddings `[Q, D]` with their order.
    gallery: embeddings `[G, D]` with their order.
    query_codes: identities in that order, `[Q]`, ascending.
    gallery_codes: likewise, `[G]`.
    keys: pairs of integers in that order, `[Q]` and `[G]`: an entry of a
      query's own identity isn't there for it where the two are equal.
    distance_fn: distances.
    symmetric: query and gallery are the same, and so are d(x, y) and d(y, x).
  """

  query: Rows
  gallery: Rows
  query_codes: np.ndarray
  gallery_codes: np.ndarray
  keys: tuple[tuple[np.ndarray, np.ndarray], ...]
  distance_fn: DistanceFn
  symmetric: bool


class Matches(NamedTuple):
  """The entries of a block of queries' own identities.

  Attributes:
    thresholds: the matches, nearest first.
    matches: how many there are, `[B]`; may be more than there are thresholds.
    others: how many entries are of other identities, `[B]`.
    broken: whether a distance to an own entry is NaN, `[B]`.
  """

  thresholds: Thresholds
  matches: np.ndarray
  others: np.ndarray
  broken: np.ndarray


def own_matches(
  search: Search, start: int, count: int, edge: int, *, first: bool
) -> Matches:
  """Distances to the entries of each query's own identity."""
  codes = search.query_codes[start : start + count]
  low = np.searchsorted(search.gallery_codes, codes, "left")
  high = np.searchsorted(search.gallery_codes, codes, "right")
  widest = max(1, int(np.max(high - low, initial=0)))
  distances = _gathered(search, start, edge, low, high, widest)
  column = low[:, None] + np.arange(widest)[None, :]
  there = column < high[:, None]
  column = np.where(there, column, 0)
  broken = np.any(there & np.isnan(distances), axis=1)
  for of_query, of_gallery in search.keys:
    there &= of_gallery[column] != of_query[start : start + count, None]
  distances[~there] = np.nan
  matches = there.sum(axis=1)
  width = 1 if first else max(1, int(matches.max()))
  nearest = _nearest(distances, width)
  thresholds = Thresholds(
    np.take_along_axis(distances, nearest, axis=1),
    search.gallery.order[np.take_along_axis(column, nearest, axis=1)],
  )
  others = search.gallery.size - (high - low)
  return Matches(thresholds, matches, others, np.asarray(broken))


def _gathered(
  search: Search,
  start: int,
  edge: int,
  low: np.ndarray,
  high: np.ndarray,
  widest: int,
) -> np.ndarray:
  """Distances `[B, widest]` to the columns from `low` to `high` of each row."""
  found = np.full((len(low), widest), np.nan, np.float32)
  first = np.flatnonzero(np.diff(low, prepend=-1) | np.diff(high, prepend=-1))
  ends = np.append(first[1:], len(low))
  columns = tile_edge(search.gallery.size)
  base = int(np.min(low, initial=search.gallery.size))
  number, tile = -1, np.zeros((0, 0))
  for top, bottom in zip(first, ends, strict=True):
    begin, end = int(low[top]), int(high[top])
    at = begin
    while at < end:
      if (at - base) // columns != number:
        number = (at - base) // columns
        left = base + number * columns
        tile = np.asarray(_tile(search, start, edge, left, columns))
        found = found.astype(tile.dtype, copy=False)
      stop = min(end, left + columns)
      here = slice(at - left, stop - left)
      found[top:bottom, at - begin : stop - begin] = tile[top:bottom, here]
      at = stop
  return found


def _nearest(distances: np.ndarray, width: int) -> np.ndarray:
  """Columns of the smallest of each row, in their order, the first of equals.

  The gallery's order is that of its indices within an identity.
  """
  if width == 1:
    least = np.where(np.isnan(distances), np.inf, distances).argmin(axis=1)
    if np.isfinite(distances[np.arange(len(least)), least]).all():
      return least[:, None]
  if distances.dtype != np.float32:
    return np.argsort(distances, axis=1, kind="stable")[:, :width]
  found = np.empty((len(distances), width), np.int64)
  column = np.arange(distances.shape[1])[None, :]

  def some(rows: slice) -> None:
    keys = sort_keys(distances[rows], column)
    keys.sort(axis=1)
    found[rows] = keys[:, :width] & np.uint64(0xFFFFFFFF)

  in_threads(some, len(distances))
  return found


def others_tile(
  search: Search, start: int, count: int, begin: int, many: int, edge: int
) -> jax.Array:
  """A tile of distances, NaN at the entries of each query's own identity."""
  tile = _tile(search, start, edge, begin, tile_edge(search.gallery.size))
  rows = search.query_codes[start : start + count]
  columns = search.gallery_codes[begin : begin + many]
  if rows[0] <= columns[-1] and columns[0] <= rows[-1]:
    return without_own(tile, rows, columns)
  return tile


def _tile(
  search: Search, start: int, rows: int, begin: int, columns: int
) -> jax.Array:
  return distance_tile(
    search.query,
    search.gallery,
    start,
    begin,
    rows,
    columns,
    distance_fn=search.distance_fn,
  )
