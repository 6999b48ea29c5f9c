"""What a selection selects, as a cube: for tests, at tiny sizes, under jit."""

import jax
import jax.numpy as jnp

from tripletjax.types import EachPositive, GapBand, Slots, Stages


def cube(selection, distances, positive, negative):
  """How often each triplet is selected, int32 `[A, R, R]`."""
  if isinstance(selection, Stages):
    return jax.lax.switch(
      selection.stage,
      [
        lambda s=select: cube(s(), distances, positive, negative)
        for select in selection.selections
      ],
    )
  rows, columns = distances.shape
  number = jnp.cumsum(positive, axis=1, dtype=jnp.int32) - 1
  at = jnp.arange(rows)

  def slots(p):
    """The positives in column p."""
    distance = jnp.where(positive[:, p], distances[:, p], jnp.nan)
    column = jnp.full((rows, 1), p, jnp.int32)
    return Slots(distance[:, None], column, number[:, p, None])

  if isinstance(selection, GapBand):
    planes = []
    for p in range(columns):
      gap = distances - slots(p).distance_ap
      where = negative & (gap > selection.low) & (gap <= selection.high)
      if selection.keep is not None:
        where &= selection.keep(slots(p))
      planes.append(where.astype(jnp.int32))
    return jnp.stack(planes, axis=1)
  counts = jnp.zeros((rows, columns, columns), jnp.int32)
  if isinstance(selection, EachPositive):
    for p in range(columns):
      n, where = selection.choose(slots(p))
      where = where[:, 0] & positive[:, p]
      counts = counts.at[at, p, n[:, 0]].add(where.astype(jnp.int32))
    return counts
  a, p, n, where = jnp.broadcast_arrays(*selection)
  return counts.at[a, p, n].add(where.astype(jnp.int32))
