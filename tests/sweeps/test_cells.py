"""Cells as configs: names, arms, groups, kinds; and the sweeps that ship."""

import json
import re
import runpy
from pathlib import Path

import jax
import numpy as np
import pytest

from experiments.sweep_files import load_sweep
from tripletjax import DIALECTS, mined_triplet_loss
from tripletjax.errors import UserError
from tripletjax.sweeps import grid
from tripletjax.sweeps.cells import baseline_arm, plan_cells

ROOT = Path(__file__).parent.parent.parent
BASE = runpy.run_path(str(ROOT / "configs" / "glyphs.py"))["get_config"](
  "smoke"
).lock()
SWEEPS = sorted((ROOT / "configs" / "sweeps").glob("[!_]*.py"))


def plan(*cells, **fields):
  cells = grid.product(*cells)
  return plan_cells(grid.sweep(config="x", cells=cells, **fields), BASE)


def test_names_arms_and_values():
  cells = plan(
    grid.axis("loss.miner", ["random", "all"]),
    grid.axis("seed", [0, 7]),
    grid.axis("loss.margin", [0.1]),
  )
  assert [cell.name for cell in cells] == [
    "miner=random,seed=0,margin=0.1",
    "miner=random,seed=7,margin=0.1",
    "miner=all,seed=0,margin=0.1",
    "miner=all,seed=7,margin=0.1",
  ]
  assert [cell.arm for cell in cells] == [
    *["miner=random,margin=0.1"] * 2,
    *["miner=all,margin=0.1"] * 2,
  ]
  assert cells[1].values == {"miner": "random", "seed": "7", "margin": "0.1"}
  assert cells[1].fields == {"loss.miner": "random", "seed": 7} | {
    "loss.margin": 0.1
  }


def test_configs_are_the_base_with_the_cell_s_fields():
  cells = plan(
    grid.axis("loss.margin", [0.5, 1]),
    changes={"model.features": [4, 8], "train.duration": "3 steps"},
  )
  for cell, margin in zip(cells, (0.5, 1.0), strict=True):
    expected = BASE.to_dict()
    # What isn't set follows the margin, as on the command line.
    expected["loss"] |= {"margin": margin, "margin_end": margin}
    expected["model"]["features"] = (4, 8)
    expected["train"]["duration"] = "3 steps"
    assert cell.config.to_dict() == expected
    assert isinstance(cell.config.loss.margin, float)
    assert isinstance(cell.config.model.features, tuple)
    assert cell.config.is_locked
  assert BASE.loss.margin == 0.2


def test_cells_that_differ_in_numbers_are_one_group():
  cells = plan(
    grid.axis("loss.miner", ["random", "all"]),
    grid.axis("loss.margin", [0.1, 0.2]),
    grid.axis("optimizer.learning_rate", [1e-3, 1e-2]),
    grid.axis("optimizer.weight_decay", [0.0, 1e-2]),
    grid.axis("seed", [0, 1]),
  )
  assert [cell.group for cell in cells] == [0] * 16 + [1] * 16
  other = plan(
    grid.axis("batch.images", [2, 4]),
    grid.axis("model.normalize", [True, False]),
  )
  assert [cell.group for cell in other] == [0, 1, 2, 3]


def test_columns_are_short_where_that_is_clear():
  names = [
    *plan(
      grid.axis("loss.name", ["triplet"]),
      grid.axis("loss.multi_similarity.beta", [50.0]),
      grid.axis("loss.beta", [1.2]),
      grid.axis("batch.images", [4]),
      grid.axis("loss.nt_xent.temperature", [0.1]),
    )[0].values
  ]
  assert names == [
    "loss",
    "loss.multi_similarity.beta",
    "loss.beta",
    "batch.images",  # results.csv has a column of images
    "temperature",
  ]


def test_seeds_alone_are_one_arm():
  assert {cell.arm for cell in plan(grid.axis("seed", range(3)))} == {"base"}


def test_a_cell_that_lacks_an_axis_has_the_base_s_value():
  cells = plan(
    grid.chain(
      grid.axis("loss.margin", [0.4]),
      grid.arms("how", {"soft": {"loss.soft": True}}),
    )
  )
  assert [dict(cell.values) for cell in cells] == [
    {"margin": "0.4", "how": "none"},
    {"margin": "0.2", "how": "soft"},
  ]


def test_names_are_folders_and_differ():
  labels = ["a/b", "a b", "../x", "ä", "ö", "x" * 300, "x" * 299 + "y"]
  arms = grid.arms(
    "how", {text: {"data.name": f"set {i}"} for i, text in enumerate(labels)}
  )
  names = [cell.name for cell in plan(arms)]
  assert len(set(names)) == len(labels)
  for name in names:
    assert re.fullmatch(r"how=[A-Za-z0-9_.+@~-]+", name), name
    assert len(name) <= 200


