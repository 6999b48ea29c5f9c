"""Miners: which triplets of a batch are worth learning from.

To add one: write a `MinerFn` in `miners/<family>.py`, name it in `MINERS` here,
and write its slow oracle in `tests/reference.py`. Config validation, the
command line and the law tests iterate `MINERS`.
"""

from __future__ import annotations

from collections.abc import Mapping

from tripletjax.miners.bands import (
  all_easy,
  all_hard,
  all_semi_hard,
  all_triplets,
)
from tripletjax.miners.calling import call_miner
from tripletjax.miners.combine import capped, curriculum
from tripletjax.miners.draws import (
  random_negative,
  random_semi_hard,
  random_violating,
)
from tripletjax.miners.grid import one_triplet
from tripletjax.miners.hard import batch_hard, hardest_negative, n_hardest
from tripletjax.miners.listing import list_triplets
from tripletjax.miners.pairs import angular, multi_similarity, pair_margin
from tripletjax.miners.semi_hard import semi_hard
from tripletjax.miners.weighted import distance_weighted
from tripletjax.types import MinerFn

MINERS: Mapping[str, MinerFn] = {
  "all": all_triplets,
  "all_hard": all_hard,
  "all_semi_hard": all_semi_hard,
  "all_easy": all_easy,
  "batch_hard": batch_hard,
  "semi_hard": semi_hard,
  "random_semi_hard": random_semi_hard,
  "random_violating": random_violating,
  "random": random_negative,
  "hardest_negative": hardest_negative,
  "n_hardest": n_hardest,
  "distance_weighted": distance_weighted,
  "multi_similarity": multi_similarity,
  "pair_margin": pair_margin,
  "angular": angular,
  "easy_positive": one_triplet("easy", "hard"),
  "easy_positive_semi_hard_negative": one_triplet("easy", "semi_hard"),
  "easy_positive_easy_negative": one_triplet("easy", "easy"),
  "easy_positive_random_negative": one_triplet("easy", "random"),
  "hard_positive_semi_hard_negative": one_triplet("hard", "semi_hard"),
  "hard_positive_easy_negative": one_triplet("hard", "easy"),
  "hard_positive_random_negative": one_triplet("hard", "random"),
  "semi_hard_positive_hard_negative": one_triplet("semi_hard", "hard"),
  "semi_hard_positive_semi_hard_negative": one_triplet(
    "semi_hard", "semi_hard"
  ),
  "semi_hard_positive_easy_negative": one_triplet("semi_hard", "easy"),
  "semi_hard_positive_random_negative": one_triplet("semi_hard", "random"),
  "random_positive_hard_negative": one_triplet("random", "hard"),
  "random_positive_semi_hard_negative": one_triplet("random", "semi_hard"),
  "random_positive_easy_negative": one_triplet("random", "easy"),
  "random_positive_random_negative": one_triplet("random", "random"),
}


__all__ = [
  "MINERS",
  "all_easy",
  "all_hard",
  "all_semi_hard",
  "all_triplets",
  "angular",
  "batch_hard",
  "call_miner",
  "capped",
  "curriculum",
  "distance_weighted",
  "hardest_negative",
  "list_triplets",
  "multi_similarity",
  "n_hardest",
  "one_triplet",
  "pair_margin",
  "random_negative",
  "random_semi_hard",
  "random_violating",
  "semi_hard",
]
