"""Conditions on the gap `d_an - d_ap` as conditions on the distance alone.

A negative is compared with every positive of its anchor. What is compared is
the gap as it is rounded; the same answers come from one distance for each
positive, and each comparison is one subtraction cheaper.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from tripletjax.folds import Holds, kept, ordered


def last_within(
  near: Float[Array, "..."], gap: ArrayLike
) -> Float[Array, "..."]:
  """The largest distance `d` with `d - near <= gap`, as it is rounded.

  So `d <= last_within(near, gap)` says the same as `d - near <= gap` of any
  `d`, ties included. NaN where no distance is within.

  >>> last_within(jnp.array([0.5, 0.7]), 0.2).tolist()
  [0.699999988079071, 0.8999999761581421]
  """
  gap = jnp.asarray(gap, near.dtype)
  inf = jnp.full_like(gap, jnp.inf)
  # Rounding takes a gap that is half a step above down to it. The sum with its
  # error by Knuth's TwoSum.
  half = (jnp.nextafter(gap, inf) - gap) / 2
  total = near + gap
  part = total - near
  error = (near - (total - part)) + (gap - part)
  guess = total + (error + half)
  guess = jnp.where(jnp.isfinite(guess), guess, total)
  lower = jnp.nextafter(guess, -jnp.inf)
  upper = jnp.nextafter(guess, jnp.inf)
  found = jnp.full_like(guess, jnp.nan)
  for candidate in (
    jnp.nextafter(lower, -jnp.inf),
    lower,
    guess,
    upper,
    jnp.nextafter(upper, jnp.inf),
  ):
    found = jnp.where(candidate - near <= gap, candidate, found)
  # Numbers that are not normal may count as 0, and be 0 elsewhere.
  return kept(jnp.where(jnp.abs(found) < jnp.finfo(found.dtype).tiny, 0, found))


class GapTest(NamedTuple):
  """Whether gaps lie in a band, as the functions of `folds` ask it.

  Attributes:
    values: what stands for the distances, `[A, R]`.
    ends: maps distances of positives, `[A, s]`, to thresholds.
    holds: the condition on a value and the thresholds.
  """

  values: jax.Array
  ends: Callable[[jax.Array], tuple[jax.Array, ...]]
  holds: Holds


def gap_test(
  distances: Float[Array, "a r"], low: ArrayLike | None, high: ArrayLike
) -> GapTest:
  """Whether `low < d - near <= high`, for one `d` and many `near`.

  Args:
    distances: the `d`; NaN takes no part.
    low: None for no end below.
    high: the other end.
  """
  high = kept(jnp.asarray(high, distances.dtype))
  if low is None:
    return GapTest(
      distances, lambda near: (last_within(near, high),), operator.le
    )

  # Of integers both ends are one comparison: what lies before the first wraps
  # to more than any width. With a sign a pass takes a quarter to a third less
  # on a CPU (by a prototype): so the smallest number stands for 0.
  keys = _signed(ordered(distances))
  least = jnp.array(jnp.iinfo(keys.dtype).min, keys.dtype)

  def ends(near: jax.Array) -> tuple[jax.Array, ...]:
    before, last = _before(near, low), last_within(near, high)
    start, end = _signed(ordered(before)), _signed(ordered(last))
    width = jnp.where(last > before, end - start, 0)
    return kept(start + 1 - least), kept(width + least)

  return GapTest(keys, ends, lambda key, first, width: key - first < width)


def _signed(keys: jax.Array) -> jax.Array:
  kind = jnp.dtype(f"int{8 * keys.dtype.itemsize}")
  return lax.bitcast_convert_type(keys, kind)


def _before(near: jax.Array, low: ArrayLike) -> jax.Array:
  if isinstance(low, float) and low == 0:
    return near
  return last_within(near, low)


def just_below(gap: ArrayLike, dtype: jnp.dtype) -> jax.Array:
  """The largest number below, so that `<= it` says `< gap`."""
  gap = jnp.asarray(gap, dtype)
  below = jnp.nextafter(gap, jnp.full_like(gap, -jnp.inf))
  # Numbers that are not normal may be flushed to 0.
  tiny = jnp.finfo(dtype).tiny
  return jnp.where(jnp.abs(below) < tiny, -tiny, below)
