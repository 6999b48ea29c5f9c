"""Miners that draw one negative for every positive pair.

A draw depends on the anchor's key and on which of its positives the pair holds,
not on how the rows are divided over tiles or devices.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float, Int

from tripletjax.gaps import GapTest, gap_test, just_below
from tripletjax.searches import nth_where, segments
from tripletjax.types import EachPositive, Slots


def random_semi_hard(
  distances: Float[Array, "a r"],
  positive_mask: Bool[Array, "a r"],
  negative_mask: Bool[Array, "a r"],
  *,
  margin: ArrayLike,
  key: jax.Array | None = None,
) -> EachPositive:
  """For each positive pair a random negative with `ap < an < ap + margin`.

  The online mining of FaceNet (Schroff et al., 2015): all anchor-positive
  pairs, semi-hard negatives, both bounds strict, drawn uniformly. A pair
  without such a negative is dropped.

  Raises:
    ValueError: there is no key.
  """
  del positive_mask
  negatives = jnp.where(negative_mask, distances, jnp.nan)
  below = just_below(margin, distances.dtype)
  return _draw(gap_test(negatives, 0.0, below), key, "random_semi_hard")


def random_violating(
  distances: Float[Array, "a r"],
  positive_mask: Bool[Array, "a r"],
  negative_mask: Bool[Array, "a r"],
  *,
  margin: ArrayLike,
  key: jax.Array | None = None,
) -> EachPositive:
  """For each positive pair a random negative with `an - ap < margin`.

  As davidsandberg's facenet selects triplets: hard ones too. A pair without
  such a negative is dropped.

  Raises:
    ValueError: there is no key.
  """
  del positive_mask
  negatives = jnp.where(negative_mask, distances, jnp.nan)
  below = just_below(margin, distances.dtype)
  return _draw(gap_test(negatives, None, below), key, "random_violating")


def random_negative(
  distances: Float[Array, "a r"],
  positive_mask: Bool[Array, "a r"],
  negative_mask: Bool[Array, "a r"],
  *,
  margin: ArrayLike,
  key: jax.Array | None = None,
) -> EachPositive:
  """For each positive pair any negative, drawn uniformly.

  The control: most random triplets are easy and teach nothing.

  Raises:
    ValueError: there is no key.
  """
  del positive_mask, margin
  every = GapTest(
    jnp.where(negative_mask, distances, jnp.nan),
    lambda near: (near,),
    # NaN marks what is no negative, or no pair.
    lambda an, ap: ~(jnp.isnan(an) | jnp.isnan(ap)),
  )
  return _draw(every, key, "random")


def row_keys(key: jax.Array | None, name: str) -> jax.Array:
  """The rows' keys, or a `ValueError` that names the miner."""
  if key is None:
    raise ValueError(f"expected key: {name} draws its triplets")
  return key


def uniform(keys: jax.Array, number: jax.Array) -> Float[Array, "a s"]:
  """One number in [0, 1) for each row and number: `[A]`, `[A, s]`."""

  def one(key: jax.Array, n: jax.Array) -> jax.Array:
    return jax.random.uniform(jax.random.fold_in(key, n), dtype=jnp.float32)

  return jax.vmap(jax.vmap(one, (None, 0)))(keys, number)


def pick_number(
  share: Float[Array, "a s"], count: Int[Array, "a s"]
) -> Int[Array, "a s"]:
  """A number below `count` from one in [0, 1)."""
  number = (share * count.astype(share.dtype)).astype(jnp.int32)
  # Rounding may give the count itself.
  return jnp.maximum(jnp.minimum(number, count - 1), 0)


def _draw(test: GapTest, key: jax.Array | None, name: str) -> EachPositive:
  keys = row_keys(key, name)
  row = segments(test.values)

  def choose(slots: Slots) -> tuple[jax.Array, jax.Array]:
    share = uniform(keys, slots.number)
    column, count = nth_where(
      row,
      test.ends(slots.distance_ap),
      lambda count: pick_number(share, count),
      test.holds,
    )
    return column, count > 0

  return EachPositive(choose)
