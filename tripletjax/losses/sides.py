"""Anchors (rows) and references (columns) of a batch, completed and checked."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float, Int

from tripletjax.distances import check_embeddings
from tripletjax.masks import check_vector


class Side(NamedTuple):
  """One side of the matrix of pairs: its anchors, or its references.

  Attributes:
    embeddings: `[N, D]`, 0 where there is padding. The anchors of a precomputed
      matrix hold its rows, `[A, R]`, and the references `[R, 0]`.
    labels: `[N]`.
    ids: `[N]`.
    where: `[N]`, False where there is padding.
  """

  embeddings: Float[Array, "n d"]
  labels: Int[Array, " n"]
  ids: Int[Array, " n"]
  where: Bool[Array, " n"]


class Sides(NamedTuple):
  """Anchors and references.

  Attributes:
    anchors: the rows.
    references: the columns.
    share_ids: whether equal ids mean one example; False where references came
      without ids, so that no pair is a self-pair.
  """

  anchors: Side
  references: Side
  share_ids: bool


def make_sides(
  embeddings: ArrayLike,
  labels: ArrayLike,
  references: ArrayLike | None = None,
  reference_labels: ArrayLike | None = None,
  *,
  ids: ArrayLike | None = None,
  reference_ids: ArrayLike | None = None,
  where: ArrayLike | None = None,
  reference_where: ArrayLike | None = None,
  axis_name: str | None = None,
  precomputed: bool = False,
) -> Sides:
  """Both sides; `mined_triplet_loss` describes the arguments.

  With `precomputed`, `embeddings` is a matrix of distances, `[A, R]`.

  Raises:
    TypeError: embeddings are not floating, labels or ids not integer, or a
      `where` not boolean.
    ValueError: a length doesn't fit, or one of two that belong together is
      missing.
  """
  anchors = check_embeddings(embeddings, "embeddings")
  count = len(anchors)
  rows = Side(
    anchors,
    check_vector(labels, "labels", integer=True, length=count),
    _ids_or_positions(ids, count, axis_name),
    _where(where, "where", count),
  )
  if precomputed:
    references = _no_embeddings(rows, references, reference_labels, axis_name)
  if (references is None) != (reference_labels is None):
    raise ValueError(
      "expected references and reference_labels, got only one of them"
    )
  if references is None or reference_labels is None:
    if reference_ids is not None or reference_where is not None:
      raise ValueError(
        "expected reference_labels beside reference_ids or reference_where"
      )
    rows = rows._replace(embeddings=_zero_padding(rows.embeddings, rows.where))
    columns = rows
    if precomputed:
      columns = rows._replace(embeddings=jnp.zeros((count, 0), anchors.dtype))
    elif axis_name is not None:
      columns = Side(*lax.all_gather(tuple(rows), axis_name, tiled=True))
    return Sides(rows, columns, share_ids=True)
  if (ids is None) != (reference_ids is None):
    raise ValueError("expected ids and reference_ids, got only one of them")
  columns = _references(
    references,
    reference_labels,
    reference_ids,
    reference_where,
    dimension=0 if precomputed else anchors.shape[1],
  )
  if precomputed and anchors.shape[1] != len(columns.labels):
    raise ValueError(
      "expected reference_labels, one for each column of the distances: "
      f"[{anchors.shape[1]}], got {columns.labels.shape}"
    )
  rows = rows._replace(embeddings=_zero_padding(rows.embeddings, rows.where))
  return Sides(rows, columns, share_ids=reference_ids is not None)


def _references(
  references: ArrayLike,
  reference_labels: ArrayLike,
  reference_ids: ArrayLike | None,
  reference_where: ArrayLike | None,
  *,
  dimension: int,
) -> Side:
  embeddings = check_embeddings(references, "references")
  labels = check_vector(reference_labels, "reference_labels", integer=True)
  if embeddings.shape != (len(labels), dimension):
    raise ValueError(
      f"expected references of shape {(len(labels), dimension)}, "
      f"got {embeddings.shape}"
    )
  where = _where(reference_where, "reference_where", len(labels))
  ids = jnp.arange(len(labels))
  if reference_ids is not None:
    ids = check_vector(
      reference_ids, "reference_ids", integer=True, length=len(labels)
    )
  return Side(_zero_padding(embeddings, where), labels, ids, where)


def _no_embeddings(
  rows: Side,
  references: ArrayLike | None,
  reference_labels: ArrayLike | None,
  axis_name: str | None,
) -> jax.Array | None:
  """What stands for the references of a precomputed matrix."""
  if references is not None:
    raise ValueError(
      "expected no references beside precomputed distances: their columns are "
      "the references"
    )
  count, columns = rows.embeddings.shape
  if reference_labels is not None:
    size = jnp.shape(reference_labels)[0]
    return jnp.zeros((size, 0), rows.embeddings.dtype)
  if axis_name is not None or count != columns:
    raise ValueError(
      "expected reference_labels: precomputed distances of shape "
      f"{(count, columns)} are not those of a batch to itself"
    )
  return None


def _where(where: ArrayLike | None, name: str, count: int) -> jax.Array:
  if where is None:
    return jnp.ones(count, bool)
  return check_vector(where, name, integer=False, length=count)


def _ids_or_positions(
  ids: ArrayLike | None, count: int, axis_name: str | None
) -> jax.Array:
  """The ids, or positions in the batch over all devices."""
  if ids is not None:
    return check_vector(ids, "ids", integer=True, length=count)
  first = 0 if axis_name is None else lax.axis_index(axis_name) * count
  return first + jnp.arange(count)


def _zero_padding(embeddings: jax.Array, where: jax.Array) -> jax.Array:
  # Padding may hold anything: the backward matrix product would multiply a NaN
  # there with the zero gradient of its distances.
  return jnp.where(where[:, None], embeddings, 0)
