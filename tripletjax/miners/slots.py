"""One pass over the positives of all anchors, a few slots at a time.

The k-th positives of all anchors are handled together, `CHUNK` of them in one
step: there are as many steps as the largest identity needs, and no `[A, R, R]`
array ever exists. Identities needn't be balanced; an anchor with fewer
positives is idle in the last slots.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypeVar

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from tripletjax.types import Slots

Carry = TypeVar("Carry")

# Measured on two cores with 4, 8, 16 and 32: 8 wastes least at 8 images an
# identity and costs no more than 16 at 40.
CHUNK = 8


class Candidates(NamedTuple):
  """Where the positives of each anchor are found.

  Row `a` looks at the columns `order[..., first[a] + k]`, k below `counts[a]`;
  those that `positive_mask` confirms are its positives.

  Attributes:
    order: columns, those of one identity beside each other; `[R]`, or `[A, R]`
      with an order of its own for each row.
    first: start of the row's identity in `order`, `[A]`.
    counts: how many columns to look at, `[A]`.
  """

  order: Int[Array, "..."]
  first: Int[Array, " a"]
  counts: Int[Array, " a"]


def candidates_by_label(
  labels: Int[Array, " a"],
  reference_labels: Int[Array, " r"],
  reference_where: Bool[Array, " r"] | None = None,
) -> Candidates:
  """Candidates from labels, in the order of columns: O(R log R)."""
  columns = jnp.arange(reference_labels.shape[0], dtype=jnp.int32)
  if reference_where is None:
    reference_where = jnp.ones(reference_labels.shape, bool)
  # Padding goes to the end, behind all labels: it must not sit among the
  # images of an identity, or draws would depend on it.
  _, by_label, order = lax.sort(
    (~reference_where, reference_labels, columns), num_keys=2, is_stable=True
  )
  valid = jnp.sum(reference_where, dtype=jnp.int32)
  first = jnp.searchsorted(
    jnp.where(columns < valid, by_label, jnp.iinfo(by_label.dtype).max), labels
  )
  last = jnp.searchsorted(
    jnp.where(columns < valid, by_label, jnp.iinfo(by_label.dtype).max),
    labels,
    side="right",
  )
  first, last = (
    jnp.minimum(end.astype(jnp.int32), valid) for end in (first, last)
  )
  return Candidates(order, first, last - first)


def candidates_by_mask(positive_mask: Bool[Array, "a r"]) -> Candidates:
  """Candidates from a mask alone; slower than from labels."""
  rows, columns = positive_mask.shape
  ends = jnp.cumsum(positive_mask, axis=1, dtype=jnp.int32)
  rank = jnp.where(positive_mask, ends - 1, columns)
  column = jnp.broadcast_to(jnp.arange(columns, dtype=jnp.int32), rank.shape)
  order = jnp.zeros_like(rank).at[jnp.arange(rows)[:, None], rank]
  return Candidates(
    order.set(column, mode="drop"),
    jnp.zeros(rows, jnp.int32),
    jnp.sum(positive_mask, axis=1, dtype=jnp.int32),
  )


def over_positives(
  body: Callable[[Slots, Carry], Carry],
  initial: Carry,
  distances: Float[Array, "a r"],
  positive_mask: Bool[Array, "a r"],
  candidates: Candidates,
  *,
  chunk: int = CHUNK,
) -> Carry:
  """Folds `body` over the slots; not differentiable by reverse mode."""
  rows, columns = distances.shape
  chunk = min(chunk, columns)
  steps = -(-jnp.max(candidates.counts, initial=0) // chunk)

  def step(index: jax.Array, carry: tuple) -> tuple:
    seen, inner = carry
    k = index * chunk + jnp.arange(chunk, dtype=jnp.int32)[None, :]
    at = jnp.minimum(candidates.first[:, None] + k, columns - 1)
    if candidates.order.ndim == 1:
      column = candidates.order.at[at].get(mode="promise_in_bounds")
    else:
      column = jnp.take_along_axis(candidates.order, at, axis=1)
    here = (jnp.arange(rows)[:, None], column)
    present = k < candidates.counts[:, None]
    present &= positive_mask.at[here].get(mode="promise_in_bounds")
    distance_ap = distances.at[here].get(mode="promise_in_bounds")
    number = seen[:, None] + jnp.cumsum(present, axis=1, dtype=jnp.int32) - 1
    slots = Slots(jnp.where(present, distance_ap, jnp.nan), column, number)
    return number[:, -1] + 1, body(slots, inner)

  start = (jnp.zeros(rows, jnp.int32), initial)
  return lax.fori_loop(jnp.int32(0), steps, step, start)[1]
