"""The triplet loss of references that travel from device to device.

The same number, gradient and statistics as `mined_triplet_loss` on an axis of
devices, for batches whose embeddings, all of them, don't fit on one. A trip
collects each anchor's positives, 64 at a time; in the next the blocks of
negatives come by, and best negatives or counts are kept; the last trip brings
what is owed to embeddings elsewhere.
"""

from __future__ import annotations

from collections.abc import Mapping

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike

from tripletjax.distances import at_least_float32, resolve_distance
from tripletjax.losses.gradients import with_gradients
from tripletjax.losses.penalty import penalty
from tripletjax.losses.ring_miners import (
  FindFn,
  find_band,
  find_batch_hard,
  find_semi_hard,
)
from tripletjax.losses.ring_rounds import ring_statistics
from tripletjax.losses.ring_trips import make_ring
from tripletjax.losses.rows import Rows
from tripletjax.losses.sides import make_sides
from tripletjax.losses.statistics import statistics
from tripletjax.miners import (
  all_easy,
  all_hard,
  all_semi_hard,
  all_triplets,
  batch_hard,
  semi_hard,
)
from tripletjax.reductions import (
  ReductionFn,
  Totals,
  reduce_totals,
)
from tripletjax.registry import resolve
from tripletjax.types import DistanceFn, MinerFn

RING_MINERS: Mapping[str, MinerFn] = {
  "all": all_triplets,
  "all_hard": all_hard,
  "all_semi_hard": all_semi_hard,
  "all_easy": all_easy,
  "batch_hard": batch_hard,
  "semi_hard": semi_hard,
}
# Of those that aren't bands.
_SEARCHES: Mapping[MinerFn, FindFn] = {
  batch_hard: find_batch_hard,
  semi_hard: find_semi_hard,
}


def ring_triplet_loss(
  embeddings: ArrayLike,
  labels: ArrayLike,
  *,
  axis_name: str,
  miner: str | MinerFn = "semi_hard",
  margin: ArrayLike = 0.2,
  distance: str | DistanceFn = "squared_euclidean",
  soft: bool = False,
  reduction: str | ReductionFn = "mean_active",
  ids: ArrayLike | None = None,
  where: ArrayLike | None = None,
  key: jax.Array | None = None,
  precision: lax.PrecisionLike = None,
) -> tuple[jax.Array, dict[str, jax.Array]]:
  """Triplet loss of a batch over devices, none of which sees all of it at once.

  Memory is that of B/D anchors against B/D references. The embeddings travel 3
  times for batch_hard, 4 for semi_hard and 5 for a band, gradients counted in,
  where `mined_triplet_loss` sends them twice; 2 more for the statistics. An
  anchor with more than 64 positives takes as many trips again for each 64.

  Args:
    embeddings: this device's, `[B / D, dimension]`; they are anchors here and
      references everywhere.
    labels: their identities, integer `[B / D]`.
    axis_name: the axis of devices.
    miner: a name from `RING_MINERS`, or one of its functions.
    margin: see `mined_triplet_loss`, as all that follow.
    distance: likewise, but not "precomputed".
    soft: likewise.
    reduction: likewise, but not "none".
    ids: likewise.
    where: likewise.
    key: not used: no miner here draws.
    precision: likewise.

  Returns:
    The loss and the statistics of `mined_triplet_loss`.

  Raises:
    ValueError: another miner; a distance with weights of its own; or as
      `mined_triplet_loss`.
  """
  del key
  miner_fn = resolve(miner, RING_MINERS, "miner")
  if miner_fn not in RING_MINERS.values():
    raise ValueError(
      f"expected a miner of {', '.join(RING_MINERS)} to mine in a ring"
    )
  if isinstance(reduction, str) and reduction == "none":
    raise ValueError("expected a reduction to one number in a ring, got none")
  count = jnp.shape(labels)[0]
  if ids is None:
    ids = lax.axis_index(axis_name) * count + jnp.arange(count)
  side = make_sides(embeddings, labels, ids=ids, where=where).anchors
  x = at_least_float32(side.embeddings)
  margin = jnp.asarray(margin, x.dtype)
  distance_fn = resolve_distance(distance, precision=precision)
  if jax.closure_convert(distance_fn, x, x)[1]:
    raise ValueError(
      "expected a distance without weights of its own, by which the gradient "
      "would have to travel too"
    )
  constant = lax.stop_gradient(margin)
  still = side._replace(embeddings=lax.stop_gradient(x))
  ring = make_ring(still, distance_fn, axis_name)
  find = _SEARCHES.get(miner_fn) or find_band(miner_fn)
  found = find(ring, constant, soft)
  lost = found.lost
  loss = with_gradients(
    jnp.sum(jnp.where(lost, jnp.nan, found.totals.loss)),
    (x, margin),
    (
      jnp.where(lost[:, None], jnp.nan, found.by_embeddings),
      found.by_margin,
    ),
  )
  totals = Totals(
    loss,
    jnp.sum(found.totals.selected),
    jnp.sum(found.totals.active),
    jnp.sum(found.positives, dtype=x.dtype),
    jnp.sum(side.where, dtype=x.dtype),
  )
  # Added up here, so that the loss of every device has one cotangent: the
  # gradient by a reference is the sum over all devices before it is known.
  totals = lax.psum(totals, axis_name)
  extras = ring_statistics(ring, constant)
  rows = Rows(loss, found.totals.selected, found.totals.active, extras)
  at_margin = penalty(constant, soft=soft)
  return reduce_totals(totals, reduction), statistics(
    rows, extras, totals, constant, at_margin, side, axis_name
  )
