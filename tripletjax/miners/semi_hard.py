"""Miners that take one negative beyond the positive, for every positive pair.

Both return `Triplets` of shape `[A, R]`: an anchor, each of its positives, and
one negative for the pair.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float, Int

from tripletjax.miners.slots import Slot, over_positives
from tripletjax.types import Triplets


def semi_hard(
  distances: Float[Array, "a r"],
  positive_mask: Bool[Array, "a r"],
  negative_mask: Bool[Array, "a r"],
  *,
  margin: ArrayLike,
  key: jax.Array | None = None,
) -> Triplets:
  """For each positive pair the nearest negative strictly beyond the positive.

  Of equal distances the first reference is taken. A pair whose negatives are
  all nearer than its positive is dropped. There is no upper bound: beyond the
  margin the triplet is selected, and its loss is 0.
  """
  del margin, key
  distances = lax.stop_gradient(distances)

  def nearest(slot: Slot) -> tuple[jax.Array, jax.Array]:
    beyond = negative_mask & (distances > slot.distance_ap)
    negative = jnp.argmin(jnp.where(beyond, distances, jnp.inf), axis=1)
    return negative, beyond.any(axis=1)

  return _one_negative_a_pair(nearest, distances, positive_mask)


def random_semi_hard(
  distances: Float[Array, "a r"],
  positive_mask: Bool[Array, "a r"],
  negative_mask: Bool[Array, "a r"],
  *,
  margin: ArrayLike,
  key: jax.Array | None = None,
) -> Triplets:
  """For each positive pair a random negative with `ap < an < ap + margin`.

  The online mining of FaceNet (Schroff et al., 2015): all anchor-positive
  pairs, semi-hard negatives, both bounds strict, drawn uniformly. A pair
  without such a negative is dropped. The draw depends on the anchor's key and
  on which of its positives the pair holds, not on how the rows are divided.

  Raises:
    ValueError: there is no key.
  """
  if key is None:
    raise ValueError("expected key: random_semi_hard draws its negatives")
  distances, margin = lax.stop_gradient((distances, jnp.asarray(margin)))
  margin = margin.astype(distances.dtype)

  def draw(slot: Slot) -> tuple[jax.Array, jax.Array]:
    candidates = (
      negative_mask
      & (distances > slot.distance_ap)
      & (distances < slot.distance_ap + margin)
    )
    count = jnp.sum(candidates, axis=1, dtype=jnp.int32)
    keys = jax.vmap(jax.random.fold_in, (0, None))(key, slot.number)
    # maxval 1 where there is no candidate: the draw is then unused.
    chosen = jax.vmap(lambda k, n: jax.random.randint(k, (), 0, n, jnp.int32))(
      keys, jnp.maximum(count, 1)
    )
    order = jnp.cumsum(candidates, axis=1, dtype=jnp.int32) - 1
    negative = jnp.argmax(candidates & (order == chosen[:, None]), axis=1)
    return negative, count > 0

  return _one_negative_a_pair(draw, distances, positive_mask)


def _one_negative_a_pair(
  choose: Callable[[Slot], tuple[Int[Array, " a"], Bool[Array, " a"]]],
  distances: Float[Array, "a r"],
  positive_mask: Bool[Array, "a r"],
) -> Triplets:
  """Triplets from a function that maps a slot to negatives and validity."""

  def body(
    slot: Slot, carry: tuple[jax.Array, jax.Array]
  ) -> tuple[jax.Array, jax.Array]:
    negative, selected = carry
    chosen, found = choose(slot)
    chosen = chosen.astype(jnp.int32)[:, None]
    return (
      jnp.where(slot.where, chosen, negative),
      selected | (slot.where & found[:, None]),
    )

  initial = (
    jnp.zeros(distances.shape, jnp.int32),
    jnp.zeros(distances.shape, bool),
  )
  negative, selected = over_positives(body, initial, distances, positive_mask)
  rows, columns = distances.shape
  return Triplets(
    anchor=jnp.arange(rows)[:, None],
    positive=jnp.arange(columns)[None, :],
    negative=negative,
    where=selected,
  )
