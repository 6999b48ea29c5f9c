"""Cross-batch memory: the embeddings of earlier batches as references.

Wang et al., "Cross-Batch Memory for Embedding Learning" (2020): a network moves
slowly after its first steps, so that yesterday's embeddings are negatives, and
positives, nearly as good as today's, and cost neither a forward pass nor
activations. A ring of fixed size in the train state: the oldest go first. All
devices hold the same one. No gradient flows into it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Int

from tripletjax.errors import UserError


class Memory(NamedTuple):
  """The latest M embeddings.

  Attributes:
    embeddings: `[M, D]`, float32.
    labels: `[M]`.
    ids: of the examples, `[M]`.
    cursor: where the next one goes, a scalar.
    filled: how many there are, a scalar.
  """

  embeddings: Float[Array, "m d"]
  labels: Int[Array, " m"]
  ids: Int[Array, " m"]
  cursor: Int[Array, ""]
  filled: Int[Array, ""]


class Remembered(NamedTuple):
  """A batch over all devices, as it goes into the memory.

  Attributes:
    embeddings: `[B, D]`.
    labels: `[B]`.
    ids: `[B]`.
  """

  embeddings: Float[Array, "b d"]
  labels: Int[Array, " b"]
  ids: Int[Array, " b"]


def empty_memory(size: int, dimension: int) -> Memory:
  """A memory of `size` embeddings, none of them there yet."""
  return Memory(
    jnp.zeros((size, dimension)),
    jnp.zeros(size, jnp.int32),
    jnp.zeros(size, jnp.int32),
    jnp.int32(0),
    jnp.int32(0),
  )


def with_memory(
  memory: Memory,
  embeddings: Float[Array, "b d"],
  labels: Int[Array, " b"],
  ids: Int[Array, " b"],
  *,
  axis_name: str,
  used: ArrayLike,
) -> tuple[dict[str, jax.Array], Remembered]:
  """References of a loss: the batch of all devices, and then the memory.

  An earlier copy of an anchor has its id, so that the loss takes it for neither
  a positive nor a negative.

  Args:
    memory: before this batch.
    embeddings: this device's share of the batch, `[b, D]`.
    labels: `[b]`.
    ids: `[b]`.
    axis_name: the axis of devices.
    used: False in the warm-up, when the memory is only filled.

  Returns:
    The loss's keywords, and the batch to remember.
  """
  batch = Remembered(
    *lax.all_gather((embeddings, labels, ids), axis_name, tiled=True)
  )
  there = used & (jnp.arange(len(memory.ids)) < memory.filled)
  references = {
    "references": jnp.concatenate([batch.embeddings, memory.embeddings]),
    "reference_labels": jnp.concatenate([batch.labels, memory.labels]),
    "reference_ids": jnp.concatenate([batch.ids, memory.ids]),
    "reference_where": jnp.concatenate([jnp.ones(len(batch.ids), bool), there]),
  }
  return references, lax.stop_gradient(batch)


def remember(memory: Memory, batch: Remembered) -> Memory:
  """The memory with a batch in place of the oldest."""
  size, count = len(memory.ids), len(batch.ids)
  at = (memory.cursor + jnp.arange(count, dtype=jnp.int32)) % size
  return Memory(
    memory.embeddings.at[at].set(batch.embeddings.astype(jnp.float32)),
    memory.labels.at[at].set(batch.labels),
    memory.ids.at[at].set(batch.ids),
    (memory.cursor + count) % size,
    jnp.minimum(memory.filled + count, size),
  )


def drift(
  memory: Memory, batch: Remembered, first: ArrayLike
) -> Float[Array, ""]:
  """How far a stored batch is from what it's embedded as now.

  Mean squared Euclidean distance, the feature drift of Wang et al. (2020).

  Args:
    memory: that holds the whole batch.
    batch: embedded now, by the images and keys of its step.
    first: where it begins in the memory.
  """
  size, count = len(memory.ids), len(batch.ids)
  at = (first + jnp.arange(count, dtype=jnp.int32)) % size
  moved = memory.embeddings[at] - batch.embeddings
  return jnp.mean(jnp.sum(moved**2, axis=1))


def stored_steps(
  step: int, *, size: int, batch: int, skipped: Sequence[int] = ()
) -> tuple[int, int] | None:
  """The oldest and the newest step whose whole batch is there after `step`.

  Args:
    step: number of steps done.
    size: of the memory.
    batch: images of a batch.
    skipped: steps, from 0, whose batch wasn't remembered.

  Returns:
    Steps from 0; None if all were skipped.

  >>> stored_steps(10, size=70, batch=32)  # two batches and a part of a third
  (8, 9)
  >>> stored_steps(10, size=70, batch=32, skipped=[7, 9])
  (6, 8)
  """
  there: list[int] = []
  missing = set(skipped)
  while step > 0 and len(there) < size // batch:
    step -= 1
    if step not in missing:
      there.append(step)
  return (there[-1], there[0]) if there else None


def check_memory(
  size: int, *, batch: int, references: str, warped: bool = False
) -> None:
  """Raises a `UserError` unless a memory of this size can be used.

  Args:
    size: `memory.size`; 0 is none.
    batch: images of a batch.
    references: `parallel.references`.
    warped: whether identities are others in each batch (`augment.identity_*`).
  """
  if size and warped:
    raise UserError(
      "memory.size: expected 0 beside augment.identity_*, by which an identity "
      f"of an earlier batch was another one, got {size}"
    )
  if size and size < batch:
    raise UserError(
      f"memory.size: expected 0, or at least the {batch} images of a batch, "
      f"got {size}"
    )
  if size and references != "gather":
    raise UserError(
      "parallel.references: expected gather beside memory.size, got "
      f"{references}"
    )
