"""Labels, example ids and validity -> positive and negative masks."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Int


class PairMasks(NamedTuple):
  """Which reference is a positive, which a negative, of which anchor.

  Attributes:
    positive: the same identity, but another example; `[A, R]`.
    negative: another identity; `[A, R]`.
  """

  positive: Bool[Array, "a r"]
  negative: Bool[Array, "a r"]


def pair_masks(
  labels: ArrayLike,
  reference_labels: ArrayLike | None = None,
  *,
  ids: ArrayLike | None = None,
  reference_ids: ArrayLike | None = None,
  where: ArrayLike | None = None,
  reference_where: ArrayLike | None = None,
) -> PairMasks:
  """Positive and negative masks of anchors against references.

  An example is not its own positive. It is recognised by its id, so that the
  copy of an anchor among gathered references, in a memory, or drawn twice into
  one batch is not mistaken for a second picture of the same identity.

  Args:
    labels: identities of the anchors, integer `[A]`.
    reference_labels: identities of the references, integer `[R]`; the anchors
      themselves when None.
    ids: example ids of the anchors, integer `[A]`. Without references they
      default to positions; with references, no ids means no self-pairs.
    reference_ids: example ids of the references, integer `[R]`.
    where: False for anchors that are padding, `[A]`.
    reference_where: False for references that are padding, `[R]`; like `where`
      when there are no references.

  Returns:
    The two masks, `[A, R]` each; a pair with itself or with padding is in none.

  Raises:
    TypeError: labels or ids are not integers, or a `where` is not boolean.
    ValueError: a length doesn't fit, or only one side has ids.

  >>> masks = pair_masks(jnp.array([7, 7, 9]))
  >>> masks.positive.astype(int).tolist()
  [[0, 1, 0], [1, 0, 0], [0, 0, 0]]
  >>> masks.negative.astype(int).tolist()
  [[0, 0, 1], [0, 0, 1], [1, 1, 0]]
  """
  labels = check_vector(labels, "labels", integer=True)
  ids = _optional(ids, "ids", labels, integer=True)
  where = _optional(where, "where", labels, integer=False)
  if reference_labels is None:
    if reference_ids is not None or reference_where is not None:
      raise ValueError(
        "expected reference_labels beside reference_ids or reference_where"
      )
    ids = jnp.arange(labels.shape[0]) if ids is None else ids
    reference_labels, reference_ids, reference_where = labels, ids, where
  else:
    reference_labels = check_vector(
      reference_labels, "reference_labels", integer=True
    )
    reference_ids = _optional(
      reference_ids, "reference_ids", reference_labels, integer=True
    )
    reference_where = _optional(
      reference_where, "reference_where", reference_labels, integer=False
    )
  if (ids is None) != (reference_ids is None):
    raise ValueError("expected ids and reference_ids, got only one of them")

  same = labels[:, None] == reference_labels[None, :]
  positive, negative = same, ~same
  if ids is not None and reference_ids is not None:
    positive &= ids[:, None] != reference_ids[None, :]
  if where is not None:
    positive, negative = positive & where[:, None], negative & where[:, None]
  if reference_where is not None:
    positive &= reference_where[None, :]
    negative &= reference_where[None, :]
  return PairMasks(positive, negative)


def check_vector(
  vector: ArrayLike, name: str, *, integer: bool, length: int | None = None
) -> jax.Array:
  """A vector of integers (or booleans), or an error that names it."""
  array = jnp.asarray(vector)
  wanted, kind = (jnp.integer, "integer") if integer else (jnp.bool_, "boolean")
  if not jnp.issubdtype(array.dtype, wanted):
    raise TypeError(f"expected {name} to be {kind}, got {array.dtype}")
  if array.ndim != 1 or (length is not None and array.shape[0] != length):
    shape = "[count]" if length is None else f"[{length}]"
    raise ValueError(f"expected {name} of shape {shape}, got {array.shape}")
  return array


def _optional(
  vector: ArrayLike | None, name: str, like: jax.Array, *, integer: bool
) -> Int[Array, " n"] | Bool[Array, " n"] | None:
  if vector is None:
    return None
  return check_vector(vector, name, integer=integer, length=like.shape[0])
