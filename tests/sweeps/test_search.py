"""A search among the arms of a sweep: which it tries, and after a kill."""

import csv
import importlib.util
import itertools
import json
import os
import time

import jax
import numpy as np
import pytest

from configs import digits
from tripletjax.errors import UserError
from tripletjax.sweeps import conducting, grid, groups, search
from tripletjax.sweeps.cells import plan_cells
from tripletjax.sweeps.conducting import Orders, train_unfinished
from tripletjax.sweeps.folder import open_sweep
from tripletjax.sweeps.reading import cell_folder, read_status, write_status
from tripletjax.sweeps.search import Search, conductor, search_arms
from tripletjax.training.signals import STOPPED

needs_optuna = pytest.mark.skipif(
  importlib.util.find_spec("optuna") is None,
  reason="needs pip install 'tripletjax[optuna]'",
)
MARGINS = (0.1, 0.2, 0.4)
MINERS = ("random", "semi_hard", "batch_hard")
SEEDS = grid.axis("seed", [0, 1])
# Seven of nine.
CELLS = grid.exclude(
  grid.exclude(
    grid.product(
      grid.axis("loss.miner", MINERS), grid.axis("loss.margin", MARGINS), SEEDS
    ),
    {"loss.miner": "random", "loss.margin": 0.1},
  ),
  {"loss.miner": "batch_hard", "loss.margin": 0.4},
)
ARMS = [
  f"miner={miner},margin={margin}"
  for miner, margin in itertools.product(MINERS, MARGINS)
  if (miner, margin) not in (("random", 0.1), ("batch_hard", 0.4))
]


def opened(folder, cells=CELLS, **fields):
  config = digits.get_config("smoke")
  config.model.features = (4,)
  config.model.dimension = 8
  config.train.duration = "2 steps"
  config.evaluation.every = "2 steps"
  config.checkpoint.every = "2 steps"
  sweep = grid.sweep(config="configs/digits.py:smoke", cells=cells, **fields)
  return open_sweep(folder, sweep, plan_cells(sweep, config), base=config)


def value_of(cell):
  """Of an arm's index in the grid, with half of it between the seeds."""
  return ARMS.index(cell.arm) / 10 + float(cell.values["seed"]) / 100


class Killed(BaseException):
  """Nothing is told of the trial, as by a kill."""


class Trainer:
  """Takes the place of `train_unfinished`, and notes what it trained."""

  def __init__(self, value=value_of, *, stop_at=None, how=""):
    self.value, self.stop_at, self.how = value, stop_at, how
    self.trained = []

  def __call__(self, sweep, orders, *, say):
    for cell in groups.cells_of(sweep, orders.options.arm):
      if read_status(sweep.path, cell.name).state in groups.ENDED:
        continue
      if len(self.trained) == self.stop_at:
        if self.how == "signal":
          return True
        raise Killed
      self.trained.append(cell.name)
      value = self.value(cell)
      if value is None:
        write_status(sweep.path, cell.name, "failed", reason="no")
        continue
      folder = cell_folder(sweep.path, cell.name)
      folder.mkdir(parents=True, exist_ok=True)
      (folder / "summary.json").write_text(
        json.dumps({"steps": 2, "trained": {"map@r": value}})
      )
      write_status(sweep.path, cell.name, "done")
    return False


def searched(monkeypatch, sweep, how, trainer=None, **orders):
  trainer = trainer or Trainer()
  monkeypatch.setattr(search, "train_unfinished", trainer)
  given = Orders(groups.Options(sweep.path), **orders)
  code = search_arms(sweep, given, search=how, say=lambda line: None)
  return code, trainer.trained


def trials(sweep, how):
  return [
    (trial.user_attrs["arm"], trial.state.name, trial.value)
    for trial in search.open_study(sweep, how).trials
  ]


def arms_of(names):
  return list(dict.fromkeys(name.rpartition(",")[0] for name in names))


def states(sweep):
  return {c.name: read_status(sweep.path, c.name).state for c in sweep.cells}


def test_what_is_missing_is_said_in_a_line(monkeypatch):
  monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
  with pytest.raises(UserError) as caught:
    conductor(Search("tpe"))
  assert str(caught.value) == "--search: needs pip install 'tripletjax[optuna]'"
  assert conductor(Search("")) is conducting.conduct


