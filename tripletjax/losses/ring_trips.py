"""References that travel: each device sees all of them, a block at a time.

The devices stand in a ring. In one trip every device's block of references
visits all devices and comes home; with it travels the gradient by its
embeddings. A device holds one visiting block, so that memory is that of
B/D anchors against B/D references, whatever the number of devices.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from tripletjax.folds import row_count
from tripletjax.losses import rows as row_blocks
from tripletjax.losses.costs import has_lost
from tripletjax.losses.sides import Side
from tripletjax.masks import PairMasks, pair_masks
from tripletjax.miners.slots import candidates_by_label, over_positives
from tripletjax.types import DistanceFn, Slots

# Positives of an anchor that are looked at in one trip.
SLOTS = 64


class Visit(NamedTuple):
  """A tile of anchors, and the block of references that is here.

  Attributes:
    anchors: `[t, ...]`.
    block: `[b, ...]`.
    first: place of the block's first reference in the global batch.
    distance_fn: between both.
  """

  anchors: Side
  block: Side
  first: jax.Array
  distance_fn: DistanceFn

  def pairs(self) -> tuple[jax.Array, PairMasks]:
    """Distances and masks, `[t, b]` each."""
    anchors, block = self.anchors, self.block
    masks = pair_masks(
      anchors.labels,
      block.labels,
      ids=anchors.ids,
      reference_ids=block.ids,
      where=anchors.where,
      reference_where=block.where,
    )
    return self.distance_fn(anchors.embeddings, block.embeddings), masks


# A visit, and what the tile's rows hold -> what they hold now.
LookFn = Callable[[Visit, Any], Any]
# A visit, the gradient by the block's embeddings [b, D], and what the tile's
# rows hold -> the same two, changed.
PayFn = Callable[[Visit, jax.Array, Any], tuple[jax.Array, Any]]


class Ring(NamedTuple):
  """The anchors of a device in tiles, and the same as a block that travels.

  Attributes:
    anchors: `[n, t, ...]`, padded.
    block: `[b, ...]`.
    distance_fn: between anchors and references.
    axis_name: the axis of devices.
  """

  anchors: Side
  block: Side
  distance_fn: DistanceFn
  axis_name: str

  @property
  def rows(self) -> tuple[int, int]:
    """Number of tiles, and of rows in each."""
    tiles, rows = self.anchors.labels.shape
    return tiles, rows

  def look(self, look_fn: LookFn, rows: Any) -> Any:
    """All blocks visit all devices once, to be looked at.

    Args:
      look_fn: is called for each block and tile of anchors.
      rows: what the rows hold, a pytree of `[n, ...]`, a tile an entry.

    Returns:
      The rows.
    """

    def visit_fn(visit: Visit, gradient: None, rows: Any) -> tuple[None, Any]:
      return gradient, look_fn(visit, rows)

    return self._trip(visit_fn, None, rows)[1]

  def pay(self, pay_fn: PayFn, rows: Any) -> tuple[jax.Array, Any]:
    """The same with a gradient, which travels with its block.

    Returns:
      The gradient by this device's own block, `[b, D]`, and the rows.
    """
    return self._trip(pay_fn, jnp.zeros_like(self.block.embeddings), rows)

  def _trip(
    self, visit_fn: Callable[..., tuple], gradient: Any, rows: Any
  ) -> tuple[Any, Any]:
    size = lax.axis_size(self.axis_name)
    here = lax.axis_index(self.axis_name)
    count = len(self.block.labels)
    to_next = [(i, (i + 1) % size) for i in range(size)]

    def station(number: jax.Array, carry: tuple) -> tuple:
      block, gradient, rows = carry
      first = (here - number) % size * count

      def tile(gradient: Any, of: tuple) -> tuple[Any, Any]:
        anchors, rows = of
        visit = Visit(anchors, block, first, self.distance_fn)
        return visit_fn(visit, gradient, rows)

      gradient, rows = lax.scan(tile, gradient, (self.anchors, rows))
      block, gradient = lax.ppermute((block, gradient), self.axis_name, to_next)
      return block, gradient, rows

    start = (self.block, gradient, rows)
    _, gradient, rows = lax.fori_loop(0, size, station, start)
    return gradient, rows

  def flat(self, rows: Any) -> Any:
    """`[n, t, ...]` as `[b, ...]`, without the padding."""
    count = len(self.block.labels)
    return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:])[:count], rows)


def make_ring(side: Side, distance_fn: DistanceFn, axis_name: str) -> Ring:
  """A device's part of the batch, ready to travel."""
  count = len(side.labels)
  # The positives are beside the block in one matrix.
  columns = count + slots(count, axis_name)
  rows = count
  if count * columns > row_blocks.WHOLE:
    rows = row_blocks.block_rows(count, columns)
  padding = -count % rows

  def cut(x: jax.Array) -> jax.Array:
    x = jnp.pad(x, ((0, padding),) + ((0, 0),) * (x.ndim - 1))
    return x.reshape(-1, rows, *x.shape[1:])

  return Ring(Side(*map(cut, side)), side, distance_fn, axis_name)


