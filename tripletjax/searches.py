"""Finding columns of a row by number or by weight, in forms that compile well.

A row is cut into segments, whose counts (or sums) are added up first; only the
segment that holds what is looked for is then looked at.
"""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Shaped

from tripletjax.folds import (
  Holds,
  Thresholds,
  absent,
  as_tuple,
  kept,
  padded,
)


def nth_true(
  where: Bool[Array, "a r"], number: Int[Array, "a n"]
) -> Int[Array, "a n"]:
  """Column of the n-th True of each row, counted from 0; 0 if there is none."""
  ends = jnp.cumsum(where, axis=1, dtype=jnp.int32)
  found = jax.vmap(lambda end, n: jnp.searchsorted(end, n, side="right"))(
    ends, number
  )
  return jnp.where(found < where.shape[1], found, 0).astype(jnp.int32)


class Segments(NamedTuple):
  """Rows cut into segments of neighbouring columns, to be searched by number.

  Attributes:
    turned: segment `l` of row `a` is `[a, :, l]`; where there is no column,
      NaN, or of keys the last.
    columns: how many columns the rows had.
  """

  turned: Shaped[Array, "a j l"]
  columns: int


def segments(values: Shaped[Array, "a r"]) -> Segments:
  """Prepares rows for `nth_where`; once, outside of any loop."""
  rows, columns = values.shape
  count = _segments(columns)
  cut = padded(values, count, absent(values)).reshape(rows, count, -1)
  return Segments(kept(cut.transpose(0, 2, 1)), columns)


def nth_where(
  row: Segments,
  thresholds: Thresholds,
  choose: Callable[[jax.Array], jax.Array],
  holds: Holds,
) -> tuple[Int[Array, "a s"], Int[Array, "a s"]]:
  """The column of one of the values that satisfy `holds(value, threshold)`.

  Args:
    row: the values, NaN where a value doesn't take part.
    thresholds: `[a, s]`, or a tuple of such: then `holds(value, *thresholds)`.
    choose: maps how many values satisfy, int32 `[a, s]`, to the number of the
      one that is wanted, counted from 0 in the order of columns.
    holds: the condition, elementwise.

  Returns:
    The columns, 0 where no value satisfies, and how many do.
  """
  rows, depth, count = row.turned.shape
  edges = as_tuple(thresholds)
  counts = functools.reduce(
    operator.add,
    (
      holds(
        row.turned[:, None, j], *(edge[:, :, None] for edge in edges)
      ).astype(jnp.int32)
      for j in range(depth)
    ),
  )
  parts = _places(counts)
  total = functools.reduce(operator.add, parts)
  number = choose(total)
  segment, before = _reached(parts, number)
  segment = jnp.minimum(segment, count - 1)
  chosen = row.turned.at[jnp.arange(rows)[:, None], :, segment].get(
    mode="promise_in_bounds"
  )
  inside = [holds(place, *edges).astype(jnp.int32) for place in _places(chosen)]
  step, _ = _reached(inside, number - before)
  column = segment * depth + jnp.minimum(step, depth - 1)
  return jnp.where(total > 0, jnp.minimum(column, row.columns - 1), 0), total


def weighted_choice(
  weights: Float[Array, "a r"],
) -> Callable[[jax.Array], tuple[jax.Array, jax.Array]]:
  """Draws columns with the probability of their weight.

  Args:
    weights: not negative, `[A, R]`.

  Returns:
    A function from numbers in [0, 1), `[A, s]`, to columns, and whether there
    is one at all (the row has a weight above 0).
  """
  rows, columns = weights.shape
  count = _segments(columns)
  cut = padded(weights, count, 0).reshape(rows, count, -1)
  depth = cut.shape[2]
  turned = kept(cut.transpose(0, 2, 1))
  sums = list(
    kept(functools.reduce(operator.add, jnp.unstack(turned, axis=1)).T)
  )
  total = functools.reduce(operator.add, sums)[:, None]

  def choose(share: jax.Array) -> tuple[jax.Array, jax.Array]:
    target = share * total
    parts = [jnp.broadcast_to(part[:, None], share.shape) for part in sums]
    segment, before = _reached(parts, target)
    segment = jnp.minimum(segment, count - 1)
    chosen = turned.at[jnp.arange(rows)[:, None], :, segment].get(
      mode="promise_in_bounds"
    )
    inside = _places(chosen)
    step, _ = _reached(inside, target - before)
    # Rounding may point behind all: the last one that has a weight.
    last = functools.reduce(
      jnp.maximum,
      (jnp.where(place > 0, j, 0) for j, place in enumerate(inside)),
    )
    column = segment * depth + jnp.minimum(step, last)
    found = jnp.broadcast_to(total > 0, share.shape)
    return jnp.where(found, jnp.minimum(column, columns - 1), 0), found

  return choose


def _places(values: Shaped[Array, "a s l"]) -> list[jax.Array]:
  """The places of the last axis, `[a, s]` each.

  What follows is then elementwise over all thresholds: along the last axis
  sums, and counts of them, take three times as long on a CPU (by a prototype,
  `nth_where` of 264 x 8 thresholds in 1,824 columns: 0.5 ms and 1.4).
  """
  return list(kept(kept(values).transpose(2, 0, 1)))


def _reached(
  parts: Sequence[Shaped[Array, "a s"]], target: Shaped[Array, "a s"]
) -> tuple[Int[Array, "a s"], Shaped[Array, "a s"]]:
  """How many of the cumulative sums are at most `target`, and the last of them.

  The parts are not negative; without any such sum, 0 and 0.
  """
  end = before = jnp.zeros_like(parts[0])
  number = jnp.zeros(end.shape, jnp.int32)
  for part in parts:
    end = end + part
    passed = end <= target
    number = number + passed.astype(jnp.int32)
    before = jnp.where(passed, end, before)
  return number, before


def are_cut_well(columns: int) -> bool:
  """Whether rows of this length are cut into segments without padding."""
  return bool(_whole_segments(columns))


def _segments(columns: int) -> int:
  """How many segments: about as many as a segment has columns, or twice."""
  # Padding copies the rows, which costs as much as the search.
  wanted = 1.4 * columns**0.5
  return min(
    _whole_segments(columns),
    key=lambda n: abs(n - wanted),
    default=min(max(math.ceil(wanted), 1), 32),
  )


def _whole_segments(columns: int) -> list[int]:
  wanted = 1.4 * columns**0.5
  most = min(256, int(2 * wanted))
  # Enough for a vector, but where all of the row is a few: each segment is
  # a line of the program.
  least = max(16 if columns >= 128 else 1, math.ceil(wanted / 2))
  return [n for n in range(least, most + 1) if columns % n == 0]
