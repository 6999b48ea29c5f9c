"""What is before each match where a set asks for itself, each pair once.

The queries are cut into blocks and the gallery, which is the same, into strips
of some blocks; each pair of a block and a strip is one program on one core
(`strips.py`), and all cores have one.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from tripletjax.metrics.blocks import one_ahead, tile_edge
from tripletjax.metrics.counts import (
  Counts,
  no_counts,
  padded,
  width_of,
)
from tripletjax.metrics.matches import (
  Matches,
  Search,
  own_matches,
)
from tripletjax.metrics.strips import (
  COLUMNS,
  Ends,
  Side,
  Tiles,
  count_strip,
)

# Blocks of a strip.
STRIP = 16
# Below this no sum of squares overflows, and no distance is NaN.
_LARGEST = 1e15


class Block(NamedTuple):
  """Queries that are counted together.

  Attributes:
    start: the place of the first one.
    size: how many there are.
    own: their matches.
    width: number of thresholds that is compiled for.
    found: what is before each match, of what was counted so far.
  """

  start: int
  size: int
  own: Matches
  width: int
  found: Counts


def is_countable(search: Search) -> bool:
  """Whether query and gallery are the same and no distance can be NaN."""
  embeddings = search.query.embeddings
  # A NaN isn't less than anything.
  return search.symmetric and bool(
    np.max(np.abs(embeddings), initial=0) < _LARGEST
  )


def count_once(
  search: Search, *, first: bool
) -> list[tuple[int, Matches, Counts]]:
  """Where each block starts, its matches, and what is before these."""
  edge = tile_edge(search.query.size)

  def block_of(run: tuple[int, int]) -> Block:
    own = own_matches(search, *run, edge, first=first)
    found = no_counts(*own.thresholds.distance.shape)
    found.seen[:] = own.others
    return Block(*run, own, width_of(found.before.shape[1]), found)

  with ThreadPoolExecutor(os.cpu_count()) as threads:
    blocks = list(threads.map(block_of, _runs(search.query_codes, edge)))
    # While the last blocks are counted against a strip, the next one starts.
    for counted in one_ahead(
      lambda numbers: _count_strip(search, blocks, numbers, edge, threads),
      _strips([block.width for block in blocks]),
    ):
      counted()
  return [(block.start, block.own, block.found) for block in blocks]


def _runs(codes: np.ndarray, edge: int) -> Iterator[tuple[int, int]]:
  """First place and number of each run of at most `edge` queries.

  A run ends where an identity does, if its last one is small: the matches are
  then in the run itself, and in one tile.

  >>> list(_runs(np.array([0, 0, 0, 1, 1, 1, 2, 2, 2]), 8))
  [(0, 6), (6, 3)]
  >>> list(_runs(np.zeros(9, np.int32), 8))
  [(0, 8), (8, 1)]
  """
  start = 0
  while start < len(codes):
    stop = min(start + edge, len(codes))
    if stop < len(codes):
      begin = int(np.searchsorted(codes, codes[stop], "left"))
      if stop - begin < edge // 2 and begin > start:
        stop = begin
    yield start, stop - start
    start = stop


def _strips(widths: Sequence[int]) -> Iterator[range]:
  """Runs of blocks beside each other that have as many thresholds.

  >>> list(_strips([1, 1, 2]))
  [range(0, 2), range(2, 3)]
  """
  start = 0
  for stop in range(1, len(widths) + 1):
    if (
      stop == len(widths)
      or stop - start == STRIP
      or widths[stop] != widths[start]
    ):
      yield range(start, stop)
      start = stop


def _count_strip(
  search: Search,
  blocks: Sequence[Block],
  numbers: range,
  edge: int,
  threads: ThreadPoolExecutor,
) -> Callable[[], None]:
  """Starts counting the blocks of a strip against all up to its last one.

  Returns:
    What waits for the counts, and adds them.
  """
  columns = min(COLUMNS, edge)
  strip = _beside([_side(search, blocks[j], edge) for j in numbers])
  size = len(strip.codes)
  across = _across([_ends(blocks[j], edge) for j in numbers], size)

  def count(i: int) -> list[np.ndarray]:
    counted = count_strip(
      _side(search, blocks[i], edge),
      Ends(*map(jnp.asarray, _ends(blocks[i], edge))),
      strip,
      across,
      _tiles(search, blocks, i, numbers, edge, columns),
      columns=columns,
      distance_fn=search.distance_fn,
    )
    return [np.asarray(of_side) for of_side in counted]

  # Each program keeps one core busy.
  counted = threads.map(count, range(numbers.stop))

  def add_counts() -> None:
    for i, (rows, strips) in enumerate(counted):
      _add(blocks[i], rows)
      for place, j in enumerate(numbers):
        if i < j:
          _add(blocks[j], strips[:, place * edge : (place + 1) * edge].T)

  return add_counts


def _add(block: Block, counted: np.ndarray) -> None:
  rows, width = block.found.before.shape
  block.found.before[:] += counted[:rows, :width]


def _side(search: Search, block: Block, edge: int) -> Side:
  """A block on the device."""
  places = slice(block.start, block.start + block.size)
  order = search.query.order[places]
  rows = np.asarray(search.query.embeddings[order])
  missing = ((0, edge - block.size), (0, 0))
  return Side(
    jnp.asarray(np.pad(rows, missing, constant_values=np.nan)),
    jnp.asarray(padded(search.query_codes[places], edge, -1)),
    jnp.asarray(padded(order.astype(np.int32), edge, 0)),
  )


def _ends(block: Block, edge: int) -> tuple[np.ndarray, np.ndarray]:
  """The matches of a block, `[edge, width]`, NaN and 0 where there are none."""
  distance, entry = block.own.thresholds
  there = slice(len(distance)), slice(distance.shape[1])
  ends = (
    np.full((edge, block.width), np.nan, distance.dtype),
    np.zeros((edge, block.width), np.int32),
  )
  ends[0][there], ends[1][there] = distance, entry
  return ends


def _across(ends: Sequence[tuple], size: int) -> Ends:
  """The matches of some blocks across a strip, `[width, size]`."""
  distance, entry = (
    np.concatenate([end.T for end in of_kind], axis=1)
    for of_kind in zip(*ends, strict=True)
  )
  missing = ((0, 0), (0, size - distance.shape[1]))
  return Ends(
    jnp.asarray(np.pad(distance, missing, constant_values=np.nan)),
    jnp.asarray(np.pad(entry, missing)),
  )


def _beside(sides: Sequence[Side]) -> Side:
  """Blocks as one strip, of so many tiles that few programs are compiled."""
  length = min(STRIP, 1 << (len(sides) - 1).bit_length())
  whole = [*sides, *[sides[-1]] * (length - len(sides))]
  return Side(*(jnp.concatenate(part) for part in zip(*whole, strict=True)))


def _tiles(
  search: Search,
  blocks: Sequence[Block],
  i: int,
  numbers: range,
  edge: int,
  columns: int,
) -> Tiles:
  """The tiles that a block has in a strip: none that were counted before."""
  many = edge // columns
  own = i - numbers.start
  stop = (len(numbers) - 1) * many + -(-blocks[numbers[-1]].size // columns)
  # Identities are in order: the block's last one ends here.
  code = search.query_codes[blocks[i].start + blocks[i].size - 1]
  ends = int(np.searchsorted(search.query_codes, code, "right"))
  apart = 0
  for place, j in enumerate(numbers):
    if blocks[j].start < ends:
      inside = min(ends - blocks[j].start, blocks[j].size)
      apart = place * many + -(-inside // columns)
  first = min(max(own, 0) * many, stop)
  found = (first, max(own + 1, 0) * many, max(apart, first), stop)
  return Tiles(*map(jnp.int32, found))
