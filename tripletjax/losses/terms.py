"""What the losses that select no triplets share: terms, and their totals.

The term of a loss is a pair or an anchor. A loss here is a function of a
block's distances and masks that returns totals of its terms; what is common to
all - padding, NaN, devices, reductions, statistics - happens around it.
"""

from __future__ import annotations

from typing import Any, Unpack

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float

from tripletjax.folds import row_count
from tripletjax.losses.batch import BatchArguments, TermFn, batch_loss
from tripletjax.losses.rows import Block
from tripletjax.losses.selections import poison
from tripletjax.reductions import ReductionFn, RowTotals
from tripletjax.types import DistanceFn


def loss_of_terms(
  term_fn: TermFn,
  embeddings: ArrayLike,
  labels: ArrayLike,
  *,
  margin: ArrayLike = 0.0,
  parameters: Any = (),
  distance: str | DistanceFn,
  reduction: str | ReductionFn,
  only_pairs: bool = False,
  **batch: Unpack[BatchArguments],
) -> tuple[jax.Array, dict[str, jax.Array]]:
  """A loss of a batch whose terms are pairs or anchors.

  Args:
    term_fn: see `batch_loss`. The distances of its block are 0 where there is
      no pair, so that nothing computed from them there has a NaN gradient;
      unless it takes `only_pairs`, which saves a matrix.
    embeddings: `[A, D]`, or precomputed distances, `[A, R]`.
    labels: `[A]`.
    margin: the unit of the statistics; 0 for a loss without a margin.
    parameters: the hyperparameters, a pytree of numbers or arrays.
    distance: a name from `DISTANCES`, a function, or "precomputed".
    reduction: a name from `REDUCTIONS`, a function of `Totals`, or "none".
    only_pairs: `term_fn` masks itself what is no pair.
    **batch: see `BatchArguments`.

  Returns:
    The loss and its statistics; the loss is NaN if the distance of a valid pair
    is.
  """

  def guarded(block: Block, parameters: Any) -> RowTotals:
    seen = block
    if not only_pairs:
      pairs = block.masks.positive | block.masks.negative
      distances = jnp.where(pairs, block.distances, 0)
      seen = block._replace(distances=distances)
    totals = term_fn(seen, parameters)
    return totals._replace(
      loss=totals.loss + poison(block.distances, block.masks)
    )

  return batch_loss(
    guarded,
    embeddings,
    labels,
    distance=distance,
    margin=margin,
    # "What a triplet of gap 0 costs" has no answer here: no mean is negative.
    at_margin=lambda margin: -jnp.ones_like(margin),
    parameters=parameters,
    reduction=reduction,
    each_pair_once=False,
    **batch,
  )


def scalars(**values: ArrayLike | None) -> None:
  """Checks that hyperparameters are scalars; they may be tracers, or None.

  Raises:
    ValueError: one is an array; it is named.

  >>> scalars(margin=jnp.ones(3))
  Traceback (most recent call last):
  ValueError: expected margin to be a scalar, got shape (3,)
  """
  for name, value in values.items():
    if value is not None and jnp.ndim(value):
      raise ValueError(
        f"expected {name} to be a scalar, got shape {jnp.shape(value)}"
      )


def pair_totals(
  values: Float[Array, "a r"], where: Bool[Array, "a r"]
) -> RowTotals:
  """Totals of terms that are pairs: those of `where`."""
  values = jnp.where(where, values, 0)
  return RowTotals(
    # Not `row_sum`, the gradient of whose slices is slow.
    jnp.sum(values, axis=1),
    row_count(where).astype(values.dtype),
    row_count(values > 0).astype(values.dtype),
  )


def anchor_totals(
  values: Float[Array, " a"], where: Bool[Array, " a"]
) -> RowTotals:
  """Totals of terms that are anchors: those of `where`."""
  values = jnp.where(where, values, 0)
  return RowTotals(
    values, where.astype(values.dtype), (values > 0).astype(values.dtype)
  )


def log_sum_exp(
  values: Float[Array, "a r"], where: Bool[Array, "a r"]
) -> Float[Array, " a"]:
  """`log Σ exp(values)` of each row over `where`; 0 for a row without any.

  The sum of nothing is 0 and its logarithm -inf, which has no gradient: such a
  row has to be masked by the caller.
  """
  # Of an exponential -inf is as good as nothing, in the gradient too.
  values = jnp.where(where, values, -jnp.inf)
  largest = jax.lax.stop_gradient(jnp.max(values, axis=1))
  largest = jnp.where(has_any(where), largest, 0)
  total = jnp.sum(jnp.exp(values - largest[:, None]), axis=1)
  return largest + jnp.log(jnp.where(has_any(where), total, 1))


def has_any(where: Bool[Array, "a r"]) -> Bool[Array, " a"]:
  """Whether there is a True in each row."""
  return row_count(where) > 0
