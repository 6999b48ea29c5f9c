"""Losses: of explicit triplets, and of the triplets that a miner selects."""

from tripletjax.losses.explicit import triplet_loss
from tripletjax.losses.mined import mined_triplet_loss, selection_totals

__all__ = ["mined_triplet_loss", "selection_totals", "triplet_loss"]
