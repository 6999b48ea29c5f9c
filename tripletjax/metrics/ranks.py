"""Ranks of each query's matches in a gallery, exactly, a block at a time.

Every score of a ranking follows from the ranks of the matches alone, and a rank
is 1 + nearer matches + nearer entries of other identities: no list of
neighbours is kept. Query and gallery are taken in the order of their
identities: a query's matches then lie in few tiles of distances, which are
looked at first; then all tiles are counted against the distances of the
matches.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import jax
import numpy as np

from tripletjax.metrics.blocks import one_ahead, starts, tile_edge
from tripletjax.metrics.counts import (
  Counts,
  add,
  add_rows,
  count_edges,
  finish_count,
  no_counts,
  start_count,
)
from tripletjax.metrics.matches import (
  Matches,
  Search,
  others_tile,
  own_matches,
)
from tripletjax.metrics.symmetric import count_once, is_countable

# Distances to entries of one's own identity that are held at once.
OWN_ENTRIES = 1 << 22
# Distances that are held at once where rows are sorted.
SORTED_ENTRIES = 1 << 24
# Up to so many matches a query, comparing each distance with each of them is
# faster on a CPU than sorting the row (measured: docs/evaluation.md).
COUNTED = 48


class Ranks(NamedTuple):
  """Where the matches of a block of queries stand.

  Attributes:
    queries: which they are, `[B]`.
    rank: from 1, ascending, `[B, r]`; 0 where a query has fewer matches.
    matches: how many there are, `[B]`; may be more than `r`.
    nearest: distance of the nearest match, `[B]`; NaN without one.
    broken: whether a distance to the gallery is NaN, `[B]`.
  """

  queries: np.ndarray
  rank: np.ndarray
  matches: np.ndarray
  nearest: np.ndarray
  broken: np.ndarray


def match_ranks(
  search: Search, *, first: bool = False, within: int | None = None
) -> Iterator[Ranks]:
  """Ranks of the matches, a block of queries after the other.

  Args:
    search: queries and gallery.
    first: only the first match of each query.
    within: ranks beyond both this and the number of a query's matches may be
      given as any others beyond; when None, all are exact.
  """
  sizes = _own_sizes(search)
  width = 1 if first else int(np.max(sizes, initial=1))
  if width <= COUNTED and _on_cpu() and is_countable(search):
    for start, own, counts in count_once(search, first=first):
      yield _ranks(search, start, (own, counts))
    return
  for start, count in _blocks(sizes, search.gallery.size, first=first):
    found = _of_block(search, start, count, first=first, within=within)
    yield _ranks(search, start, found)


def _of_block(
  search: Search, start: int, count: int, *, first: bool, within: int | None
) -> tuple[Matches, Counts]:
  """What is before the matches of some queries."""
  edge = tile_edge(count)
  own = own_matches(search, start, count, edge, first=first)
  width = own.thresholds.distance.shape[1]
  counts = no_counts(count, width)
  order, total = search.gallery.order, search.gallery.size
  by_tiles = width <= COUNTED or not _on_cpu()
  columns = tile_edge(total)
  rows = np.empty((0, 0), np.float32)
  held = max(columns, SORTED_ENTRIES // count // columns * columns)
  edges = count_edges(own.thresholds, edge) if by_tiles else None

  def launch(run: tuple[int, int]) -> tuple:
    tile = others_tile(search, start, count, *run, edge)
    counted = None if edges is None else start_count(edges, tile)
    return *run, tile, counted

  for begin, many, tile, counted in one_ahead(launch, starts(total, columns)):
    if counted is not None:
      indices = order[begin : begin + many]
      add(counts, finish_count(own.thresholds, tile, indices, counted))
      continue
    place = begin % held
    if place == 0:
      rows = np.empty((count, min(held, total - begin)), tile.dtype)
    rows[:, place : place + many] = np.asarray(tile)[:count, :many]
    if place + many == rows.shape[1]:
      first_column = begin - place
      add_rows(
        counts,
        own.thresholds,
        rows,
        order[first_column : first_column + rows.shape[1]],
        most=None if within is None else max(within, width),
      )
  return own, counts


def _ranks(search: Search, start: int, found: tuple[Matches, Counts]) -> Ranks:
  own, counts = found
  there = ~np.isnan(own.thresholds.distance)
  number = 1 + np.arange(there.shape[1])[None, :]
  return Ranks(
    queries=search.query.order[start : start + len(there)],
    rank=np.where(there, counts.before + number, 0),
    matches=own.matches,
    nearest=own.thresholds.distance[:, 0],
    broken=own.broken | (counts.seen != own.others),
  )


def _own_sizes(search: Search) -> np.ndarray:
  """How many entries of its own identity each query has in the gallery."""
  codes = search.query_codes, search.gallery_codes
  top = 1 + max(int(np.max(of, initial=0)) for of in codes)
  return np.bincount(search.gallery_codes, minlength=top)[search.query_codes]


def _blocks(
  sizes: np.ndarray, gallery: int, *, first: bool
) -> Iterator[tuple[int, int]]:
  """Runs of queries whose own entries, and sorted rows, can be held."""
  start, edge = 0, tile_edge(len(sizes))
  while start < len(sizes):
    count = min(edge, len(sizes) - start)
    while count > 64:
      widest = int(sizes[start : start + count].max())
      sorts = not first and widest > COUNTED and _on_cpu()
      if count * widest <= OWN_ENTRIES and not (
        sorts and count * gallery > SORTED_ENTRIES
      ):
        break
      count = 1 << (count - 1).bit_length() - 1
    yield start, count
    start += count


def _on_cpu() -> bool:
  return jax.default_backend() == "cpu"
