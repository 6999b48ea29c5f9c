"""What the metrics share: checks, labels as codes, and tiles of distances."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from tripletjax.types import DistanceFn

_In = TypeVar("_In")
_Out = TypeVar("_Out")

# Rows and columns of a tile of distances. One of 1,024 x 1,024 stays in a CPU's
# cache between the product and the counting; an accelerator wants more at once.
TILE = 1024
ACCELERATOR_TILE = 8192


def check_host(embeddings: ArrayLike, name: str) -> np.ndarray | jax.Array:
  """Embeddings where they are, or an error that names them.

  A NumPy array (or a memory map) stays on the host and goes to the device a
  block at a time, so that it may be larger than the device's memory.

  Raises:
    TypeError: the embeddings are not floating.
    ValueError: the shape is not `[count, dimension]`.
  """
  array = embeddings
  if not isinstance(array, jax.Array) or jax.default_backend() == "cpu":
    array = np.asarray(array)
  if not jnp.issubdtype(array.dtype, jnp.floating):
    raise TypeError(f"expected {name} to be floating, got {array.dtype}")
  if array.ndim != 2:
    raise ValueError(
      f"expected {name} of shape [count, dimension], got shape {array.shape}"
    )
  return array


def check_labels(labels: ArrayLike, count: int, name: str) -> np.ndarray:
  """Labels as a NumPy array `[count]`, or an error that names them.

  They stay on the host, where int64 identities aren't cut to 32 bits.

  Raises:
    TypeError: the labels are not integer.
    ValueError: the shape is not `[count]`.
  """
  array = np.asarray(labels)
  if not np.issubdtype(array.dtype, np.integer):
    raise TypeError(f"expected {name} to be integer, got {array.dtype}")
  if array.shape != (count,):
    raise ValueError(
      f"expected {name} of shape ({count},) like its embeddings, "
      f"got shape {array.shape}"
    )
  return array


def check_same_dimension(
  gallery: np.ndarray | jax.Array,
  query: np.ndarray | jax.Array,
  name: str = "gallery",
  like: str = "query",
) -> None:
  """Raises a `ValueError` unless both have as many dimensions."""
  if gallery.shape[1] != query.shape[1]:
    raise ValueError(
      f"expected {name} with {query.shape[1]} dimensions like {like}, "
      f"got {gallery.shape[1]}"
    )


def encode(*labels: np.ndarray) -> list[np.ndarray]:
  """Codes 0, 1, ... for the labels of several arrays, int32."""
  _, codes = np.unique(np.concatenate(labels), return_inverse=True)
  ends = np.cumsum([len(of_one) for of_one in labels])
  return np.split(codes.astype(np.int32), ends[:-1])


def distinct(values: np.ndarray) -> np.ndarray:
  """As `np.unique`, by sorting: that hashes, ten times slower for millions.

  >>> distinct(np.array([3, 1, 3]))
  array([1, 3])
  """
  in_order = np.sort(values)
  return in_order[np.append(True, in_order[1:] != in_order[:-1])[: len(values)]]


class Rows(NamedTuple):
  """Embeddings, taken in an order of their own.

  Attributes:
    embeddings: `[N, D]`, on the host or the device.
    order: which embedding is at each place, `[N]`.
  """

  embeddings: np.ndarray | jax.Array
  order: np.ndarray

  @property
  def size(self) -> int:
    """How many there are."""
    return len(self.order)


def in_order(embeddings: np.ndarray | jax.Array) -> Rows:
  """Embeddings in the order in which they are."""
  return Rows(embeddings, np.arange(len(embeddings)))


def tile_edge(count: int, *, limit: int | None = None) -> int:
  """Rows or columns of the tiles that `count` embeddings are cut into.

  The same for similar counts, so that these share a compilation.

  >>> tile_edge(5), tile_edge(300), tile_edge(60000)
  (64, 512, 1024)
  """
  if limit is None:
    limit = TILE if jax.default_backend() == "cpu" else ACCELERATOR_TILE
  return min(limit, max(64, 1 << max(count - 1, 0).bit_length()))


def starts(count: int, edge: int) -> Iterator[tuple[int, int]]:
  """First place and number of each run of at most `edge` embeddings.

  >>> list(starts(5, 2))
  [(0, 2), (2, 2), (4, 1)]
  """
  for start in range(0, count, edge):
    yield start, min(edge, count - start)


def one_ahead(
  launch: Callable[[_In], _Out], items: Iterable[_In]
) -> Iterator[_Out]:
  """What is launched for each item; the next one before this is used.

  The device works on the next while the host finishes this one.

  >>> list(one_ahead(lambda x: 10 * x, [1, 2, 3]))
  [10, 20, 30]
  """
  waiting: list[_Out] = []
  for item in items:
    waiting.append(launch(item))
    if len(waiting) > 1:
      yield waiting.pop(0)
  yield from waiting


def distance_tile(
  x: Rows,
  y: Rows,
  x_start: int,
  y_start: int,
  x_edge: int,
  y_edge: int,
  *,
  distance_fn: DistanceFn,
) -> jax.Array:
  """Distances `[x_edge, y_edge]` of two runs of embeddings.

  Always a program of its own: where the same pair is needed twice, it has the
  same bits twice. Columns beyond the last embedding are NaN; rows beyond it
  repeat the last.
  """
  return masked_distances(
    _run(x, x_start, x_edge),
    _run(y, y_start, y_edge),
    np.int32(y.size - y_start),
    distance_fn=distance_fn,
  )


def _run(rows: Rows, start: int, edge: int) -> jax.Array:
  places = np.minimum(np.arange(start, start + edge), rows.size - 1)
  return jnp.asarray(rows.embeddings[rows.order[places]])


@functools.partial(jax.jit, static_argnames=("distance_fn",))
def masked_distances(
  x: jax.Array, y: jax.Array, real: ArrayLike, *, distance_fn: DistanceFn
) -> jax.Array:
  """Distances of all rows, with NaN in the columns from `real` on."""
  distances = distance_fn(x, y)
  column = jnp.arange(y.shape[0], dtype=jnp.int32)[None, :]
  return jnp.where(column < real, distances, jnp.nan)
