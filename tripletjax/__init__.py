"""Triplet mining in JAX: distances, miners and exact losses.

Everything here is a pure function on arrays that jits, vmaps and
differentiates. Training, data and reports are submodules, imported on demand;
so is `Embedder`, a finished run.
"""

from typing import TYPE_CHECKING, Any

from tripletjax.dialects import DIALECTS
from tripletjax.distances import DISTANCES, normalized, pairwise_distance
from tripletjax.errors import UserError
from tripletjax.losses import LOSSES, mined_triplet_loss, triplet_loss
from tripletjax.masks import PairMasks, pair_masks
from tripletjax.miners import MINERS
from tripletjax.reductions import REDUCTIONS, RowTotals, Totals
from tripletjax.types import (
  EachPositive,
  GapBand,
  MinerFn,
  Selection,
  Slots,
  Stages,
  Triplets,
)

if TYPE_CHECKING:
  from tripletjax.inference.embedder import Embedder as Embedder

__version__ = "0.1.0"

__all__ = [
  "DIALECTS",
  "DISTANCES",
  "LOSSES",
  "MINERS",
  "REDUCTIONS",
  "EachPositive",
  "GapBand",
  "MinerFn",
  "PairMasks",
  "RowTotals",
  "Selection",
  "Slots",
  "Stages",
  "Totals",
  "Triplets",
  "UserError",
  "mined_triplet_loss",
  "normalized",
  "pair_masks",
  "pairwise_distance",
  "triplet_loss",
]


def __getattr__(name: str) -> Any:
  """`Embedder` brings Orbax, TFDS and more: only whoever names it waits."""
  if name == "Embedder":
    from tripletjax.inference.embedder import Embedder

    return Embedder
  raise AttributeError(f"module 'tripletjax' has no attribute {name!r}")
