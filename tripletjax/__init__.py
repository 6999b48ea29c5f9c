"""Triplet mining in JAX: distances, miners and exact losses.

Everything here is a pure function on arrays that jits, vmaps and
differentiates. Training, data and reports are submodules, imported on demand.
"""

from tripletjax.distances import DISTANCES, pairwise_distance
from tripletjax.errors import UserError
from tripletjax.losses import mined_triplet_loss, triplet_loss
from tripletjax.masks import PairMasks, pair_masks
from tripletjax.miners import MINERS
from tripletjax.reductions import REDUCTIONS, Totals
from tripletjax.types import GapBand, MinerFn, Selection, Triplets

__version__ = "0.1.0"

__all__ = [
  "DISTANCES",
  "MINERS",
  "REDUCTIONS",
  "GapBand",
  "MinerFn",
  "PairMasks",
  "Selection",
  "Totals",
  "Triplets",
  "UserError",
  "mined_triplet_loss",
  "pair_masks",
  "pairwise_distance",
  "triplet_loss",
]
