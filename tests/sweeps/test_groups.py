"""A sweep from its file to its tables, in this process."""

import csv
import json

import jax
import numpy as np
import pytest

from configs import digits
from tripletjax.errors import UserError
from tripletjax.sweeps import grid, groups, plans
from tripletjax.sweeps.cells import plan_cells
from tripletjax.sweeps.conducting import Orders, conduct, unfinished
from tripletjax.sweeps.folder import open_sweep
from tripletjax.sweeps.reading import cell_folder, read_status, write_status
from tripletjax.sweeps.testing import select


@pytest.fixture(scope="module", autouse=True)
def _standard_promotion():
  # Optax's Adam multiplies its integer count with floats.
  with jax.numpy_dtype_promotion("standard"):
    yield


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
  return tmp_path_factory.mktemp("data")


def base():
  config = digits.get_config("smoke")
  config.model.features = (4,)
  config.model.dimension = 8
  config.train.duration = "4 steps"
  config.evaluation.every = "4 steps"
  config.checkpoint.every = "2 steps"
  return config


def opened(folder, cells, **fields):
  config = base()
  sweep = grid.sweep(config="configs/digits.py:smoke", cells=cells, **fields)
  return open_sweep(folder, sweep, plan_cells(sweep, config), base=config)


def table(folder, name):
  with (folder / name).open() as file:
    return list(csv.DictReader(file))


def quiet(line):
  del line


MARGINS = grid.product(
  grid.axis("loss.miner", ["semi_hard", "batch_hard"]),
  grid.axis("loss.margin", [0.1, 0.4]),
  grid.axis("seed", [0, 1]),
)
SPLIT = {
  "data.train_split": "test[:40%]",
  "data.eval_split": "test[40%:70%]",
}


def test_a_sweep_ends_in_its_tables(tmp_path, data_dir):
  sweep = opened(
    tmp_path / "sweep",
    MARGINS,
    baseline={"loss.miner": "semi_hard", "loss.margin": 0.1},
  )
  orders = Orders(groups.Options(data_dir, way="in_turn"))
  assert conduct(sweep, orders, say=quiet) == 0
  rows = table(sweep.path, "results.csv")
  assert len(rows) == 8
  assert {row["state"] for row in rows} == {"done"}
  for row in rows:
    summary = json.loads(
      (cell_folder(sweep.path, row["cell"]) / "summary.json").read_text()
    )
    assert float(row["map@r"]) == summary["trained"]["map@r"]
    assert row["steps"] == "4"
  # Seeds are common random numbers: the same network before the first step.
  untrained = {}
  for row in rows:
    summary = json.loads(
      (cell_folder(sweep.path, row["cell"]) / "summary.json").read_text()
    )
    untrained.setdefault(row["seed"], set()).add(summary["untrained"]["map@r"])
  assert [len(numbers) for numbers in untrained.values()] == [1, 1]
  assert len(set.union(*untrained.values())) == 2
  # Nothing is left to do, and doing it changes nothing.
  before = (sweep.path / "results.csv").read_bytes()
  assert unfinished(sweep) == []
  assert conduct(sweep, orders, say=quiet) == 0
  assert (sweep.path / "results.csv").read_bytes() == before


@pytest.mark.parametrize("way", [plans.TOGETHER, plans.AUTO])
@pytest.mark.slow
def test_ways_agree(tmp_path, data_dir, way):
  cells = grid.product(
    grid.axis("loss.margin", [0.1, 0.4, 0.8]), grid.axis("seed", [0])
  )
  numbers = {}
  for each in (plans.IN_TURN, way):
    sweep = opened(tmp_path / each, cells)
    orders = Orders(groups.Options(data_dir, way=each, members=2))
    assert conduct(sweep, orders, say=quiet) == 0
    (plan,) = plans.read_plans(sweep.path).values()
    assert plan.way == each or each == plans.AUTO
    assert len(plan.seconds_per_step) == (2 if each == plans.AUTO else 0)
    numbers[each] = [
      float(row["map@r"]) for row in table(sweep.path, "results.csv")
    ]
  assert numbers[way] == pytest.approx(numbers[plans.IN_TURN], abs=1e-3)


@pytest.mark.slow
def test_a_cell_that_fails_is_named_and_the_others_go_on(
  tmp_path, data_dir, capsys
):
  cells = grid.axis("optimizer.learning_rate", [1e-3, 1e38])
  sweep = opened(tmp_path / "sweep", cells)
  orders = Orders(groups.Options(data_dir, way="in_turn"))
  assert conduct(sweep, orders) == 1
  states = [read_status(sweep.path, cell.name) for cell in sweep.cells]
  assert [status.state for status in states] == ["done", "diverged"]
  assert "train.on_nonfinite" in states[1].reason
  assert "diverged" not in capsys.readouterr().err
  rows = table(sweep.path, "results.csv")
  assert [bool(row["map@r"]) for row in rows] == [True, False]
  # It isn't run again unless that is asked for.
  log = cell_folder(sweep.path, sweep.cells[1].name) / "status.json"
  log.write_text(json.dumps({"state": "diverged", "reason": "an old one"}))
  assert conduct(sweep, orders, say=quiet) == 1
  assert read_status(sweep.path, sweep.cells[1].name).reason == "an old one"
  again = orders._replace(retry_failed=True)
  assert conduct(sweep, again, say=quiet) == 1
  assert read_status(sweep.path, sweep.cells[1].name).reason != "an old one"