def slots(count: int, axis_name: str) -> int:
  """How many positives of an anchor are looked at in one trip."""
  return min(SLOTS, count * lax.axis_size(axis_name))


class Positives(NamedTuple):
  """Some positives of each anchor, wherever they are; `[n, t, ...]`.

  Attributes:
    distance: `[n, t, S]`, NaN where there is none.
    column: their places in the global batch, `[n, t, S]`; -1 for none.
    number: of all positives of the anchor so far in the trip, `[n, t]`.
    lost: whether a distance of a valid pair is NaN, `[n, t]`.
  """

  distance: jax.Array
  column: jax.Array
  number: jax.Array
  lost: jax.Array


def collect_positives(ring: Ring, start: jax.Array) -> Positives:
  """The positives number `start` to `start + S` of each anchor, in one trip."""
  shape = (*ring.rows, slots(len(ring.block.labels), ring.axis_name))

  def look_fn(visit: Visit, found: Positives) -> Positives:
    distances, masks = visit.pairs()
    index = jnp.arange(distances.shape[0])[:, None]

    def body(slots: Slots, here: tuple) -> tuple[jax.Array, jax.Array]:
      at = found.number[:, None] + slots.number - start
      inside = ~jnp.isnan(slots.distance_ap) & (at >= 0)
      place = (index, jnp.where(inside, at, shape[2]))
      return (
        here[0].at[place].set(slots.distance_ap, mode="drop"),
        here[1].at[place].set(visit.first + slots.column, mode="drop"),
      )

    distance, column = over_positives(
      body,
      (found.distance, found.column),
      distances,
      masks.positive,
      candidates_by_label(
        visit.anchors.labels, visit.block.labels, visit.block.where
      ),
    )
    return Positives(
      distance,
      column,
      found.number + row_count(masks.positive),
      found.lost | has_lost(distances, masks),
    )

  dtype = ring.block.embeddings.dtype
  nothing = Positives(
    jnp.full(shape, jnp.nan, dtype),
    jnp.full(shape, -1, jnp.int32),
    jnp.zeros(shape[:2], jnp.int32),
    jnp.zeros(shape[:2], bool),
  )
  return ring.look(look_fn, nothing)


def give_back(
  ring: Ring, columns: jax.Array, weights: jax.Array
) -> tuple[jax.Array, jax.Array]:
  """The gradient of a sum of weighted distances, in one trip.

  Args:
    ring: anchors and references.
    columns: of the distances of each anchor in the global batch, `[n, t, m]`;
      -1 for none.
    weights: of these distances, `[n, t, m]`.

  Returns:
    The gradient by the anchors, `[n, t, D]`, and by this device's block.
  """

  def pay_fn(
    visit: Visit, gradient: jax.Array, rows: tuple
  ) -> tuple[jax.Array, tuple]:
    columns, weights, by_anchors = rows
    x, y = visit.anchors.embeddings, visit.block.embeddings
    here = columns - visit.first
    here = jnp.where((here >= 0) & (here < len(y)), here, len(y))
    by_distance = (
      jnp.zeros((len(x), len(y)), weights.dtype)
      .at[jnp.arange(len(x))[:, None], here]
      .add(weights, mode="drop")
    )
    by_x, by_y = jax.vjp(visit.distance_fn, x, y)[1](by_distance)
    return gradient + by_y, (columns, weights, by_anchors + by_x)

  by_anchors = jnp.zeros_like(ring.anchors.embeddings)
  by_block, rows = ring.pay(pay_fn, (columns, weights, by_anchors))
  return rows[2], by_block
