"""Blocks of anchor rows, one after another, and what they add up to."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from tripletjax.distances import at_least_float32
from tripletjax.losses.sides import Side

# Maps what is differentiated, labels and where to look to the loss and more.
Evaluate = Callable[..., tuple[jax.Array, tuple]]


class Blocks:
  """Rows cut into blocks, and put back.

  Rows with as many positives are beside each other: the passes over the
  positives of a block are as many as its largest identity needs.

  Attributes:
    labels: the rows, and where to look for their positives, block by block.
    real: `[blocks, block]`, False for rows that fill up the last block.
  """

  def __init__(self, rows: Side, looks: tuple, block: int) -> None:
    """Cuts rows into blocks of `block`."""
    count = len(rows.labels)
    positives = looks[1]
    self._order = lax.cond(
      jnp.all(
        positives == positives[:1]
      ),  # as they mostly are: no need to sort
      lambda: jnp.arange(count),
      lambda: jnp.argsort(positives, stable=True),
    )
    self._shape = (-(-count // block), block)
    number = jnp.arange(math.prod(self._shape))
    self.real = number.reshape(self._shape) < count
    self.labels = jax.tree.map(self.cut, lax.stop_gradient((rows, looks)))

  def cut(self, rows: jax.Array) -> jax.Array:
    """Rows `[A, ...]` as `[blocks, block, ...]`."""
    filled = math.prod(self._shape) - len(self._order)
    padding = jnp.zeros((filled,), self._order.dtype)
    rows = rows[jnp.concatenate([self._order, padding])]
    return rows.reshape(*self._shape, *rows.shape[1:])

  def back(self, blocks: Any) -> Any:
    """What `cut` did, undone, for each array of a tree."""
    count = len(self._order)
    places = (
      jnp.zeros_like(self._order)
      .at[self._order]
      .set(jnp.arange(count, dtype=self._order.dtype), unique_indices=True)
    )
    return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:])[places], blocks)

  def of(self, labels: tuple, real: jax.Array) -> tuple[Side, Any]:
    """Labels of one block, and where to look; `real` is its row."""
    side, looks = labels
    return side._replace(where=side.where & real), looks


def in_blocks(
  evaluate: Evaluate,
  anchors: Any,
  references: Any,
  parameters: Any,
  blocks: Blocks,
) -> tuple[jax.Array, tuple, tuple]:
  """Sum, gradients, and results of all rows, in the rows' own order.

  Args:
    evaluate: a block's anchors, the references and the parameters, then labels
      and where to look, to its loss, and results of its rows.
    anchors: a pytree of what there is of each row, `[A, ...]`.
    references: a pytree.
    parameters: a pytree.
    blocks: how the rows are cut.
  """

  def step(sums: tuple, inputs: tuple) -> tuple[tuple, tuple]:
    here, labels, real = inputs
    (value, results), by = jax.value_and_grad(evaluate, has_aux=True)(
      (here, references, parameters), *blocks.of(labels, real)
    )
    sums = jax.tree.map(jnp.add, sums, (value, *by[1:]))
    return sums, (by[0], results)

  start = _zeros((_zero(anchors), references, parameters))
  cut = jax.tree.map(blocks.cut, anchors)
  (loss, *by_others), stacked = lax.scan(
    step, start, (cut, blocks.labels, blocks.real)
  )
  by_anchors, results = blocks.back(stacked)
  return loss, (by_anchors, *by_others), results


def _zero(anchors: Any) -> jax.Array:
  embeddings, *_ = jax.tree.leaves(anchors)
  return jnp.zeros((), at_least_float32(embeddings[:0]).dtype)


def _zeros(tree: Any) -> Any:
  return jax.tree.map(jnp.zeros_like, tree)
