"""What the metrics share: label checks and distances in blocks of rows."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from jax.typing import ArrayLike

# Rows of the distance matrix held at once. Every block has this many rows, the
# last one padded, so that one compilation serves them all.
BLOCK_ROWS = 256


def check_labels(labels: ArrayLike, count: int, name: str) -> np.ndarray:
  """Labels as a NumPy array `[count]`, or an error that names them.

  They stay on the host, where int64 identities aren't cut to 32 bits.

  Raises:
    TypeError: the labels are not integer.
    ValueError: the shape is not `[count]`.
  """
  array = np.asarray(labels)
  if not np.issubdtype(array.dtype, np.integer):
    raise TypeError(f"expected {name} to be integer, got {array.dtype}")
  if array.shape != (count,):
    raise ValueError(
      f"expected {name} of shape ({count},) like its embeddings, "
      f"got shape {array.shape}"
    )
  return array


def row_blocks(count: int) -> Iterator[tuple[np.ndarray, int]]:
  """Row indices `[BLOCK_ROWS]` of each block and how many of them are real.

  The padding repeats row 0, which is valid data and can't make a warning.

  >>> [(rows.shape, real) for rows, real in row_blocks(300)]
  [((256,), 256), ((256,), 44)]
  """
  for start in range(0, count, BLOCK_ROWS):
    real = min(BLOCK_ROWS, count - start)
    rows = np.zeros(BLOCK_ROWS, np.int32)
    rows[:real] = np.arange(start, start + real)
    yield rows, real
