"""Blocks of anchor rows, one after another, and what they add up to.

The gradient by the embeddings is added up in one of two ways: from products of
each block with all references, both ways, or, of a batch against itself, from
one product at the end. By a prototype on one core the second is faster at 1,056
and 1,856 rows and slower at 4,160.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from tripletjax.distances import at_least_float32
from tripletjax.losses.own import is_linear
from tripletjax.losses.sides import Side
from tripletjax.types import DistanceFn

# References up to which the gradient by all distances is kept.
OWN = 2896
# Rows of the product at the end, at most.
BLOCK = 256
# Maps what is differentiated, labels and where to look to the loss and more.
Evaluate = Callable[..., tuple[jax.Array, tuple]]


class Blocks:
  """Rows cut into blocks, and put back.

  Rows with as many positives are beside each other: the passes over the
  positives of a block are as many as its largest identity needs.

  Attributes:
    labels: of the rows, and where to look for their positives, block by block.
    real: `[blocks, block]`, False for rows that fill up the last block.
  """

  def __init__(self, rows: Side, looks: tuple, block: int) -> None:
    """Cuts rows into blocks of `block`."""
    count = len(rows.labels)
    self._order = jnp.argsort(looks[1], stable=True)
    self._shape = (-(-count // block), block)
    number = jnp.arange(math.prod(self._shape))
    self.real = number.reshape(self._shape) < count
    # The embeddings travel by themselves: a side without them is labels only.
    bare = rows._replace(embeddings=rows.embeddings[:, :0])
    self.labels = jax.tree.map(self.cut, (bare, looks))

  def cut(self, rows: jax.Array) -> jax.Array:
    """Rows `[A, ...]` as `[blocks, block, ...]`."""
    filled = math.prod(self._shape) - len(self._order)
    padding = jnp.zeros((filled,), self._order.dtype)
    rows = rows[jnp.concatenate([self._order, padding])]
    return rows.reshape(*self._shape, *rows.shape[1:])

  def back(self, blocks: Any, *, filled: int = 0) -> Any:
    """What `cut` did, undone, for each array of a tree.

    Args:
      blocks: arrays `[blocks, block, ...]`.
      filled: how many rows of 0 more.
    """
    places = jnp.argsort(self._order)
    if not filled:
      return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:])[places], blocks)
    places = jnp.pad(places, (0, filled), constant_values=self.real.size)
    return jax.tree.map(
      lambda x: (
        x.reshape(-1, *x.shape[2:]).at[places].get(mode="fill", fill_value=0)
      ),
      blocks,
    )

  def of(self, labels: tuple, real: jax.Array) -> tuple[Side, Any]:
    """Labels of one block, and where to look; `real` is its row."""
    side, looks = labels
    return side._replace(where=side.where & real), looks


def in_blocks(
  evaluate: Evaluate,
  anchors: jax.Array,
  references: jax.Array,
  parameters: Any,
  blocks: Blocks,
) -> tuple[jax.Array, tuple, tuple]:
  """Sum, gradients, and results of all rows, in the rows' own order."""

  def step(sums: tuple, inputs: tuple) -> tuple[tuple, tuple]:
    here, labels, real = inputs
    (value, results), by = jax.value_and_grad(evaluate, has_aux=True)(
      (here, references, parameters), *blocks.of(labels, real)
    )
    sums = jax.tree.map(jnp.add, sums, (value, *by[1:]))
    return sums, (by[0], results)

  start = _zeros((_zero(anchors), references, parameters))
  (loss, *by_others), stacked = lax.scan(
    step, start, (blocks.cut(anchors), blocks.labels, blocks.real)
  )
  by_anchors, results = blocks.back(stacked)
  return loss, (by_anchors, *by_others), results


def by_distances(
  evaluate: Evaluate,
  distance_fn: DistanceFn,
  anchors: jax.Array,
  references: jax.Array,
  parameters: Any,
  blocks: Blocks,
) -> tuple[jax.Array, tuple, tuple]:
  """As `in_blocks`, where the references are the anchors and padding.

  The gradient by the distances W is kept, `[A, R]`. What a row gets as an
  anchor from W, it gets as a reference from W transposed: one product with the
  sum of both takes the place of two.
  """

  def step(sums: tuple, inputs: tuple) -> tuple[tuple, tuple]:
    here, labels, real = inputs

    def loss_of(differentiable: tuple) -> tuple[jax.Array, tuple]:
      arguments = (here, references, *differentiable)
      return evaluate(arguments, *blocks.of(labels, real))

    (value, results), by = jax.value_and_grad(loss_of, has_aux=True)(
      (parameters, distance_fn(here, references))
    )
    return jax.tree.map(jnp.add, sums, (value, by[0])), (by[1], results)

  start = _zeros((_zero(anchors), parameters))
  (loss, by_parameters), stacked = lax.scan(
    step, start, (blocks.cut(anchors), blocks.labels, blocks.real)
  )
  size = len(references)
  by_distance, results = stacked
  whole = blocks.back(by_distance, filled=size - len(anchors))
  some = next(n for n in range(min(BLOCK, size), 0, -1) if size % n == 0)

  def of_first(x: jax.Array) -> jax.Array:
    return distance_fn(x, references)

  def one(_: None, first: jax.Array) -> tuple[None, jax.Array]:
    here = lax.dynamic_slice_in_dim(references, first, some)
    both = (
      lax.dynamic_slice_in_dim(whole, first, some)
      + lax.dynamic_slice_in_dim(whole, first, some, axis=1).T
    )
    pull = jax.vjp(of_first, here)[1]
    return None, pull(both)[0]

  _, by_rows = lax.scan(one, None, jnp.arange(0, size, some))
  by_anchors = by_rows.reshape(references.shape)[: len(anchors)]
  return loss, (by_anchors, by_parameters), blocks.back(results)


def are_own(
  evaluate: Evaluate,
  distance_fn: DistanceFn,
  inputs: tuple,
  blocks: Blocks,
) -> bool:
  """Whether `by_distances` is right for the references, and pays.

  It is right where the loss depends on the embeddings by their distances alone.
  A loss that takes a few of them anew, as `batch_hard` does, has no gradient by
  the matrix at all.
  """
  anchors, references, parameters = inputs
  if not is_linear(distance_fn) or len(references) > OWN:
    return False
  first = jax.tree.map(lambda x: x[0], (blocks.labels, blocks.real))
  here = blocks.cut(anchors)[0]

  def gradient(*differentiable: Any) -> Any:
    return jax.grad(evaluate, has_aux=True)(differentiable, *blocks.of(*first))[
      0
    ]

  shapes = jax.eval_shape(
    lambda: (here, references, parameters, distance_fn(here, references))
  )
  jaxpr = jax.make_jaxpr(gradient)(*shapes).jaxpr
  by_anchors, by_references, *_, by_distances = (
    _is_zero(jaxpr, out) for out in jaxpr.outvars
  )
  return by_anchors and by_references and not by_distances


def _is_zero(jaxpr: Any, out: Any) -> bool:
  """Whether a result is a constant 0: nothing depends on that input."""
  made = [eqn for eqn in jaxpr.eqns if out in eqn.outvars]
  return any(
    eqn.primitive.name == "broadcast_in_dim"
    and all(getattr(x, "val", None) == 0 for x in eqn.invars)
    for eqn in made
  )


def _zero(anchors: jax.Array) -> jax.Array:
  return jnp.zeros((), at_least_float32(anchors[:0]).dtype)


def _zeros(tree: Any) -> Any:
  return jax.tree.map(jnp.zeros_like, tree)
