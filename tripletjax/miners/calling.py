"""Calling a miner with what it asks for."""

from __future__ import annotations

import inspect

import jax
from jax.typing import ArrayLike

from tripletjax.types import Embeddings, MinerFn, Selection


def call_miner(
  miner: MinerFn,
  distances: jax.Array,
  positive_mask: jax.Array,
  negative_mask: jax.Array,
  *,
  margin: ArrayLike,
  key: jax.Array | None,
  embeddings: Embeddings | None,
) -> Selection:
  """What a miner selects; `embeddings` go to one that has such a keyword."""
  more = {}
  if "embeddings" in inspect.signature(miner).parameters:
    more["embeddings"] = embeddings
  return miner(
    distances, positive_mask, negative_mask, margin=margin, key=key, **more
  )
