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
from tripletjax.miners.hard import batch_hard
from tripletjax.miners.listing import list_triplets
from tripletjax.miners.semi_hard import random_semi_hard, semi_hard
from tripletjax.types import MinerFn

MINERS: Mapping[str, MinerFn] = {
  "all": all_triplets,
  "all_hard": all_hard,
  "all_semi_hard": all_semi_hard,
  "all_easy": all_easy,
  "batch_hard": batch_hard,
  "semi_hard": semi_hard,
  "random_semi_hard": random_semi_hard,
}


__all__ = [
  "MINERS",
  "all_easy",
  "all_hard",
  "all_semi_hard",
  "all_triplets",
  "batch_hard",
  "list_triplets",
  "random_semi_hard",
  "semi_hard",
]
