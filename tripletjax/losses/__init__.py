"""Losses: of explicit triplets, and of a batch. LOSSES holds those of a batch.

All of a batch share `losses/batch.py`: to add one, write what one block of
anchors costs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import jax

from tripletjax.losses.contrasts import (
  n_pair_loss,
  nt_xent_loss,
  sup_con_loss,
)
from tripletjax.losses.explicit import triplet_loss
from tripletjax.losses.groups import (
  circle_loss,
  lifted_structure_loss,
  multi_similarity_loss,
)
from tripletjax.losses.mined import mined_triplet_loss
from tripletjax.losses.mined_pairs import mined_margin_loss
from tripletjax.losses.pairs import contrastive_loss, margin_loss
from tripletjax.losses.ring import RING_MINERS, ring_triplet_loss
from tripletjax.losses.selections import selection_totals

LOSSES: Mapping[str, Callable[..., tuple[jax.Array, dict[str, jax.Array]]]] = {
  "triplet": mined_triplet_loss,
  "contrastive": contrastive_loss,
  "margin": margin_loss,
  "mined_margin": mined_margin_loss,
  "lifted_structure": lifted_structure_loss,
  "n_pair": n_pair_loss,
  "multi_similarity": multi_similarity_loss,
  "nt_xent": nt_xent_loss,
  "sup_con": sup_con_loss,
  "circle": circle_loss,
}

# Where references travel, in place of being gathered.
RING_LOSSES: Mapping[
  str, Callable[..., tuple[jax.Array, dict[str, jax.Array]]]
] = {"triplet": ring_triplet_loss}

__all__ = [
  "LOSSES",
  "RING_LOSSES",
  "RING_MINERS",
  "circle_loss",
  "contrastive_loss",
  "lifted_structure_loss",
  "margin_loss",
  "mined_margin_loss",
  "mined_triplet_loss",
  "multi_similarity_loss",
  "n_pair_loss",
  "nt_xent_loss",
  "ring_triplet_loss",
  "selection_totals",
  "sup_con_loss",
  "triplet_loss",
]
