"""Sums and counts of a set of triplets, and which count divides the sum.

A reduction sees only totals. Totals add up - over tiles, over devices, over
accumulated batches - so that the number, and the gradient, of the parts is the
one of the whole: `reduce(total_of_parts) == reduce(whole)`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float

from tripletjax.registry import resolve


class RowTotals(NamedTuple):
  """What is added up over the terms of each anchor; `[A]` each.

  A term is what a loss adds up: a triplet, a pair, or the anchor itself.
  Counts are floating: a batch of 8,192 has more triplets than an int32 holds.

  Attributes:
    loss: sum of the terms.
    selected: number of terms.
    active: number of terms above 0.
  """

  loss: Float[Array, " a"]
  selected: Float[Array, " a"]
  active: Float[Array, " a"]


class Totals(NamedTuple):
  """What is added up over a batch; scalars.

  Attributes:
    loss: sum of the terms (of the triplets' losses).
    selected: number of terms.
    active: number of terms above 0.
    pairs: number of positive pairs of the batch, selected or not.
    anchors: number of anchors that aren't padding, selected or not.
  """

  loss: Float[Array, ""]
  selected: Float[Array, ""]
  active: Float[Array, ""]
  pairs: Float[Array, ""]
  anchors: Float[Array, ""]


ReductionFn = Callable[[Totals], jax.Array]


def sum_reduction(totals: Totals) -> Float[Array, ""]:
  """The sum over the triplets, as in the definition of the cost."""
  return totals.loss


def mean_reduction(totals: Totals) -> Float[Array, ""]:
  """The mean over the selected triplets, those of loss 0 counted in."""
  return safe_divide(totals.loss, totals.selected)


def mean_active_reduction(totals: Totals) -> Float[Array, ""]:
  """The mean over the triplets whose loss is above 0."""
  return safe_divide(totals.loss, totals.active)


def per_pair_reduction(totals: Totals) -> Float[Array, ""]:
  """The sum, divided by the number of positive pairs of the batch."""
  return safe_divide(totals.loss, totals.pairs)


def per_anchor_reduction(totals: Totals) -> Float[Array, ""]:
  """The sum, divided by the number of anchors, those without a triplet too."""
  return safe_divide(totals.loss, totals.anchors)


REDUCTIONS: Mapping[str, ReductionFn] = {
  "sum": sum_reduction,
  "mean": mean_reduction,
  "mean_active": mean_active_reduction,
  "per_pair": per_pair_reduction,
  "per_anchor": per_anchor_reduction,
}


def total(
  values: Float[Array, "..."], where: Bool[Array, "..."] | None = None
) -> Totals:
  """Totals of the losses of single triplets, each a pair and an anchor.

  Args:
    values: losses, of any shape, not negative.
    where: False for entries that are padding.
  """
  selected = jnp.ones(values.shape, bool) if where is None else where
  values = jnp.where(selected, values, 0)
  count = jnp.sum(selected, dtype=values.dtype)
  active = jnp.sum(values > 0, dtype=values.dtype)
  return Totals(jnp.sum(values), count, active, pairs=count, anchors=count)


def reduce_totals(
  totals: Totals,
  reduction: str | ReductionFn,
  *,
  axis_name: str | None = None,
) -> Float[Array, ""]:
  """One loss from totals, added up over the devices of `axis_name` first.

  Raises:
    ValueError: no reduction has this name.
  """
  if axis_name is not None:
    totals = lax.psum(totals, axis_name)
  if not callable(reduction) and reduction not in REDUCTIONS:
    # "none" is the callers': they have what isn't reduced.
    raise ValueError(
      f"expected reduction to be one of none, {', '.join(REDUCTIONS)}, "
      f"got {reduction!r}"
    )
  return resolve(reduction, REDUCTIONS, "reduction")(totals)


def safe_divide(numerator: ArrayLike, denominator: ArrayLike) -> jax.Array:
  """`numerator / denominator`, and the numerator where there was nothing.

  A sum over nothing is 0, so the mean over nothing is 0, with a zero gradient;
  a NaN in the numerator stays a NaN.
  """
  counted = jnp.asarray(denominator) > 0
  return jnp.asarray(numerator) / jnp.where(counted, denominator, 1)
