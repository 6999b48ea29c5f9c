"""A selection as a list of triplets, to be looked at. Not for training."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from tripletjax.miners.slots import candidates_by_mask
from tripletjax.types import (
  EachPositive,
  GapBand,
  Selection,
  Slots,
  Stages,
  Triplets,
)


def list_triplets(
  distances: ArrayLike,
  positive_mask: ArrayLike,
  negative_mask: ArrayLike,
  selection: Selection,
) -> np.ndarray:
  """All triplets of a selection; on the host, row by row.

  Args:
    distances: `[A, R]`.
    positive_mask: `[A, R]`.
    negative_mask: `[A, R]`.
    selection: what a miner returned for them.

  Returns:
    Integer `[T, 3]`: anchor row, positive column, negative column.
  """
  distances, positive_mask = jnp.asarray(distances), jnp.asarray(positive_mask)
  while isinstance(selection, Stages):
    selection = selection.selections[int(np.asarray(selection.stage))]()
  if isinstance(selection, GapBand):
    return _list_band(
      distances, positive_mask, np.asarray(negative_mask), selection
    )
  if isinstance(selection, EachPositive):
    slots = all_slots(distances, positive_mask)
    negative, where = selection.choose(slots)
    where &= ~jnp.isnan(slots.distance_ap)
    anchor = jnp.arange(len(negative))[:, None]
    selection = Triplets(anchor, slots.column, negative, where)
  a, p, n, taken = np.broadcast_arrays(*map(np.asarray, selection))
  return np.stack([a[taken], p[taken], n[taken]], axis=-1)


def all_slots(distances: jax.Array, positive_mask: jax.Array) -> Slots:
  """All positives of all anchors as one chunk of slots, `[A, R]`."""
  candidates = candidates_by_mask(positive_mask)
  number = jnp.broadcast_to(
    jnp.arange(distances.shape[1], dtype=jnp.int32), distances.shape
  )
  distance_ap = jnp.take_along_axis(distances, candidates.order, axis=1)
  present = number < candidates.counts[:, None]
  return Slots(
    jnp.where(present, distance_ap, jnp.nan), candidates.order, number
  )


def _list_band(
  distances: jax.Array,
  positive_mask: jax.Array,
  negative_mask: np.ndarray,
  band: GapBand,
) -> np.ndarray:
  low, high = np.asarray(band.low), np.asarray(band.high)
  slots = all_slots(distances, positive_mask)
  triplets = []
  for s in range(int(positive_mask.sum(axis=1).max(initial=0))):
    one = Slots(*(part[:, s : s + 1] for part in slots))
    gap = np.asarray(distances) - np.asarray(one.distance_ap)
    where = negative_mask & (gap > low) & (gap <= high)
    if band.keep is not None:
      where &= np.asarray(band.keep(one))
    anchor, negative = np.nonzero(where)
    positive = np.asarray(one.column)[anchor, 0]
    triplets.append(np.stack([anchor, positive, negative], axis=-1))
  listed = np.concatenate([np.zeros((0, 3), int), *triplets])
  return listed[np.argsort(listed[:, 0], kind="stable")]
