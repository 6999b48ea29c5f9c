"""How many distances of a row come before given ones, ties by index.

An entry comes before a match when it is nearer, or as near and of a lower
index. Equal distances are common (float32 has few values; images have
duplicates), so a tile is counted with < and with <= in one pass, and where the
two differ the row is looked at again.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int

from tripletjax.folds import count_where, kept

# Rows with ties that are looked at together.
TIED_ROWS = 1024
# Rows that are sorted together by a thread.
SORTED_ROWS = 16
_HALF = 1 << 16
# Numbers of thresholds that are compiled for.
_WIDTHS = (1, 2, 4, 6, 9, 12, 16, 24, 32, 40, 52)


class Thresholds(NamedTuple):
  """The matches of a block of queries, nearest first.

  Attributes:
    distance: ascending, `[B, r]`; NaN where a query has fewer matches.
    entry: the index of the match in the gallery, `[B, r]`.
  """

  distance: np.ndarray
  entry: np.ndarray


class Counts(NamedTuple):
  """What is before each match, of what was counted so far.

  Attributes:
    before: number of entries, `[B, r]`, int64.
    seen: entries whose distance is a number, `[B]`, int64.
  """

  before: np.ndarray
  seen: np.ndarray


def no_counts(rows: int, width: int) -> Counts:
  """Counts of nothing."""
  return Counts(np.zeros((rows, width), np.int64), np.zeros(rows, np.int64))


def without_own(
  distances: jax.Array, row_codes: np.ndarray, column_codes: np.ndarray
) -> jax.Array:
  """Distances with NaN where row and column have one code."""
  rows, columns = distances.shape
  return _without_own(
    distances, padded(row_codes, rows, -1), padded(column_codes, columns, -2)
  )


def turned(distances: jax.Array) -> jax.Array:
  """The transpose, laid out as such: counting needs rows."""
  return _turned(distances)


def count_edges(thresholds: Thresholds, rows: int) -> jax.Array:
  """The thresholds as `start_count` takes them, on the device.

  Args:
    thresholds: of at most `rows` rows.
    rows: of the tiles.
  """
  return jnp.asarray(_edges(thresholds, rows))


def start_count(edges: jax.Array, distances: jax.Array) -> jax.Array:
  """Starts counting a tile, and doesn't wait for it.

  Args:
    edges: from `count_edges`.
    distances: `[rows, columns]`, NaN where an entry doesn't take part.
  """
  return _count(distances, edges)


def finish_count(
  thresholds: Thresholds,
  distances: jax.Array,
  indices: np.ndarray,
  counted: jax.Array,
) -> Counts:
  """What a tile of distances has before each match.

  Args:
    thresholds: of `B` rows, at most the tile's.
    distances: the tile.
    indices: of the columns in the gallery.
    counted: from `start_count`.
  """
  rows, width = thresholds.distance.shape
  below, upto = _split(counted)
  before = below[:rows, :width].astype(np.int64)
  row, match = np.nonzero(upto[:rows, :width] > below[:rows, :width])
  indices = padded(indices, distances.shape[1], np.iinfo(np.int64).max)
  for start in range(0, len(row), TIED_ROWS):
    i, k = row[start : start + TIED_ROWS], match[start : start + TIED_ROWS]
    taken = 1 << (len(i) - 1).bit_length()
    of_rows = np.asarray(_take(distances, padded(i, taken, 0)))[: len(i)]
    tied = of_rows == thresholds.distance[i, k][:, None]
    tied &= indices[None, :] < thresholds.entry[i, k][:, None]
    before[i, k] += tied.sum(axis=1)
  return Counts(before, upto[:rows, -1].astype(np.int64))


def add(counts: Counts, more: Counts) -> None:
  """Adds to the counts, in place."""
  counts.before[:] += more.before
  counts.seen[:] += more.seen


def add_rows(
  counts: Counts,
  thresholds: Thresholds,
  distances: np.ndarray,
  indices: np.ndarray,
  *,
  most: int | None = None,
) -> None:
  """As `count_tile`, added, by sorting each row on the host.

  On a CPU this is what is faster for many matches a row: NumPy sorts by vector
  instructions, XLA doesn't.

  Args:
    counts: what the others had.
    thresholds: of as many rows.
    distances: `[B, columns]`, NaN where an entry doesn't take part.
    indices: of the columns in the gallery.
    most: a count of so many or more may become any of so many or more: then
      only these are sorted.
  """

  def some(rows: slice) -> None:
    values, ends = distances[rows], thresholds.distance[rows]
    nearest = values
    if most is not None and most < values.shape[1]:
      nearest = np.partition(values, most - 1, axis=1)[:, :most]
    # NaN comes last; the two zeros are one value.
    in_order = np.sort(nearest, axis=1)
    places = [
      np.searchsorted(row, end) for row, end in zip(in_order, ends, strict=True)
    ]
    before = np.stack(places)
    last = in_order.shape[1] - 1
    found = np.take_along_axis(in_order, np.minimum(before, last), axis=1)
    for i, k in zip(*np.nonzero(found == ends), strict=True):
      tied = values[i] == ends[i, k]
      before[i, k] += np.sum(indices[tied] < thresholds.entry[rows][i, k])
    counts.before[rows] += before
    counts.seen[rows] += np.sum(~np.isnan(values), axis=1)

  in_threads(some, len(distances))


def in_threads(of_rows: Callable[[slice], None], count: int) -> None:
  """Calls a function for all runs of `SORTED_ROWS` rows, on all cores.

  Threads that call NumPy a few times for many rows don't wait for each other.
  """
  runs = [
    slice(start, start + SORTED_ROWS) for start in range(0, count, SORTED_ROWS)
  ]
  with ThreadPoolExecutor(os.cpu_count()) as threads:
    list(threads.map(of_rows, runs))


def sort_keys(values: np.ndarray, indices: np.ndarray) -> np.ndarray:
  """Integers in the order of (value, index), NaN last, uint64.

  Sorting these is several times faster than sorting indices by value.

  Args:
    values: float32.
    indices: below 2^32, of a shape that broadcasts.
  """
  # -0.0 + 0.0 is 0.0: the two zeros are one value.
  bits = (values + np.float32(0)).view(np.int32)
  # As integers, negative floats are in the reverse order.
  ordered = bits ^ ((bits >> 31) & np.int32(0x7FFFFFFF))
  keys = ordered.astype(np.int64) + (1 << 31)
  keys[np.isnan(values)] = (1 << 32) - 1
  return (keys.astype(np.uint64) << np.uint64(32)) | indices.astype(np.uint64)


def width_of(thresholds: int) -> int:
  """How many thresholds are counted: few numbers, for few compilations."""
  wide = 64 * (thresholds // 64 + 1)
  return next((w for w in _WIDTHS if w >= thresholds), wide)


def _edges(thresholds: Thresholds, rows: int) -> np.ndarray:
  """The thresholds, padded for few compilations, and +inf as the last."""
  distance = thresholds.distance
  width = distance.shape[1]
  edges = np.full((rows, width_of(width + 1)), np.nan, distance.dtype)
  edges[: len(distance), :width] = distance
  edges[:, -1] = np.inf
  return edges


@jax.jit
def _count(
  distances: Float[Array, "a r"], edges: Float[Array, "a s"]
) -> Int[Array, "a s"]:
  """Numbers below an edge, and 2^16 times those at or below it."""

  def both(value: jax.Array, edge: jax.Array) -> jax.Array:
    below = (value < edge).astype(jnp.int32)
    return below + _HALF * (value <= edge).astype(jnp.int32)

  def in_lanes(values: jax.Array, edges: jax.Array) -> jax.Array:
    return count_where(values, edges, both)

  def at_once(values: jax.Array, edges: jax.Array) -> jax.Array:
    return jnp.sum(both(values[:, None, :], edges[:, :, None]), axis=2)

  return lax.platform_dependent(
    kept(distances), edges, cpu=in_lanes, default=at_once
  )


def _split(packed: jax.Array) -> tuple[np.ndarray, np.ndarray]:
  both = np.asarray(packed)
  return both & (_HALF - 1), both >> 16


@jax.jit
def _without_own(
  distances: jax.Array, row_codes: jax.Array, column_codes: jax.Array
) -> jax.Array:
  own = row_codes[:, None] == column_codes[None, :]
  return jnp.where(own, jnp.nan, distances)


@jax.jit
def _turned(distances: jax.Array) -> jax.Array:
  return distances.T


@jax.jit
def _take(distances: jax.Array, rows: jax.Array) -> jax.Array:
  return distances[rows]


def padded(values: np.ndarray, count: int, fill: int) -> np.ndarray:
  """Values `[n]` with as many of another behind them as make `count`."""
  return np.pad(values, (0, count - len(values)), constant_values=fill)
