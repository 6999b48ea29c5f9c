"""Some arms of a grid in place of all: random or Bayesian search by Optuna.

The arms are the space: each axis but seeds and folds is a choice among its
labels. A trial trains one arm with all its seeds, as cells of the sweep's
folder like any others, and its value is their mean. The study is in `study.log`
there. What is tried next depends on the seed and on the trials that have ended,
and on nothing else, so that a search that was killed goes on as if it hadn't
been.
"""

from __future__ import annotations

import functools
import importlib.util
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tripletjax.errors import UserError
from tripletjax.sweeps.conducting import (
  Orders,
  Say,
  conduct,
  held,
  retry_failed,
  train_unfinished,
  unfinished,
)
from tripletjax.sweeps.groups import cells_of
from tripletjax.sweeps.reading import SweepFolder, read_status
from tripletjax.sweeps.results import write_results
from tripletjax.sweeps.testing import mean_metrics, measure_test, select
from tripletjax.training.signals import STOPPED, asked_to_stop

FILE = "study.log"
NAME = "sweep"  # of the study in its file
ASKS = 20  # for an arm that wasn't tried, before the nearest one is taken


class Search(NamedTuple):
  """How arms are chosen.

  Attributes:
    method: random, tpe (tree-structured Parzen estimator), or "" for all arms.
    trials: the most arms.
    seed: of the choice.
  """

  method: str = ""
  trials: int = 20
  seed: int = 0


def conductor(search: Search) -> Callable[..., int]:
  """`conduct`, or `search_arms` where a method is given.

  Raises:
    UserError: Optuna isn't installed.
  """
  if not search.method:
    return conduct
  if importlib.util.find_spec("optuna") is None:
    raise UserError("--search: needs pip install 'tripletjax[optuna]'")
  return functools.partial(search_arms, search=search)


def search_arms(
  sweep: SweepFolder, orders: Orders, *, search: Search, say: Say = print
) -> int:
  """Trains arms until enough were tried, writes the tables, tests once.

  Args:
    sweep: as `open_sweep` gives it.
    orders: how.
    search: which arms.
    say: is given lines for people.

  Returns:
    0; 1 if a cell that was tried failed or diverged; 75 after a signal.

  Raises:
    UserError: the study in the folder is another one or can't be read, another
      process conducts this sweep, or the launcher can't run.
  """
  with held(sweep.path), asked_to_stop() as asked:
    if orders.retry_failed:
      retry_failed(sweep, say)
    study = open_study(sweep, search)
    count = min(search.trials, len(arm_labels(sweep)))
    while (trial := _next_trial(study, sweep, search)) is not None:
      arm = trial.user_attrs["arm"]
      say(f"trial {trial.number}, {count} arms to try: {arm}")
      options = orders.options._replace(arm=arm)
      ordered = orders._replace(options=options)
      if asked() or train_unfinished(sweep, ordered, say=say):
        return STOPPED
      _end(study, trial, mean_metrics(sweep).get(arm), say)
    write_results(sweep.path)
    _say_best(study, sweep, say)
    measure_test(sweep, orders.options.data_dir, say=say)
  states = [
    read_status(sweep.path, cell.name).state
    for arm in _last_trials(study)
    for cell in cells_of(sweep, arm)
  ]
  return int(any(state != "done" for state in states))


def arm_labels(sweep: SweepFolder) -> dict[str, dict[str, str]]:
  """Arm -> column -> label, in the order of the grid."""
  seeds = sweep.about["replicates"]
  return {
    cell.arm: {name: x for name, x in cell.values.items() if name not in seeds}
    for cell in sweep.cells
  }


def open_study(sweep: SweepFolder, search: Search) -> Any:
  """The Optuna study of a sweep's folder, made where there is none.

  Args:
    sweep: whose lock is held.
    search: how arms are chosen.

  Raises:
    UserError: it was begun otherwise, or can't be read.
  """
  import optuna
  from optuna.storages import JournalStorage
  from optuna.storages.journal import JournalFileBackend

  optuna.logging.set_verbosity(optuna.logging.WARNING)
  path = sweep.path / FILE
  begun = {"method": search.method, "seed": search.seed}
  try:
    _mend(path)
    study = optuna.create_study(
      study_name=NAME,
      storage=JournalStorage(JournalFileBackend(str(path))),
      direction="minimize" if sweep.about["less_is_better"] else "maximize",
      load_if_exists=True,
    )
    found = study.user_attrs.get("search")
    if found is None:
      study.set_user_attr("search", begun)
      found = begun
  except (OSError, ValueError, KeyError, TypeError, AssertionError) as error:
    said = str(error).partition("\n")[0]
    raise UserError(f"--workdir: {path} can't be read: {said}") from error
  for name, flag in (("method", "--search"), ("seed", "--search_seed")):
    if found[name] != begun[name]:
      raise UserError(
        f"{flag}: the search in {sweep.path} was begun with {found[name]}, got "
        f"{begun[name]}; expected the same, or another --workdir"
      )
  return study


