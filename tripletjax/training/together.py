"""Runs of one program, trained side by side under `vmap`.

They differ in numbers only (`numbers.py`), so their schedules are equal: they
step, pause and end together. Each has its own folder with its own log and
checkpoints, as if it had been trained alone.
"""

from __future__ import annotations

import contextlib
import functools
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from tripletjax import checkpoint, writers
from tripletjax.errors import DivergedError, UserError
from tripletjax.training import objective, parallel, progress
from tripletjax.training.feeding import Feed
from tripletjax.training.lane import Lane, open_folder, open_lane
from tripletjax.training.loop import Summary, measure_end, summary_of
from tripletjax.training.numbers import step_numbers
from tripletjax.training.progress import Progress
from tripletjax.training.setup import Run
from tripletjax.training.signals import asked_to_stop
from tripletjax.training.state import TrainState

# What all members hold in common of a batch.
SHARED = "table"


class Outcome(NamedTuple):
  """How a run ended.

  Attributes:
    summary: as `train_and_evaluate` returns it; empty of one that diverged.
    reason: why it was stopped; "" of one that wasn't.
  """

  summary: Summary
  reason: str = ""


def train_together(
  runs: Sequence[Run],
  *,
  passengers: Sequence[int] = (),
  members: int = 0,
  bar: bool = True,
) -> list[Outcome]:
  """Trains runs of one program side by side, each into its own folder.

  A run equals the same one trained alone but for rounding; so that it is equal
  bit for bit after an interruption, the number of members has to stay: runs
  that have ended before come along as passengers, to which nothing happens.

  Args:
    runs: prepared, by `run_of`, from one of them.
    passengers: indices of those that have ended before.
    members: how many the program is made for, at least `len(runs)`.
    bar: show a progress bar.

  Returns:
    How each ended; of passengers, empty. A run whose numbers went wrong is
    stopped, and the others go on.

  Raises:
    UserError: a folder can't be written, or a run can't be trained like this.
  """
  check_together(runs[0])
  active = [i for i in range(len(runs)) if i not in passengers]
  outcomes = [Outcome({}) for _ in runs]
  if not active:
    return outcomes
  with asked_to_stop() as asked, contextlib.ExitStack() as stack:
    checkpoints = {i: stack.enter_context(open_folder(runs[i])) for i in active}
    start = common_step(list(checkpoints.values()))
    begun = {
      i: progress.begin(runs[i], runs[i].create(), checkpoints[i], at=start)
      for i in active
    }
    count = max(members, len(runs))
    ended, reasons = _train(runs, begun, checkpoints, count, asked, bar)
    for i in active:
      outcomes[i] = Outcome({}, reasons.get(i, ""))
      if i not in reasons:
        summary = summary_of(runs[i], ended[i])
        if not ended[i].stopped:
          summary |= measure_end(runs[i], ended[i])
          writers.write_json(runs[i].workdir / "summary.json", summary)
        outcomes[i] = Outcome(summary)
  return outcomes


def check_together(run: Run) -> None:
  """Raises a `UserError` for a run that can only be trained by itself."""
  if run.schedule.mining:
    raise UserError(
      "mining.name: expected online or random to train side by side, got "
      f"{run.config.mining.name}"
    )
  if jax.process_count() > 1:
    raise UserError("--way: runs train side by side in one process only")


def common_step(
  checkpoints: Sequence[checkpoint.Checkpoints | None],
) -> int:
  """The latest step of which all have a checkpoint; 0 if there is none."""
  steps = [set(each.steps()) if each else set() for each in checkpoints]
  return max(set.intersection(*steps), default=0)


