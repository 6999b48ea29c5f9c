"""A loss over blocks of anchor rows, with the gradient in the same pass.

Rows are independent, so that a batch is evaluated some rows at a time; value
and gradient of a block are computed together and added up (`blocks.py`), and of
a large batch nothing of the size `[A, R]` is kept. A loss is written once, for
one block.

Chosen by prototypes on two cores, all triplets, times the pairwise distances:
one block is best at 256 (1.0; in blocks of 64 rows 1.8), blocks of 256 rows at
1,800 (1.4; in one block 2.5), of 128 at 4,096 (0.78; of 256 0.86) and at 8,192
(0.77; of 64 0.82).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

from tripletjax.folds import WIDTH
from tripletjax.losses.blocks import Blocks, in_blocks
from tripletjax.losses.gradients import with_gradients
from tripletjax.losses.own import own_distances
from tripletjax.losses.sides import Side, Sides
from tripletjax.masks import PairMasks, pair_masks
from tripletjax.miners.slots import Candidates, candidates_by_label
from tripletjax.parts import in_parts
from tripletjax.reductions import RowTotals
from tripletjax.searches import are_cut_well
from tripletjax.types import DistanceFn

# Elements of a matrix that is evaluated in one block.
WHOLE = 512 * 512
# Rows and elements of a block beyond, at most: more rows only where they stay
# near the processor, as each block adds to the gradient of all references.
BLOCKS = ((256, 2**19), (128, 2**20))
# Columns of a multiple of which there is one more run of padding: `padding_of`.
PAGE = 1024


class Block(NamedTuple):
  """Some anchors against all references: what a loss sees.

  Attributes:
    anchors: `[a, D]`, constants.
    references: `[R, D]`, constants.
    prepared: what the distance needs of each anchor by itself, and of each
      reference: `DistanceParts.prepare` of both.
    labels: identities of the anchors, `[a]`.
    distances: `[a, R]`.
    masks: `[a, R]` each.
    candidates: where the positives are.
    keys: a PRNG key for each row, `[a]`, or None.
  """

  anchors: Float[Array, "a d"]
  references: Float[Array, "r d"]
  prepared: tuple[Any, Any]
  labels: Int[Array, " a"]
  distances: Float[Array, "a r"]
  masks: PairMasks
  candidates: Candidates
  keys: jax.Array | None


class Rows(NamedTuple):
  """A loss, evaluated.

  Attributes:
    loss: the sum, a scalar, or `[A]` where rows were asked for.
    selected: number of terms of each row, `[A]`.
    active: number of terms above 0 of each row, `[A]`.
    extras: what else the loss returned for each row, `[A, ...]` each.
  """

  loss: jax.Array
  selected: Float[Array, " a"]
  active: Float[Array, " a"]
  extras: Any


RowFn = Callable[[Block, Any], tuple[RowTotals, Any]]


def over_rows(
  row_fn: RowFn,
  sides: Sides,
  parameters: Any,
  *,
  distance_fn: DistanceFn,
  keys: jax.Array | None = None,
  each_pair_once: bool = False,
  per_row: bool = False,
) -> Rows:
  """Evaluates a loss over all anchors.

  Args:
    row_fn: maps a block and the parameters to totals of each row, and to extras
      of each row that have no gradient.
    sides: anchors and references.
    parameters: a pytree of floating arrays that the loss is differentiable by.
    distance_fn: `[a, D]` and `[R, D]` to `[a, R]`.
    keys: a PRNG key for each anchor, `[A]`.
    each_pair_once: a pair is positive from the smaller id to the larger only.
    per_row: the loss of each row; this keeps matrices of `[A, R]`.
  """
  rows, columns = len(sides.anchors.labels), len(sides.references.labels)
  whole = per_row or rows * columns <= WHOLE or _has_weights(distance_fn, sides)
  precomputed = sides.references.embeddings.shape[1] == 0
  references = sides.references
  if not whole and not precomputed:
    references = _padded(references, padding_of(columns))
  candidates = candidates_by_label(
    sides.anchors.labels, references.labels, references.where
  )

  parts = in_parts(distance_fn)
  constant = lax.stop_gradient(references.embeddings)

  def block_of(
    labels: Side, where_to_look: Any, prepared: tuple, distances: jax.Array
  ) -> Block:
    first, count, keys = where_to_look
    return Block(
      lax.stop_gradient(labels.embeddings),
      constant,
      prepared,
      labels.labels,
      distances,
      _masks(labels, references, sides.share_ids, each_pair_once),
      Candidates(candidates.order, first, count),
      keys,
    )

  looks = (candidates.first, candidates.counts, keys)
  prepared = (
    parts.prepare(sides.anchors.embeddings),
    parts.prepare(references.embeddings),
  )
  if whole:
    anchors = sides.anchors.embeddings
    distances = (
      own_distances(distance_fn, anchors)
      if sides.references is sides.anchors
      else distance_fn(anchors, references.embeddings)
    )
    block = block_of(sides.anchors, looks, prepared, distances)
    totals, extras = row_fn(block, parameters)
    loss = totals.loss if per_row else jnp.sum(totals.loss)
    return Rows(loss, totals.selected, totals.active, extras)

  def evaluate(
    differentiable: tuple, labels: Side, where_to_look: Any
  ) -> tuple[jax.Array, tuple]:
    x, y, parameters = differentiable
    block = block_of(labels, where_to_look, (x, y), parts.between(x, y))
    totals, extras = row_fn(block, parameters)
    return jnp.sum(totals.loss), (totals.selected, totals.active, extras)

  inputs = (*prepared, parameters)
  blocks = Blocks(sides.anchors, looks, block_rows(rows, columns))
  loss, by, results = in_blocks(evaluate, *lax.stop_gradient(inputs), blocks)
  return Rows(with_gradients(loss, inputs, by), *results)


def _has_weights(distance_fn: DistanceFn, sides: Sides) -> bool:
  """Whether a distance closes over arrays that it may be differentiated by.

  The gradient in the same pass is by what a block is given; of anything else
  only plain differentiation knows.
  """
  x, y = sides.anchors.embeddings, sides.references.embeddings
  _, weights = jax.closure_convert(distance_fn, x, y)
  return len(weights) > 0


def padding_of(columns: int) -> int:
  """How many columns more make rows that compute well.

  >>> [padding_of(columns) for columns in (1800, 1824, 4096, 8192)]
  [24, 0, 32, 64]
  """
  widths = itertools.count(columns + -columns % WIDTH, WIDTH)
  # Rows that begin at the same place of a page: a product that goes down the
  # columns takes twice as long at 1,024, 4,096 and 8,192 of them.
  return next(w for w in widths if w % PAGE and are_cut_well(w)) - columns


def block_rows(rows: int, columns: int) -> int:
  """How many of the rows are evaluated in one block; a multiple of 8.

  >>> [block_rows(n, n) for n in (1024, 1800, 4096, 8192)]
  [256, 200, 128, 128]
  """
  limit = max(8, *(min(most, size // columns) for most, size in BLOCKS))
  fewest = -(-rows // limit)

  def of_each(blocks: int) -> int:
    even = -(-rows // blocks)
    return even + -even % 8

  # One block more may leave fewer rows that are none.
  counts = range(fewest, fewest + fewest // 8 + 1)
  return of_each(min(counts, key=lambda blocks: blocks * of_each(blocks)))


def _masks(
  rows: Side, columns: Side, share_ids: bool, each_pair_once: bool
) -> PairMasks:
  masks = pair_masks(
    rows.labels,
    columns.labels,
    ids=rows.ids if share_ids else None,
    reference_ids=columns.ids if share_ids else None,
    where=rows.where,
    reference_where=columns.where,
  )
  if not each_pair_once:
    return masks
  return masks._replace(
    positive=masks.positive & (rows.ids[:, None] < columns.ids[None, :])
  )


def _padded(side: Side, count: int) -> Side:
  """A side with `count` more entries that are padding."""
  if not count:
    return side
  return Side(
    *(jnp.pad(x, ((0, count),) + ((0, 0),) * (x.ndim - 1)) for x in side)
  )