def propose(
  ended: Sequence[Any],
  arms: Mapping[str, Mapping[str, str]],
  search: Search,
  direction: Any,
) -> str:
  """The arm to try next, always the same one after the same trials.

  A choice that was tried before or isn't in the grid is made again a few times;
  then the arm that has the most labels of the last choice is taken.

  Args:
    ended: frozen trials of Optuna, in their order.
    arms: arm -> column -> label; at least one isn't among those that ended.
    search: how arms are chosen.
    direction: of the study, minimize or maximize.
  """
  import optuna

  seeds = np.random.SeedSequence([search.seed, len(ended)])
  seed = int(seeds.generate_state(1)[0])
  study = optuna.create_study(
    direction=direction,
    sampler=_sampler(search.method, seed, len(arms)),
  )
  study.add_trials(ended)
  tried = {trial.user_attrs["arm"] for trial in ended}
  left = {arm: own for arm, own in arms.items() if arm not in tried}
  space = _space(arms)
  chosen: Mapping[str, str] = {}
  for _ in range(ASKS):
    chosen = study.ask(space).params
    for arm, own in left.items():
      if own == chosen:
        return arm
  return min(
    left, key=lambda arm: sum(left[arm][name] != chosen[name] for name in space)
  )


def _next_trial(study: Any, sweep: SweepFolder, search: Search) -> Any:
  """The trial to run, which the study then holds; None when all are done."""
  from optuna.trial import TrialState, create_trial

  arms = arm_labels(sweep)
  last = _last_trials(study)
  running = [t for t in last.values() if t.state == TrialState.RUNNING]
  if running:  # when the search was killed
    return running[0]
  baseline = sweep.about["baseline"]
  again = [
    arm
    for arm, trial in last.items()
    if trial.state == TrialState.FAIL and unfinished(sweep, arm)
  ]
  if again:  # by --retry_failed
    arm = again[0]
  elif len(last) >= min(search.trials, len(arms)):
    return None
  elif baseline and not last:  # what the others are compared with
    arm = baseline
  else:
    arm = propose(_trials(study), arms, search, study.direction)
  study.add_trial(
    create_trial(
      state=TrialState.RUNNING,
      params=arms[arm],
      distributions=_space(arms),
      user_attrs={"arm": arm},
    )
  )
  return _last_trials(study)[arm]


def _end(study: Any, trial: Any, value: float | None, say: Say) -> None:
  from optuna.trial import TrialState

  if value is None:
    study.tell(trial.number, state=TrialState.FAIL)
  else:
    study.tell(trial.number, value)
  result = "failed" if value is None else f"{value:.4f}"
  say(f"trial {trial.number}: {result}: {trial.user_attrs['arm']}")


def _say_best(study: Any, sweep: SweepFolder, say: Say) -> None:
  last = _last_trials(study)
  values = {arm: t.value for arm, t in last.items() if t.value is not None}
  if values:
    best = select(values, less_is_better=sweep.about["less_is_better"])
    say(
      f"best of {len(last)} arms: {best}: {sweep.about['metric']} "
      f"{values[best]:.4f}"
    )


def _trials(study: Any) -> list[Any]:
  return [t for t in study.get_trials(deepcopy=False) if "arm" in t.user_attrs]


def _last_trials(study: Any) -> dict[str, Any]:
  """Arm -> the last trial of it."""
  return {trial.user_attrs["arm"]: trial for trial in _trials(study)}


def _space(arms: Mapping[str, Mapping[str, str]]) -> dict[str, Any]:
  from optuna.distributions import CategoricalDistribution

  labels: dict[str, dict[str, None]] = {}
  for own in arms.values():
    for name, label in own.items():
      labels.setdefault(name, {})[label] = None
  return {name: CategoricalDistribution(list(x)) for name, x in labels.items()}


def _sampler(method: str, seed: int, arms: int) -> Any:
  from optuna.samplers import RandomSampler, TPESampler

  if method == "random":
    return RandomSampler(seed=seed)
  # Of few arms the first quarter is taken at random, not Optuna's ten.
  begin = min(10, max(2, arms // 4))
  return TPESampler(seed=seed, n_startup_trials=begin)


def _mend(path: Path) -> None:
  """Drops the half line and the lock that a search leaves when it is killed."""
  path.with_name(f"{path.name}.lock").unlink(missing_ok=True)
  if not path.exists():
    return
  data = path.read_bytes()
  whole = data[: data.rfind(b"\n") + 1]
  for line in whole.splitlines():
    json.loads(line)
  if whole != data:
    with path.open("r+b") as file:
      file.truncate(len(whole))
