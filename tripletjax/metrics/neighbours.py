"""What is nearest to a query in a gallery, exactly, a block at a time."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from tripletjax.distances import resolve_distance
from tripletjax.metrics.blocks import (
  check_host,
  check_same_dimension,
  masked_distances,
  one_ahead,
  starts,
  tile_edge,
)
from tripletjax.metrics.counts import sort_keys
from tripletjax.types import DistanceFn

# Distances of a tile. On a CPU it should stay in the cache.
_HELD = 1 << 20
_ACCELERATOR_HELD = 1 << 26


def nearest(
  query: ArrayLike,
  gallery: ArrayLike,
  *,
  k: int,
  distance: str | DistanceFn = "squared_euclidean",
) -> tuple[np.ndarray, np.ndarray]:
  """The k nearest entries of a gallery; ties rank by index.

  A tile of distances is held at a time, and of each query the k nearest so far:
  what isn't nearer than the last of these is passed over by one comparison.

  Args:
    query: embeddings, `[Q, D]`, floating.
    gallery: embeddings, `[G, D]`, floating; a NumPy array or memory map goes to
      the device a block at a time.
    k: how many, in 1..G.
    distance: a name from `DISTANCES`, or a function of `x` and `y`.

  Returns:
    Indices `[Q, k]`, int64, and distances `[Q, k]`, float32, the nearest first;
    a distance of NaN is farthest.

  Raises:
    TypeError: the embeddings are not floating.
    ValueError: a shape doesn't fit, or k is out of its range.

  >>> points = np.array([[0.0], [3.0], [1.0], [1.0]])
  >>> nearest(np.array([[0.4]]), points, k=3)[0].tolist()
  [[0, 2, 3]]
  """
  x, y = check_host(query, "query"), check_host(gallery, "gallery")
  check_same_dimension(y, x)
  if not 1 <= k <= len(y):
    raise ValueError(f"expected k from 1 to {len(y)} of the gallery, got {k}")
  distance_fn = resolve_distance(distance)
  found = [np.empty((0, k), np.uint64)]
  edge = tile_edge(len(x))
  for start, count in starts(len(x), edge):
    rows = _padded(x[start : start + count], edge)
    found.append(_search(rows, y, count, k, distance_fn))
  keys = np.concatenate(found)
  return (keys & np.uint64(0xFFFFFFFF)).astype(np.int64), _values(keys)


def _search(
  rows: jax.Array,
  gallery: np.ndarray | jax.Array,
  count: int,
  k: int,
  distance_fn: DistanceFn,
) -> np.ndarray:
  """The k smallest sort keys of each query, ascending, uint64 `[count, k]`."""
  held = _HELD if jax.default_backend() == "cpu" else _ACCELERATOR_HELD
  edge = tile_edge(len(gallery), limit=held // len(rows))

  def launch(run: tuple[int, int]) -> tuple[int, int, jax.Array]:
    begin, many = run
    columns = _padded(gallery[begin : begin + many], edge)
    tile = masked_distances(
      rows, columns, np.int32(many), distance_fn=distance_fn
    )
    return begin, many, tile

  best = np.empty((count, 0), np.uint64)
  for begin, many, tile in one_ahead(launch, starts(len(gallery), edge)):
    values = np.asarray(tile, np.float32)[:count, :many]
    if best.shape[1] < k:
      best = _merged(best, sort_keys(values, begin + np.arange(many)), k)
      continue
    # Of equal ones the first are kept: later columns have to be nearer. Beside
    # a last one that is NaN nothing is passed over.
    last = _values(best[:, -1:])
    row, column = np.nonzero(~(values >= last) if _nan(last) else values < last)
    if len(row):
      keys = sort_keys(values[row, column], begin + column)
      best = _merged(best, _in_rows(row, keys, count), k)
  return best


def _nan(values: np.ndarray) -> bool:
  return bool(np.isnan(values).any())


def _merged(best: np.ndarray, more: np.ndarray, k: int) -> np.ndarray:
  both = np.concatenate([best, more], axis=1)
  if both.shape[1] > k:
    both = np.partition(both, k - 1, axis=1)[:, :k]
  return np.sort(both, axis=1)


def _in_rows(row: np.ndarray, keys: np.ndarray, count: int) -> np.ndarray:
  """Keys of rows, ascending, side by side: `[count, most of a row]`."""
  sizes = np.bincount(row, minlength=count)
  place = np.arange(len(row)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
  found = np.full((count, int(sizes.max())), np.iinfo(np.uint64).max)
  found[row, place] = keys
  return found


def _values(keys: np.ndarray) -> np.ndarray:
  """The distances of sort keys, float32."""
  ordered = ((keys >> np.uint64(32)).astype(np.int64) - (1 << 31)).astype(
    np.int32
  )
  bits = ordered ^ ((ordered >> 31) & np.int32(0x7FFFFFFF))
  return bits.view(np.float32)


def _padded(rows: np.ndarray | jax.Array, count: int) -> jax.Array:
  missing = count - len(rows)
  if missing:
    rows = np.pad(np.asarray(rows), ((0, missing), (0, 0)))
  return jnp.asarray(rows)
