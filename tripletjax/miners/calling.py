"""Calling a miner with what it asks for."""

from __future__ import annotations

import inspect
from typing import Any

import jax
from jax.typing import ArrayLike

from tripletjax.types import MinerFn, Selection


def call_miner(
  miner: MinerFn,
  distances: jax.Array,
  positive_mask: jax.Array,
  negative_mask: jax.Array,
  *,
  margin: ArrayLike,
  key: jax.Array | None,
  **more: Any,
) -> Selection:
  """What a miner selects; `more` goes to one that has such keywords."""
  known = inspect.signature(miner).parameters
  return miner(
    distances,
    positive_mask,
    negative_mask,
    margin=margin,
    key=key,
    **{name: value for name, value in more.items() if name in known},
  )