def test_the_budget_is_the_duration_of_all_cells():
  cells = plan(grid.axis("batch.images", [2, 4]), budget="640 examples")
  assert [c.config.train.duration for c in cells] == ["640 examples"] * 2
  # Seconds become steps when a step was timed.
  (cell,) = plan(grid.axis("seed", [0]), budget="30 seconds")
  assert cell.config.train.duration == "20 steps"


@pytest.mark.parametrize(
  "baseline", [{"loss.margin": 0.2}, {"loss.margin": "0.2"}, {"margin": 0.2}]
)
def test_a_baseline_is_an_arm(baseline):
  sweep = grid.sweep(
    config="x",
    cells=grid.product(
      grid.axis("loss.margin", [0.1, 0.2]), grid.axis("seed", [0, 1])
    ),
    baseline=baseline,
  )
  assert baseline_arm(sweep, plan_cells(sweep, BASE)) == "margin=0.2"


MARGINS = grid.axis("loss.margin", [0.1, 0.2])
MISTAKES = {
  "unknown field": (
    lambda: plan(grid.axis("loss.margn", [0.1])),
    "axis loss.margn: no field 'loss.margn', did you mean 'loss.margin'?",
  ),
  "a field's last part": (
    lambda: plan(grid.arms("a", {"b": {"miner": "all"}})),
    "cell a=b: no field 'miner', did you mean 'loss.miner'?",
  ),
  "unknown field in changes": (
    lambda: plan(MARGINS, changes={"trian.duration": "3 steps"}),
    "changes: no field 'trian.duration', did you mean 'train.duration'?",
  ),
  "a group of fields": (
    lambda: plan(grid.axis("log", ["1 steps"])),
    "axis log: log isn't one field; there are log.every",
  ),
  "text for a number": (
    lambda: plan(grid.axis("loss.margin", [0.1, "0.2"])),
    "cell margin=0.2: loss.margin: expected a number, got '0.2'",
  ),
  "a number for a whole one": (
    lambda: plan(grid.axis("batch.images", [2.5])),
    "cell batch.images=2.5: batch.images: expected a whole number, got 2.5",
  ),
  "true for a number": (
    lambda: plan(grid.axis("seed", [True])),
    "cell seed=True: seed: expected a whole number, got True",
  ),
  "a number for true": (
    lambda: plan(grid.axis("loss.soft", [1])),
    "cell soft=1: loss.soft: expected true or false, got 1",
  ),
  "text in a tuple": (
    lambda: plan(grid.axis("model.features", [("8", "16")])),
    "cell features=8-16: model.features: expected values such as (8, 16), got "
    "('8', '16')",
  ),
  "a value that the config refuses": (
    lambda: plan(grid.axis("seed", [0]), grid.axis("loss.margin", [0.1, -1.0])),
    "cell seed=0,margin=-1.0: loss.margin: expected 0 or more, got -1.0",
  ),
  "the same cell twice": (
    lambda: plan(grid.chain(MARGINS, MARGINS)),
    "cell margin=0.1: twice in the grid; expected it once",
  ),
  "the same config twice": (
    lambda: plan(grid.arms("a", {"b": {}, "c": {"loss.margin": 0.2}})),
    "cell a=c: the same config as a=b; expected each cell once",
  ),
  "an empty grid": (
    lambda: plan_cells(grid.Sweep(cells=(), config="x"), BASE),
    "cells: the grid is empty; expected at least one cell",
  ),
  "unknown baseline": (
    lambda: plan(MARGINS, baseline={"loss.margin": 0.3}),
    "baseline: loss.margin: expected one of 0.1, 0.2, got 0.3",
  ),
  "unknown axis of the baseline": (
    lambda: plan(MARGINS, baseline={"miner": "all"}),
    "baseline: no axis 'miner'; there are loss.margin",
  ),
  "a baseline of two arms": (
    lambda: plan(MARGINS, grid.axis("seed", [0, 1]), baseline={"seed": 0}),
    "baseline: expected to name one arm, got margin=0.1; margin=0.2",
  ),
  "a name that is a field": (
    lambda: plan(grid.arms("seed", {"b": {}})),
    "arms seed: expected another name, this one is that of a field",
  ),
  "a name that is a column": (
    lambda: plan(grid.arms("arm", {"b": {}})),
    "arms arm: expected another name, this one is that of a column",
  ),
  "a budget of nothing": (
    lambda: plan(MARGINS, budget="150 stpes"),
    'budget: expected "", or one for all cells such as "150 steps", in steps, '
    "examples, epochs, seconds, got '150 stpes'",
  ),
  "a budget beside durations": (
    lambda: plan(grid.axis("train.duration", ["1 steps"]), budget="2 steps"),
    "budget: expected \"\" where the grid sets train.duration, got '2 steps'",
  ),
  "a test of what was selected on": (
    lambda: plan(MARGINS, test_split="lao+hebrew"),
    "test_split: lao is in data.eval_split (armenian+georgian+lao) too; "
    "expected a part that neither trains nor selects",
  ),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_a_line_that_says_what_would_be_right(name):
  call, line = MISTAKES[name]
  with pytest.raises(UserError) as caught:
    call()
  assert str(caught.value) == line


def test_an_unknown_metric_is_told_those_there_are():
  with pytest.raises(UserError, match=r"^metric: .*map@r.*got 'mapr'$"):
    plan(MARGINS, metric="mapr")


@pytest.mark.parametrize("variant", ["", ":smoke"])
@pytest.mark.parametrize("path", SWEEPS, ids=lambda path: path.stem)
def test_a_sweep_that_ships_can_be_planned(path, variant):
  sweep, base = load_sweep(f"configs/sweeps/{path.name}{variant}")
  cells = plan_cells(sweep, base)
  arm = baseline_arm(sweep, cells)
  seeds = {cell.values["seed"] for cell in cells}
  assert arm
  # As many seeds of every arm, and they are the baseline's: runs are paired.
  for other in {cell.arm for cell in cells}:
    own = [cell.values["seed"] for cell in cells if cell.arm == other]
    assert sorted(own) == sorted(seeds)
  if variant:
    assert len(cells) <= 8
    assert float(sweep.budget.split()[0]) <= 10


def test_margin_by_miner_is_4_by_4_by_3_in_4_programs():
  sweep, base = load_sweep("configs/sweeps/margin_by_miner.py")
  cells = plan_cells(sweep, base)
  assert len(cells) == 4 * 4 * 3
  assert len({cell.arm for cell in cells}) == 16
  assert {cell.group for cell in cells} == {0, 1, 2, 3}


# Arms of dialects.py whose miner has another name than the dialect's: those
# that give the same number, and those whose docstring says what differs.
SAME_NUMBER = ("pml_all", "tfa_hard", "hermans_batch_hard")
UNLIKE = (
  "tfa_semi_hard",
  "sentence_transformers_semi_hard",
  "tf_similarity_semi_hard",
)


def arms_of_dialects():
  sweep, _ = load_sweep("configs/sweeps/dialects.py")
  return {c.values["dialect"]: c.fields for c in sweep.cells}


def test_dialects_have_their_library_s_keywords():
  arms = arms_of_dialects()
  assert len(arms) >= 12
  for name, own in arms.items():
    dialect = DIALECTS[name]
    assert own["loss.margin"] == dialect["margin"], name
    assert own["loss.reduction"] == dialect["reduction"], name
    assert own.get("loss.soft", False) == dialect.get("soft", False), name
    distance = dialect["distance"]
    if callable(distance):  # of normalised rows, as the network's are
      assert own.get("model.normalize", True), name
      distance = distance.__name__.removeprefix("unit_")
      distance = distance.removesuffix("_distance")
    assert own["loss.distance"] == distance, name
    if name not in SAME_NUMBER + UNLIKE:
      assert own["loss.miner"] == dialect["miner"], name


@pytest.mark.parametrize("name", SAME_NUMBER[:2])
def test_dialects_by_other_names_give_the_same_number(name):
  # P identities of K images on the sphere, as the docstring has it.
  own, rng = arms_of_dialects()[name], np.random.default_rng(3)
  x = rng.normal(size=(12, 5)).astype(np.float32)
  x /= np.linalg.norm(x, axis=1, keepdims=True)
  labels = np.repeat(np.arange(3), 4).astype(np.int32)
  ours = {
    key: own[f"loss.{key}"]
    for key in ("miner", "margin", "reduction", "distance")
  }
  numbers = [
    jax.jit(lambda x, k=keywords: mined_triplet_loss(x, labels, **k)[0])(x)
    for keywords in (ours, DIALECTS[name])
  ]
  assert numbers[0] > 0
  np.testing.assert_allclose(*map(float, numbers), rtol=1e-5)


def test_configs_can_be_written_and_read():
  (cell,) = plan(grid.axis("model.features", [(4, 8)]))
  fields = json.loads(cell.config.to_json())
  assert fields["model"]["features"] == [4, 8]
