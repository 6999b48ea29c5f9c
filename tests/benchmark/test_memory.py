"""How much memory the losses take; compiled only, nothing is run.

A form that silently holds a cube, or all pairs of a large batch, fails here.
"""

import pytest

from tests.emitters import NEW_EMITTERS
from tripletjax.benchmark.cases import (
  compile_loss,
  known_losses,
  temporary_bytes,
)
from tripletjax.benchmark.data import SIZES

# XLA lays out the memory before it generates code, which takes half of the time
# and isn't needed.
OPTIONS = {"xla_backend_optimization_level": 0, **NEW_EMITTERS}

# One of each form, and of the large ones.
OFTEN = ("random", "distance_weighted", "mined_margin", "angular", "n_pair")


def temporaries(name, batch):
  compiled = compile_loss(known_losses()[name], SIZES[batch], options=OPTIONS)
  return temporary_bytes(compiled)


@pytest.mark.parametrize(
  "name",
  [
    "all",
    *(
      pytest.param(name, marks=pytest.mark.slow)
      for name in ("all_hard", "all_semi_hard", "semi_hard")
    ),
  ],
)
def test_a_large_batch_is_evaluated_in_blocks(name):
  # One matrix of all pairs is 268 MB.
  assert temporaries(name, 8192) <= 48e6


@pytest.mark.parametrize(
  "name", ["all", "semi_hard", "batch_hard", "random_semi_hard"]
)
def test_a_batch_takes_five_matrices_of_its_pairs_at_most(name):
  assert temporaries(name, 1024) <= 5 * 4 * 1024**2


@pytest.mark.parametrize(
  "name",
  [
    pytest.param(name, marks=() if name in OFTEN else pytest.mark.slow)
    for name in known_losses()
  ],
)
def test_so_does_a_small_one(name):
  # Of few pairs the embeddings are half a matrix each, and all is in one block.
  assert temporaries(name, 256) <= 5 * 4 * 256**2