@pytest.mark.slow
def test_one_arm_is_trained_and_the_others_wait(tmp_path):
  sweep = opened(
    tmp_path / "sweep",
    grid.product(SEEDS, grid.axis("loss.margin", [0.1, 0.2])),
  )
  options = groups.Options(tmp_path, way="in_turn", arm="margin=0.2")
  with jax.numpy_dtype_promotion("standard"):
    assert not train_unfinished(sweep, Orders(options), say=lambda line: None)
  assert states(sweep) == {
    "seed=0,margin=0.1": "waiting",
    "seed=0,margin=0.2": "done",
    "seed=1,margin=0.1": "waiting",
    "seed=1,margin=0.2": "done",
  }
  plan = json.loads((sweep.path / "plan.json").read_text())["groups"][0]
  assert plan["cells"] == [cell.name for cell in sweep.cells]
  with (sweep.path / "results.csv").open() as file:
    rows = list(csv.DictReader(file))
  assert [bool(row["map@r"]) for row in rows] == [False, True, False, True]


def test_an_arm_is_asked_of_a_group(tmp_path, monkeypatch):
  sweep = opened(tmp_path / "sweep")
  asked = []
  monkeypatch.setattr(
    groups, "_train", lambda sweep, group, cells, left, *_: asked.extend(left)
  )
  options = groups.Options(tmp_path, arm="miner=random,margin=0.2")
  groups.run_group(sweep, 0, options)
  assert [cell.name for cell in asked] == [
    "miner=random,margin=0.2,seed=0",
    "miner=random,margin=0.2,seed=1",
  ]
  job = conducting._job(sweep, 0, options)
  assert job.command[-1] == "--arm=miner=random,margin=0.2"
  with pytest.raises(UserError, match=r"^--arm: no cell of 'margin=7'"):
    groups.run_group(sweep, 0, options._replace(arm="margin=7"))


@needs_optuna
@pytest.mark.parametrize("method", ["random", "tpe"])
def test_all_arms_are_found_and_none_twice(tmp_path, monkeypatch, method):
  sweep = opened(tmp_path / "sweep")
  how = Search(method, trials=50, seed=3)
  code, trained = searched(monkeypatch, sweep, how)
  assert code == 0
  assert sorted(trained) == sorted(cell.name for cell in sweep.cells)
  assert sorted(trials(sweep, how)) == [
    (arm, "COMPLETE", pytest.approx(ARMS.index(arm) / 10 + 0.005))
    for arm in sorted(ARMS)
  ]
  # There is nothing left to do.
  assert searched(monkeypatch, sweep, how) == (0, [])


@needs_optuna
def test_few_trials_leave_the_others_waiting(tmp_path, monkeypatch):
  sweep = opened(
    tmp_path / "sweep", baseline={"loss.miner": "semi_hard", "margin": 0.4}
  )
  code, trained = searched(monkeypatch, sweep, Search("tpe", trials=3))
  assert code == 0
  assert len(arms_of(trained)) == 3
  # What the others are compared with comes first.
  assert arms_of(trained)[0] == "miner=semi_hard,margin=0.4"
  assert sorted(states(sweep).values()) == ["done"] * 6 + ["waiting"] * 8
  with (sweep.path / "results.csv").open() as file:
    assert sum(row["state"] == "waiting" for row in csv.DictReader(file)) == 8


@needs_optuna
def test_a_zip_is_searched_too(tmp_path, monkeypatch):
  axes = [
    grid.axis("loss.margin", [0.1, 0.2, 0.3, 0.4]),
    grid.axis("optimizer.learning_rate", [1e-3, 2e-3, 3e-3, 4e-3]),
  ]
  sweep = opened(tmp_path / "sweep", grid.zip(*axes))
  trainer = Trainer(lambda cell: float(cell.values["margin"]))
  code, trained = searched(monkeypatch, sweep, Search("tpe", 9), trainer)
  assert code == 0
  assert sorted(trained) == sorted(cell.name for cell in sweep.cells)


@needs_optuna
@pytest.mark.parametrize("how", ["kill", "signal"])
@pytest.mark.parametrize("method", ["random", "tpe"])
def test_a_search_goes_on_as_if_nothing_was(tmp_path, monkeypatch, method, how):
  ask = Search(method, trials=6, seed=1)
  whole = opened(tmp_path / "whole")
  _, expected = searched(monkeypatch, whole, ask)
  for stop in (0, 3, 4, 9):
    sweep = opened(tmp_path / f"stopped{stop}")
    trainer = Trainer(stop_at=stop, how=how)
    if how == "signal":
      code, before = searched(monkeypatch, sweep, ask, trainer)
      assert code == STOPPED
    else:
      with pytest.raises(Killed):
        searched(monkeypatch, sweep, ask, trainer)
      before = trainer.trained
      # What a kill leaves in the worst moment.
      with (sweep.path / "study.log").open("a") as file:
        file.write('{"op_code":4,"work')
      os.symlink("study.log", sweep.path / "study.log.lock")
    assert len(before) == stop
    start = time.monotonic()
    code, after = searched(monkeypatch, sweep, ask)
    assert time.monotonic() - start < 20  # Optuna's lock would be 30
    assert code == 0
    assert before + after == expected
    assert trials(sweep, ask) == trials(whole, ask)
    results = [s.path / "results.csv" for s in (sweep, whole)]
    assert results[0].read_bytes() == results[1].read_bytes()


