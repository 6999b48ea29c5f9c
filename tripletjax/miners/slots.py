"""One pass over the positives of all anchors, a slot at a time.

The k-th positives of all anchors are handled together: each step is a few
`[A, R]` operations, there are as many steps as the largest identity has other
images, and no `[A, R, R]` array ever exists. Identities needn't be balanced;
an anchor with fewer positives is idle in the last slots.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypeVar

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

Carry = TypeVar("Carry")


class Slot(NamedTuple):
  """The k-th positive of every anchor.

  Attributes:
    number: k.
    where: True at the column of the k-th positive, `[A, R]`; a row without
      one is all False.
    distance_ap: distance to it, `[A, 1]`; 0 in a row without one.
  """

  number: Int[Array, ""]
  where: Bool[Array, "a r"]
  distance_ap: Float[Array, "a 1"]


def over_positives(
  body: Callable[[Slot, Carry], Carry],
  initial: Carry,
  distances: Float[Array, "a r"],
  positive_mask: Bool[Array, "a r"],
) -> Carry:
  """Folds `body` over the slots; not differentiable by reverse mode."""
  rank = jnp.cumsum(positive_mask, axis=1, dtype=jnp.int32) - 1
  slots = jnp.max(jnp.sum(positive_mask, axis=1, dtype=jnp.int32), initial=0)

  def step(index: jax.Array, carry: Carry) -> Carry:
    where = positive_mask & (rank == index)
    distance_ap = jnp.sum(jnp.where(where, distances, 0), axis=1, keepdims=True)
    return body(Slot(index, where, distance_ap), carry)

  return lax.fori_loop(jnp.int32(0), slots, step, initial)
