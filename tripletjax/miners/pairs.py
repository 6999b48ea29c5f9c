"""Miners that keep pairs, or triplets, by a condition of their own."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float

from tripletjax.distances import at_least_float32, euclidean_distance
from tripletjax.types import Embeddings, GapBand, Slots


def multi_similarity(
  distances: Float[Array, "a r"],
  positive_mask: Bool[Array, "a r"],
  negative_mask: Bool[Array, "a r"],
  *,
  margin: ArrayLike,
  key: jax.Array | None = None,
  epsilon: float = 0.1,
) -> GapBand:
  """All triplets of the pairs that multi-similarity mining keeps.

  Wang et al., 2019: a negative is kept if it is nearer than the anchor's
  farthest positive plus epsilon, a positive if it is farther than the nearest
  negative minus epsilon. Epsilon, .1 in the paper, is in the unit of the
  distance; the paper's is the cosine distance.
  """
  del margin, key
  farthest = jnp.max(
    distances, axis=1, where=positive_mask, initial=-jnp.inf, keepdims=True
  )
  nearest = jnp.min(
    distances, axis=1, where=negative_mask, initial=jnp.inf, keepdims=True
  )
  kept = distances < farthest + epsilon
  return GapBand(
    -math.inf,
    math.inf,
    lambda slots: kept & (slots.distance_ap > nearest - epsilon),
  )


def pair_margin(
  distances: Float[Array, "a r"],
  positive_mask: Bool[Array, "a r"],
  negative_mask: Bool[Array, "a r"],
  *,
  margin: ArrayLike,
  key: jax.Array | None = None,
  positive_margin: float = 0.2,
  negative_margin: float = 0.8,
) -> GapBand:
  """All triplets of positives too far and negatives too near.

  The pair margin miner of pytorch-metric-learning: positives farther than
  `positive_margin`, negatives nearer than `negative_margin`, in the unit of the
  distance.
  """
  del positive_mask, negative_mask, margin, key
  kept = distances < negative_margin
  return GapBand(
    -math.inf,
    math.inf,
    lambda slots: kept & (slots.distance_ap > positive_margin),
  )


def angular(
  distances: Float[Array, "a r"],
  positive_mask: Bool[Array, "a r"],
  negative_mask: Bool[Array, "a r"],
  *,
  margin: ArrayLike,
  key: jax.Array | None = None,
  embeddings: Embeddings | None = None,
  angle: float = 20.0,
) -> GapBand:
  """All triplets whose negative sees the pair under more than an angle.

  Of the angular loss (Wang et al., 2017): with the centre c between anchor and
  positive, `atan(|a - p| / (2 |n - c|))` above `angle`, in degrees. Lengths are
  Euclidean whatever the distance of the loss is.

  Raises:
    ValueError: there are no embeddings (the distances are precomputed).
  """
  del distances, positive_mask, negative_mask, margin, key
  if embeddings is None:
    raise ValueError(
      "expected embeddings: angular looks at angles between them"
    )
  anchors, references = map(at_least_float32, embeddings)
  tangent = math.tan(math.radians(angle))

  def keep(slots: Slots) -> jax.Array:
    positives = references[slots.column[:, 0]]
    centres = (anchors + positives) / 2
    half = jnp.sqrt(jnp.sum((positives - centres) ** 2, axis=1, keepdims=True))
    return half > tangent * euclidean_distance(centres, references)

  return GapBand(-math.inf, math.inf, keep)