@needs_optuna
def test_more_trials_are_the_same_and_then_more(tmp_path, monkeypatch):
  whole, sweep = opened(tmp_path / "whole"), opened(tmp_path / "sweep")
  _, expected = searched(monkeypatch, whole, Search("tpe", 6))
  _, first = searched(monkeypatch, sweep, Search("tpe", 2))
  _, then = searched(monkeypatch, sweep, Search("tpe", 6))
  assert len(first) == 4
  assert first + then == expected


@needs_optuna
@pytest.mark.parametrize("method", ["random", "tpe"])
def test_the_seed_decides(tmp_path, monkeypatch, method):
  orders = [
    searched(monkeypatch, opened(tmp_path / f"{i}"), Search(method, seed=seed))[
      1
    ]
    for i, seed in enumerate([0, 0, 1, 2, 3])
  ]
  assert orders[0] == orders[1]
  assert len({tuple(order) for order in orders}) > 2


@needs_optuna
def test_what_was_trained_before_is_taken(tmp_path, monkeypatch):
  sweep = opened(tmp_path / "sweep")
  done = Trainer()
  options = groups.Options(tmp_path, arm=ARMS[3])
  done(sweep, Orders(options), say=print)
  how = Search("random", 7)
  _, trained = searched(monkeypatch, sweep, how)
  assert set(arms_of(trained)) == set(ARMS) - {ARMS[3]}
  values = {arm: value for arm, _, value in trials(sweep, how)}
  assert values[ARMS[3]] == pytest.approx(0.305)


@needs_optuna
def test_arms_that_fail_have_no_value(tmp_path, monkeypatch):
  sweep = opened(tmp_path / "sweep")
  how = Search("tpe", 7)

  def value(cell):
    if cell.name == "miner=random,margin=0.2,seed=1":
      return None
    nan = cell.name == "miner=semi_hard,margin=0.1,seed=0"
    return float("nan") if nan else value_of(cell)

  code, _ = searched(monkeypatch, sweep, how, Trainer(value))
  assert code == 1
  failed = {arm for arm, state, _ in trials(sweep, how) if state == "FAIL"}
  assert failed == {"miner=random,margin=0.2", "miner=semi_hard,margin=0.1"}
  # Not of itself, and then the one cell that failed.
  assert searched(monkeypatch, sweep, how) == (1, [])
  code, again = searched(monkeypatch, sweep, how, retry_failed=True)
  assert (code, again) == (0, ["miner=random,margin=0.2,seed=1"])
  assert trials(sweep, how)[-1] == (
    "miner=random,margin=0.2",
    "COMPLETE",
    pytest.approx(0.005),
  )


@needs_optuna
def test_another_search_is_refused(tmp_path, monkeypatch):
  sweep = opened(tmp_path / "sweep")
  searched(monkeypatch, sweep, Search("tpe", 1))
  for how, said in (
    (Search("random", 1), "^--search: .* begun with tpe, got random"),
    (Search("tpe", 1, seed=4), "^--search_seed: .* begun with 0, got 4"),
  ):
    with pytest.raises(UserError, match=said):
      search.open_study(sweep, how)
  (sweep.path / "study.log").write_text("not a study\n")
  with pytest.raises(UserError, match=r"study.log can't be read"):
    search.open_study(sweep, Search("tpe", 1))


@needs_optuna
@pytest.mark.parametrize("direction", ["minimize", "maximize"])
def test_what_was_good_is_looked_for(direction):
  from optuna.trial import create_trial

  labels = [
    dict(zip("abc", own, strict=True))
    for own in itertools.product("0123", repeat=3)
  ]
  arms = {"".join(own.values()): own for own in labels}
  space = search._space(arms)
  late = {"random": [], "tpe": []}
  for method, seed in itertools.product(late, range(4)):
    ended = []
    while len(ended) < 24:
      arm = search.propose(ended, arms, Search(method, 24, seed), direction)
      ended.append(
        create_trial(
          value=float(sum(map(int, arm))),
          params=arms[arm],
          distributions=space,
          user_attrs={"arm": arm},
        )
      )
    late[method] += [trial.value for trial in ended[16:]]
  # Chance is the grid's mean, 4.5, with a standard error of 0.34.
  sign = 1 if direction == "maximize" else -1
  assert abs(np.mean(late["random"]) - 4.5) < 1.4
  assert sign * (np.mean(late["tpe"]) - 4.5) > 1.0
