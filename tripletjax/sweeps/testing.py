"""The test split: looked at once, by the arm that validation selected."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tripletjax.data.caching import hold
from tripletjax.sweeps.cells import Planned
from tripletjax.sweeps.reading import (
  SweepFolder,
  cell_folder,
  read_json,
  read_status,
)
from tripletjax.sweeps.results import write_test
from tripletjax.training import parallel
from tripletjax.training.evaluation import embed_source, make_measure
from tripletjax.training.finished import load_run, trained_state
from tripletjax.training.splits import open_part
from tripletjax.training.views import make_evaluated_views


def measure_test(
  sweep: SweepFolder, data_dir: Path, *, say: Callable[[str], None] = print
) -> Path | None:
  """Measures the selected arm and the baseline on the test split, once.

  Args:
    sweep: of which every cell has ended.
    data_dir: folder of the prepared data sets.
    say: is given lines for people.

  Returns:
    `test.csv`; None where the sweep has no test split, a cell failed, or no arm
    was trained with every seed.

  Raises:
    UserError: the split isn't in the data, or a run can't be read.
  """
  path = sweep.path / "test.csv"
  if not sweep.about["test_split"]:
    return None
  if path.exists():
    return path
  states = [read_status(sweep.path, cell.name).state for cell in sweep.cells]
  if "failed" in states:
    say(
      f"{states.count('failed')} cells failed: the test split isn't looked at "
      "before they are done (--retry_failed)"
    )
    return None
  means = mean_metrics(sweep)
  if not means:
    return None
  best = select(means, less_is_better=sweep.about["less_is_better"])
  baseline = sweep.about["baseline"]
  arms = [arm for arm in dict.fromkeys((best, baseline)) if arm in means]
  say(
    f"selected by {sweep.about['metric']} on validation: {best}; testing "
    f"{' and '.join(arms)} on {sweep.about['test_split']}"
  )
  seed = next((name for name in sweep.about["replicates"]), "")
  rows = [
    {
      "arm": cell.arm,
      "cell": cell.name,
      "seed": cell.values.get(seed, cell.config.seed),
      **_measure(sweep, cell, data_dir),
    }
    for arm in arms
    for cell in sweep.cells
    if cell.arm == arm
  ]
  return write_test(sweep.path, rows)


def mean_metrics(sweep: SweepFolder) -> dict[str, float]:
  """Arm -> the mean of the sweep's metric over its cells, if all are done."""
  values: dict[str, list[float]] = {}
  for cell in sweep.cells:
    own = values.setdefault(cell.arm, [])
    own.append(float("nan"))
    if read_status(sweep.path, cell.name).state == "done":
      summary = read_json(cell_folder(sweep.path, cell.name) / "summary.json")
      found = summary["trained"].get(sweep.about["metric"])
      own[-1] = float("nan") if found is None else found
  means = {arm: float(np.mean(own)) for arm, own in values.items()}
  return {arm: mean for arm, mean in means.items() if np.isfinite(mean)}


def select(means: Mapping[str, float], *, less_is_better: bool) -> str:
  """The best arm; of equal ones the first.

  >>> select({"a": 0.5, "b": 0.7, "c": 0.7}, less_is_better=False)
  'b'
  """
  choose: Any = min if less_is_better else max
  return choose(means, key=lambda arm: means[arm])


def _measure(
  sweep: SweepFolder, cell: Planned, data_dir: Path
) -> dict[str, float]:
  config = cell.config
  # Not as the config divides its data: all of the test split, of every fold.
  part = open_part(
    config, data_dir, sweep.about["test_split"], field="test_split"
  )
  source = hold(part, where="host").source
  run = load_run(cell_folder(sweep.path, cell.name))
  embeddings = embed_source(
    trained_state(run),
    source,
    parallel.all_devices(),
    batch_size=config.evaluation.batch_size,
    views=make_evaluated_views(config),
  )
  return make_measure(config, source)(embeddings, config.loss.distance)
