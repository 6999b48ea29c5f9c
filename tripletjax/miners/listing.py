"""A selection as a list of triplets, to be looked at. Not for training."""

from __future__ import annotations

import numpy as np
from jax.typing import ArrayLike

from tripletjax.types import GapBand, Selection


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
  if not isinstance(selection, GapBand):
    where = np.asarray(selection.where)
    indices = np.broadcast_arrays(
      *(np.asarray(part) for part in selection[:3]), where
    )[:3]
    return np.stack([index[where] for index in indices], axis=-1)
  distances = np.asarray(distances)
  positive_mask, negative_mask = map(np.asarray, (positive_mask, negative_mask))
  low, high = np.asarray(selection.low), np.asarray(selection.high)
  rows = []
  for anchor, row in enumerate(distances):
    positives = np.flatnonzero(positive_mask[anchor])
    negatives = np.flatnonzero(negative_mask[anchor])
    gap = row[negatives][None, :] - row[positives][:, None]
    p, n = np.nonzero((gap > low) & (gap <= high))
    anchors = np.full(len(p), anchor)
    rows.append(np.stack([anchors, positives[p], negatives[n]], axis=-1))
  return np.concatenate(rows) if rows else np.zeros((0, 3), int)
