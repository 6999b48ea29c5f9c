"""Where the references of a batch come from: gathered, or in a ring."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ml_collections import ConfigDict

from tripletjax.errors import UserError
from tripletjax.losses import LOSSES, RING_LOSSES, RING_MINERS

# `config.parallel.references` -> losses by name.
REFERENCES: Mapping[str, Mapping[str, Callable[..., Any]]] = {
  "gather": LOSSES,
  "ring": RING_LOSSES,
}


def check_references(config: ConfigDict) -> None:
  """Raises a `UserError` where the loss can't be evaluated in a ring."""
  if config.parallel.references not in REFERENCES:
    raise UserError(
      f"parallel.references: expected one of {', '.join(REFERENCES)}, got "
      f"{config.parallel.references!r}"
    )
  if config.parallel.references != "ring":
    return
  loss = config.loss
  for field, name, known in (
    ("name", loss.name, RING_LOSSES),
    ("miner", loss.miner, RING_MINERS),
  ):
    if name not in known:
      raise UserError(
        f"loss.{field}: expected one of {', '.join(known)} with "
        f"parallel.references=ring, got {name!r}"
      )
  if loss.next_miner or loss.triplets_per_anchor:
    raise UserError(
      'parallel.references: a ring takes one miner without a cap; expected "" '
      "as loss.next_miner and 0 as loss.triplets_per_anchor"
    )
  if config.memory.size:
    raise UserError(
      "parallel.references: expected gather beside memory.size, got ring: a "
      "memory is on each device as a whole"
    )
