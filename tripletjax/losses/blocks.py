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

  def back(self, blocks: Any) -> Any:
    """What `cut` did, undone, for each array of a tree."""
    places = jnp.argsort(self._order)
    return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:])[places], blocks)

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


def _zero(anchors: jax.Array) -> jax.Array:
  return jnp.zeros((), at_least_float32(anchors[:0]).dtype)


def _zeros(tree: Any) -> Any:
  return jax.tree.map(jnp.zeros_like, tree)