def test_an_error_of_ours_keeps_its_trace(tmp_path, data_dir, monkeypatch):
  def broken(*arguments, **keywords):
    raise RuntimeError("something is broken")

  sweep = opened(tmp_path / "sweep", grid.axis("seed", [0]))
  with monkeypatch.context() as patch:
    patch.setattr(groups, "train_and_evaluate", broken)
    orders = Orders(groups.Options(data_dir))
    assert conduct(sweep, orders, say=quiet) == 1
  status = read_status(sweep.path, sweep.cells[0].name)
  assert status.state == "failed"
  assert status.reason == "RuntimeError: something is broken"
  assert any("broken" in line for line in status.tail)


@pytest.mark.slow
def test_the_test_split_is_looked_at_once(tmp_path, data_dir):
  sweep = opened(
    tmp_path / "sweep",
    grid.product(
      grid.axis("loss.margin", [0.1, 0.4]), grid.axis("seed", [0, 1])
    ),
    baseline={"loss.margin": 0.1},
    changes=SPLIT,
    test_split="test[70%:]",
  )
  orders = Orders(groups.Options(data_dir))
  # Not before all that failed is done.
  write_status(sweep.path, sweep.cells[3].name, "failed")
  said = []
  assert conduct(sweep, orders, say=said.append) == 1
  assert any("isn't looked at" in line for line in said)
  assert not (sweep.path / "test.csv").exists()
  again = orders._replace(retry_failed=True)
  assert conduct(sweep, again, say=quiet) == 0
  tested = table(sweep.path, "test.csv")
  results = table(sweep.path, "results.csv")
  means = {
    arm: sum(float(row["map@r"]) for row in results if row["arm"] == arm) / 2
    for arm in ("margin=0.1", "margin=0.4")
  }
  best = max(means, key=means.get)
  assert {row["arm"] for row in tested} == {best, "margin=0.1"}
  assert [row["seed"] for row in tested[:2]] == ["0", "1"]
  # Other images: other numbers.
  assert tested[0]["map@r"] not in {row["map@r"] for row in results}
  before = (sweep.path / "test.csv").read_bytes()
  conduct(sweep, orders, say=quiet)
  assert (sweep.path / "test.csv").read_bytes() == before


@pytest.mark.slow
def test_folds_are_replicates_and_share_the_test(tmp_path, data_dir):
  sweep = opened(
    tmp_path / "sweep",
    grid.product(
      grid.axis("loss.margin", [0.1, 0.4]),
      grid.axis("data.split_fold", [0, 1]),
    ),
    changes={
      "data.train_split": "train",
      "data.eval_split": "",
      "data.split_by": "identity",
      "data.split_folds": 2,
      "batch.identities": 4,
    },
    baseline={"loss.margin": 0.1},
    test_split="test",
  )
  assert {cell.arm for cell in sweep.cells} == {"margin=0.1", "margin=0.4"}
  assert len({cell.group for cell in sweep.cells}) == 2
  orders = Orders(groups.Options(data_dir, way="in_turn"))
  assert conduct(sweep, orders, say=quiet) == 0
  identities = []
  for cell in sweep.cells[:2]:
    path = cell_folder(sweep.path, cell.name) / "evaluation.npz"
    with np.load(path) as arrays:
      names = arrays["label_names"][arrays["labels"]]
      identities.append(set(names.tolist()))
  assert not identities[0] & identities[1]
  assert len(identities[0] | identities[1]) == 10
  # The test is whole, whatever the fold.
  counts = {row["queries"] for row in table(sweep.path, "test.csv")}
  results = {row["queries"] for row in table(sweep.path, "results.csv")}
  assert len(counts) == 1
  assert not counts & results


def test_selects_by_less_where_less_is_better():
  assert select({"a": 0.2, "b": 0.1}, less_is_better=True) == "b"


def test_wall_time_becomes_steps_once(tmp_path, data_dir):
  sweep = opened(
    tmp_path / "sweep", grid.axis("seed", [0, 1]), budget="0.05 seconds"
  )
  orders = Orders(groups.Options(data_dir, way="in_turn"))
  assert conduct(sweep, orders, say=quiet) == 0
  (plan,) = plans.read_plans(sweep.path).values()
  expected = 0.05 / plan.seconds_per_step["in_turn"]
  assert plan.steps == max(round(expected), 1)
  rows = table(sweep.path, "results.csv")
  assert {row["steps"] for row in rows} == {str(plan.steps)}


def test_two_conductors_of_one_sweep(tmp_path, data_dir):
  from tripletjax.training.run_folder import locked

  sweep = opened(tmp_path / "sweep", grid.axis("seed", [0]))
  orders = Orders(groups.Options(data_dir))
  with locked(sweep.path), pytest.raises(UserError, match="trains in"):
    conduct(sweep, orders, say=quiet)
