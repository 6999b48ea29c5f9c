"""Examples by identity: the index from which batches are drawn.

Four bytes for each image and twelve for each identity; built by a counting
sort, in time that grows with the number of images and not faster.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import scipy
from numpy.typing import ArrayLike

from tripletjax.errors import UserError


class Index(NamedTuple):
  """Example ids, identity by identity.

  Attributes:
    order: example ids sorted by identity, int32 `[N]`.
    labels: the identities that have two images or more, int32 `[U]`.
    starts: where each of them starts in `order`, int32 `[U]`.
    counts: number of its images, int32 `[U]`.
    lone: number of identities with a single image.
  """

  order: np.ndarray
  labels: np.ndarray
  starts: np.ndarray
  counts: np.ndarray
  lone: int


class Grouped(NamedTuple):
  """An index whose identities stand group by group.

  Attributes:
    usable: the index; `labels`, `starts` and `counts` sorted by group.
    bounds: group g is `bounds[g]` to `bounds[g + 1]`, `[G + 1]`; None where
      identities aren't grouped.
    skipped_groups: groups that are too small for a batch.
    skipped_identities: identities in these, which aren't in the index.
  """

  usable: Index
  bounds: np.ndarray | None
  skipped_groups: int
  skipped_identities: int


def index_labels(labels: ArrayLike) -> Index:
  """Sorts the examples by identity.

  Args:
    labels: integer identities of all examples, `[N]`, N below 2^31.

  >>> index_labels([5, 8, 5, 9, 8]).order.tolist()
  [0, 2, 1, 4, 3]
  """
  labels = np.asarray(labels)
  count = len(labels)
  if not count:
    none = np.empty(0, np.int32)
    return Index(none, none, none, none, 0)
  values = None
  if labels.min() < 0 or labels.max() > 4 * count:
    values, labels = np.unique(labels, return_inverse=True)
  # A matrix with a one for each example, from columns to rows: SciPy's way is
  # a counting sort, stable, in 32 bits. NumPy's sorting takes three times as
  # long, and twelve bytes for each image.
  rows = scipy.sparse.csc_array(
    (
      np.ones(count, np.int8),
      labels.astype(np.int32, copy=False),
      np.arange(count + 1, dtype=np.int32),
    ),
    shape=(int(labels.max()) + 1, count),
  ).tocsr()
  counts = np.diff(rows.indptr).astype(np.int32, copy=False)
  usable = np.flatnonzero(counts > 1).astype(np.int32)
  return Index(
    order=rows.indices.astype(np.int32, copy=False),
    labels=(usable if values is None else values[usable]).astype(np.int32),
    starts=rows.indptr[usable].astype(np.int32, copy=False),
    counts=counts[usable],
    lone=int((counts == 1).sum()),
  )


def group_index(
  index: Index, groups: ArrayLike | None, *, identities: int
) -> Grouped:
  """Sorts the identities of an index by group.

  Args:
    index: of all examples.
    groups: integer group of each example, `[N]`; None where there are none.
    identities: P; a group with fewer identities is left out.

  Raises:
    UserError: there are no groups, an identity is in two of them, or none
      holds P identities.
  """
  if groups is None:
    raise UserError(
      'batch.within: expected "", since the data has no groups, got "group"'
    )
  groups = np.asarray(groups)
  owners = groups[index.order[index.starts]]
  # The images of an identity lie side by side: where its smallest and its
  # largest group differ, it has two.
  if len(owners):
    sorted_groups = groups[index.order]
    spans = np.stack([index.starts, index.starts + index.counts], 1).ravel()
    padded = np.append(sorted_groups, sorted_groups[-1])
    lowest = np.minimum.reduceat(padded, spans)[::2]
    highest = np.maximum.reduceat(padded, spans)[::2]
    split = int((lowest != highest).sum())
    if split:
      raise UserError(
        'batch.within: expected "", since identities have images in more than '
        f'one group ({split} of {len(owners)}), got "group"'
      )
  sizes = np.bincount(owners) if len(owners) else np.zeros(1, int)
  if identities > sizes.max():
    raise UserError(
      f"batch.identities: expected at most {sizes.max()}, the identities with "
      f"two images or more of the largest group, got {identities}"
    )
  large = sizes >= identities
  sorted_by_group = np.argsort(owners, kind="stable")
  kept = sorted_by_group[large[owners[sorted_by_group]]]
  return Grouped(
    usable=index._replace(
      labels=index.labels[kept],
      starts=index.starts[kept],
      counts=index.counts[kept],
    ),
    bounds=np.append(0, np.cumsum(sizes[large])),
    skipped_groups=int(((sizes > 0) & ~large).sum()),
    skipped_identities=int(sizes[~large].sum()),
  )
