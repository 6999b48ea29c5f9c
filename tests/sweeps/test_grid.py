"""The language of grids: which cells there are, and what can't be one."""

import itertools

import pytest

from tripletjax.errors import UserError
from tripletjax.sweeps import grid

MINERS = grid.axis("loss.miner", ["random", "all"])
MARGINS = grid.axis("loss.margin", [0.1, 0.2, 0.4])
SEEDS = grid.axis("seed", range(2))


def fields(cells):
  return [dict(cell.fields) for cell in cells]


def test_a_product_has_every_combination_and_the_last_moves_fastest():
  expected = []
  for miner in ("random", "all"):
    for margin in (0.1, 0.2, 0.4):
      for seed in (0, 1):
        expected.append(
          {"loss.miner": miner, "loss.margin": margin, "seed": seed}
        )
  assert fields(grid.product(MINERS, MARGINS, SEEDS)) == expected
  nested = grid.product(MINERS, grid.product(MARGINS, SEEDS))
  assert fields(nested) == expected
  assert grid.product(MINERS) == MINERS


def test_zip_pairs_cells_by_their_place():
  shapes = grid.zip(
    grid.axis("batch.identities", [8, 4]), grid.axis("batch.images", [2, 4])
  )
  assert fields(shapes) == [
    {"batch.identities": 8, "batch.images": 2},
    {"batch.identities": 4, "batch.images": 4},
  ]
  assert shapes[0].values == {"batch.identities": "8", "batch.images": "2"}


def test_chain_keeps_the_order():
  assert grid.chain(SEEDS, MINERS) == (*SEEDS, *MINERS)


def test_arms_are_named_sets_of_fields():
  arms = grid.arms("way", {"as it is": {}, "soft": {"loss.soft": True}})
  assert [cell.values["way"] for cell in arms] == ["as it is", "soft"]
  assert fields(arms) == [{}, {"loss.soft": True}]


def test_a_label_is_the_value_in_words():
  cells = grid.axis("x", ["", 0.1, True, (16, 32)])
  labels = [cell.values["x"] for cell in cells]
  assert labels == ["none", "0.1", "True", "(16, 32)"]


@pytest.mark.parametrize(
  ("where", "left"),
  [
    ({"loss.margin": 0.1}, 8),
    ({"loss.margin": "0.1"}, 8),
    ({"loss.margin": [0.1, 0.4]}, 4),
    ({"loss.margin": 0.1, "seed": 0}, 10),
    ({"margin": 0.1, "miner": "all", "seed": [0, 1]}, 10),
    (lambda cell: cell.fields["loss.margin"] > 0.15, 4),
    (lambda cell: False, 12),
  ],
)
def test_exclude_drops_the_cells_that_are_so(where, left):
  cells = grid.product(MINERS, MARGINS, SEEDS)
  assert len(grid.exclude(cells, where)) == left


def test_exclude_by_keyword_keeps_the_others_in_order():
  cells = grid.product(MINERS, SEEDS)
  expected = [("random", 0), ("random", 1), ("all", 1)]
  kept = grid.exclude(cells, miner="all", seed=0)
  assert [tuple(cell.fields.values()) for cell in kept] == expected


MISTAKES = {
  "zip of unequal length": (
    lambda: grid.zip(MINERS, MARGINS),
    "zip: expected grids of one length, got: loss.miner has 2, loss.margin has "
    "3",
  ),
  "axis twice": (
    lambda: grid.product(MARGINS, grid.axis("loss.margin", [1.0])),
    "product: loss.margin: set by two of its grids; expected each field once",
  ),
  "field twice": (
    lambda: grid.product(MINERS, grid.arms("a", {"b": {"loss.miner": "all"}})),
    "product: loss.miner: set by two of its grids; expected each field once",
  ),
  "no value": (
    lambda: grid.axis("seed", []),
    "axis seed: expected at least one value, got none",
  ),
  "no list": (
    lambda: grid.axis("loss.miner", "all"),
    "axis loss.miner: expected a list of values, got 'all'; write ['all'] for "
    "one",
  ),
  "a number for a list": (
    lambda: grid.axis("seed", 3),
    "axis seed: expected a list of values, got 3; write [3] for one",
  ),
  "no arm": (
    lambda: grid.arms("way", {}),
    "arms way: expected {label: {field: value}} with at least one label, got "
    "{}",
  ),
  "an arm that is no mapping": (
    lambda: grid.arms("way", {"soft": True}),
    "arms way: soft: expected {field: value}, got True",
  ),
  "no name": (
    lambda: grid.axis(["seed"], [1]),
    "axis: expected a name first, got ['seed']",
  ),
  "product of nothing": (
    grid.product,
    "product: expected at least one grid, got none",
  ),
  "an empty grid": (
    lambda: grid.product(MINERS, ()),
    "product: the grid is empty; expected at least one cell",
  ),
  "no grid": (
    lambda: grid.chain(MINERS, [0.1]),
    "chain: expected grids, as axis, arms, product, zip, chain and exclude "
    "give them, got [0.1]",
  ),
  "exclude an unknown axis": (
    lambda: grid.exclude(MARGINS, {"loss.margn": 0.1}),
    "exclude: no axis 'loss.margn', did you mean 'loss.margin'?; there are "
    "loss.margin",
  ),
  "exclude an unknown value": (
    lambda: grid.exclude(MARGINS, {"loss.margin": 0.3}),
    "exclude: loss.margin: expected one of 0.1, 0.2, 0.4, got 0.3",
  ),
  "exclude all": (
    lambda: grid.exclude(MARGINS, margin=[0.1, 0.2, 0.4]),
    "exclude: no cell is left; expected at least one",
  ),
  "exclude nothing": (
    lambda: grid.exclude(MARGINS),
    "exclude: expected which cells go, got nothing",
  ),
  "a sweep of nothing": (
    lambda: grid.sweep(config="x", cells=()),
    "sweep: cells: the grid is empty; expected at least one cell",
  ),
  "changes that are none": (
    lambda: grid.sweep(config="x", cells=SEEDS, changes=["loss.soft"]),
    "sweep: changes: expected {field: value}, got ['loss.soft']",
  ),
  "a budget that is no text": (
    lambda: grid.sweep(config="x", cells=SEEDS, budget=150),
    "sweep: budget: expected a text, got 150",
  ),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_a_line_that_says_what_would_be_right(name):
  call, line = MISTAKES[name]
  with pytest.raises(UserError) as caught:
    call()
  assert str(caught.value) == line


def test_sizes_multiply_and_add():
  grids = (MINERS, MARGINS, SEEDS)
  for some in itertools.combinations(grids, 2):
    a, b = map(len, some)
    assert len(grid.product(*some)) == a * b
    assert len(grid.chain(*some)) == a + b