class Members:
  """The states of all members on the devices, and one step for all of them."""

  def __init__(
    self, runs: Sequence[Run], states: Sequence[Any], *, count: int
  ) -> None:
    """Places the members.

    Args:
      runs: of one program.
      states: of each, on the host.
      count: of members, at least as many; the others are copies of the first.
    """
    run = runs[0]
    fewest = min(len(run.devices), count)
    self._devices = run.devices[:fewest]
    self._fill = count + -count % fewest - len(runs)
    self.state = self.place(states)
    self._numbers = self.place([step_numbers(each.config) for each in runs])
    self._keys = self.place(
      [
        np.asarray(jax.random.key_data(objective.run_key(each.config)))
        for each in runs
      ]
    )
    self._table = None
    if run.table is not None:
      self._table = parallel.replicate(
        parallel.first(run.table), self._devices, axis=parallel.SEATS
      )
    self._step = parallel.members_parallel(
      run.step, self._devices, shared=SHARED
    )

  def place(self, trees: Sequence[Any]) -> Any:
    """Trees of host arrays as one, `[D, M / D, ...]`."""
    trees = [*trees, *[trees[0]] * self._fill]
    stacked = jax.tree.map(lambda *leaves: np.stack(leaves), *trees)
    return parallel.place(
      parallel.shard(stacked, len(self._devices)),
      self._devices,
      axis=parallel.SEATS,
    )

  def step(self, batches: Any) -> dict[str, jax.Array]:
    """One step of all members; the numbers of each, `[D, M / D]`."""
    if self._table is not None:
      batches = {**batches, SHARED: self._table}
    self.state, metrics = self._step(
      self.state, batches, self._keys, self._numbers
    )
    return metrics

  def fetch(self, tree: Any, member: int) -> Any:
    """What belongs to a member, on the host."""

    def take(x: jax.Array) -> np.ndarray:
      device, place = divmod(member, x.shape[1])
      return np.asarray(x.addressable_shards[device].data)[0, place]

    return jax.tree.map(take, tree)


def _train(
  runs: Sequence[Run],
  begun: dict[int, Progress],
  checkpoints: dict[int, checkpoint.Checkpoints | None],
  count: int,
  asked: Callable[[], str],
  bar: bool,
) -> tuple[dict[int, Progress], dict[int, str]]:
  """Where each ends, and why those that diverged were stopped."""
  first = next(iter(begun))
  start, stop = begun[first].step, runs[first].schedule.total
  reasons: dict[int, str] = {}
  if start >= stop:
    return begun, reasons
  # A passenger's seat is taken by a copy of the first one.
  seated = [i if i in begun else first for i in range(len(runs))]
  feeds = {
    runs[i].config.seed: Feed(
      runs[i], start, stop, None, load=runs[i].load_here
    )
    for i in begun
  }
  members = Members(
    [runs[i] for i in seated],
    [parallel.first(begun[i].state) for i in seated],
    count=count,
  )
  with contextlib.ExitStack() as stack:
    lanes: dict[int, Lane] = {
      i: stack.enter_context(
        open_lane(
          runs[i],
          begun[i],
          checkpoints[i],
          feeds[runs[i].config.seed],
          stop=stop,
          bar=bar and i == first,
        )
      )
      for i in begun
    }

    def state_of(member: int) -> TrainState:
      state = members.fetch(members.state, member)
      return parallel.replicate(state, runs[member].devices)

    word = ""

    def heard() -> str:
      # By all of them, or by none.
      return word

    pending: list[dict[str, jax.Array]] = []
    for step in range(start + 1, stop + 1):
      with _shared(lanes, "input"):
        batches = {seed: next(feed) for seed, feed in feeds.items()}
        placed = members.place([batches[runs[i].config.seed] for i in seated])
      with _shared(lanes, "step"):
        pending.append(members.step(placed))
      word = asked()
      if not (word or any(lane.pauses(step) for lane in lanes.values())):
        continue
      with _shared(lanes, "step"):
        rows = {
          i: [members.fetch(metrics, i) for metrics in pending] for i in lanes
        }
      pending = []
      for i, lane in list(lanes.items()):
        try:
          lane.pause(step, functools.partial(state_of, i), rows[i], heard)
        except DivergedError as error:
          # It comes along until the end, as a passenger.
          reasons[i] = str(error)
          runs[i].say(reasons[i])
          del lanes[i]
      if not lanes or any(lane.now.stopped for lane in lanes.values()):
        break
  return {i: lane.now for i, lane in lanes.items()}, reasons


@contextlib.contextmanager
def _shared(lanes: dict[int, Lane], part: str) -> Iterator[None]:
  """Adds the time of its block to a part of all lanes, to each its share."""
  start = time.perf_counter()
  yield
  seconds = time.perf_counter() - start
  for lane in lanes.values():
    lane.watch.add(part, seconds / len(lanes))
