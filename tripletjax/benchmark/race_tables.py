"""The results of the race as Markdown tables."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tripletjax.benchmark import race_cells
from tripletjax.benchmark.race import SIDES
from tripletjax.benchmark.race_layers import layers_table
from tripletjax.benchmark.tables import at_least, table
from tripletjax.statistics import mean_interval

Run = Mapping[str, Any]

HEADING = "The race against PyTorch"
ABOUT = """\
    python -m experiments.race --output=docs/results/race.json

The main job's ConvNet (32, 64 and 128 channels, 64 dimensions, BatchNorm) and
its initial distribution, images, batches (drawn by this project's sampler for
both), AdamW with its schedule, and the number of steps are the same. The affine
augmentation is written in both, with one distribution, and each side draws its
own numbers. PyTorch: eager, channels_last, a fused AdamW, as many threads as
cores, all images in memory. `all`: `TripletMarginMiner` with all triplets that
violate the margin, and `TripletMarginLoss`: the same number. `facenet`: one
of its semi-hard triplets for each pair, drawn. `batch_hard`:
`BatchHardMiner`, with Hermans et al.'s soft margin. Squared Euclidean distances
on the unit sphere and a margin of 0.2 but for `batch_hard`. FaceNet's batch is
45 x 40; trainings take 120 x 15 and 90 x 20, since of 40 images there are too
few identities in the sets."""

STEP_COLUMNS = (
  "batch",
  "loss",
  "ours, ms a step",
  "theirs",
  "times faster",
  "ours, ms of all cores",
  "theirs",
  "ours, GB",
  "theirs",
)
TRAINING_COLUMNS = (
  "training",
  "steps",
  "seeds",
  "ours, recall@1",
  "theirs",
  "difference",
  "ours, s",
  "theirs",
  "times faster",
)
REACH_COLUMNS = (
  "training",
  "recall@1",
  "ours, s",
  "theirs",
  "times faster",
  "ours, ms a step",
  "theirs",
  "ours, s to start",
  "theirs",
  "ours, GB",
  "theirs",
)


def race_report(results: Mapping[str, Any]) -> str:
  """All tables of the race.

  Args:
    results: what `measure_race` returns.
  """
  runs = results["runs"]
  parts = [ABOUT, _machine(results)]
  timed = [run for run in runs if run["kind"] == "steps"]
  if timed:
    parts += [
      "Time of a training step, the median of all but the first of a run; what "
      "it took of all cores together, which hardly depends on what else they "
      "do; and the most memory that a process had. Each side twice, by turns:",
      table(STEP_COLUMNS, [_step_row(*of) for of in _by_cell(timed)]),
    ]
  if layers := results.get("layers"):
    parts += [
      f"The convolutions of a step by themselves, {layers[0]['batch']} images:",
      layers_table(layers),
    ]
  trained = [run for run in runs if run["kind"] == "training"]
  if trained:
    parts += [
      "Trainings: recall@1 at the end, with the 95 % interval of Student's t "
      "over seeds, and of its difference by seed; seconds from end to end, "
      "start-up and compilation included, evaluations not:",
      table(TRAINING_COLUMNS, [_training_row(*of) for of in _by_cell(trained)]),
      "Seconds, start-up and compilation included, until an evaluation shows a "
      "recall@1 of so much; a training looks ten times:",
      table(REACH_COLUMNS, [_reach_row(*of) for of in _by_cell(trained)]),
    ]
  missed = "\n".join(parts).count("**") // 2
  parts.append(f"{missed or 'None'} outside of what was asked for.")
  return "\n\n".join(parts)


def _machine(results: Mapping[str, Any]) -> str:
  machine, runs = results["machine"], results["runs"]
  versions: dict[str, str] = {}
  for run in runs:
    versions |= run.get("versions", {})
  named = ", ".join(f"{name} {version}" for name, version in versions.items())
  loads = [run["load"] for run in runs]
  hours = sum(run.get("end", 0) + run.get("evaluating", 0) for run in runs)
  return (
    f"{machine['cores']} cores, {machine['devices']} of JAX's devices; "
    f"{named}; load before a run {min(loads):.1f} to {max(loads):.1f}, median "
    f"{statistics.median(loads):.1f}; {hours / 60:.0f} minutes of runs."
  )


def _by_cell(runs: Iterable[Run]) -> list[tuple[str, dict[str, list[Run]]]]:
  """Cells in their order, with the runs of each side."""
  found: dict[str, dict[str, list[Run]]] = {}
  for run in runs:
    sides = found.setdefault(run["cell"], {side: [] for side in SIDES})
    sides[run["side"]].append(run)
  return list(found.items())


def _failure(sides: Mapping[str, Sequence[Run]]) -> str:
  for side in SIDES:
    for run in sides[side]:
      if "failure" in run:
        return f"{side}: {run['failure']}"
    if not sides[side]:
      return f"{side}: not run"
  return ""


def _median_step(runs: Iterable[Run], field: str = "steps") -> float:
  return statistics.median(s for run in runs for s in run[field][1:])


def _gigabytes(runs: Iterable[Run]) -> str:
  return f"{max(run['peak_bytes'] for run in runs) / 1e9:.2f}"


def _step_row(name: str, sides: Mapping[str, Sequence[Run]]) -> list[str]:
  cell = race_cells.parse_cell(name)
  row = [f"{cell.size.batch:,} ({cell.size.name})", cell.loss]
  if why := _failure(sides):
    return [*row, why, *[""] * (len(STEP_COLUMNS) - 3)]
  ours, theirs = (_median_step(sides[side]) for side in SIDES)
  limit = race_cells.faster_limit(cell.size, cell.loss)
  return [
    *row,
    f"{1000 * ours:.0f}",
    f"{1000 * theirs:.0f}",
    at_least(theirs / ours, limit),
    *(f"{1000 * _median_step(sides[side], 'work'):.0f}" for side in SIDES),
    *(_gigabytes(sides[side]) for side in SIDES),
  ]


def _training_row(name: str, sides: Mapping[str, Sequence[Run]]) -> list[str]:
  if why := _failure(sides):
    return [name, "", "", why, *[""] * (len(TRAINING_COLUMNS) - 4)]
  cell = race_cells.parse_cell(name)
  recalls = {side: _by_seed(sides[side], _last_recall) for side in SIDES}
  seconds = {side: _by_seed(sides[side], _end) for side in SIDES}
  seeds = sorted(recalls["ours"].keys() & recalls["theirs"].keys())
  differences = [recalls["ours"][s] - recalls["theirs"][s] for s in seeds]
  ratios = [seconds["theirs"][s] / seconds["ours"][s] for s in seeds]
  limit = race_cells.faster_limit(cell.size, cell.loss)
  return [
    name,
    str(len(sides["ours"][0]["steps"])),
    str(len(seeds)),
    *(_interval(list(recalls[side].values())) for side in SIDES),
    _interval(differences, sign=True),
    *(f"{statistics.mean(seconds[side].values()):.1f}" for side in SIDES),
    at_least(statistics.median(ratios), limit),
  ]


def _reach_row(name: str, sides: Mapping[str, Sequence[Run]]) -> list[str]:
  if why := _failure(sides):
    return [name, "", why, *[""] * (len(REACH_COLUMNS) - 3)]
  goal = race_cells.DATA[race_cells.parse_cell(name).data]
  reached = {
    side: [seconds_to(run, goal) for run in sides[side]] for side in SIDES
  }
  ours, theirs = (statistics.median(reached[side]) for side in SIDES)
  ratio = f"{theirs / ours:.2f}" if max(ours, theirs) < float("inf") else ""
  return [
    name,
    f"{goal:g}",
    *(f"{value:.1f}" for value in (ours, theirs)),
    ratio,
    *(f"{1000 * _median_step(sides[side]):.0f}" for side in SIDES),
    *(
      f"{statistics.median(run['ready'] + run['steps'][0] for run in of):.1f}"
      for of in (sides[side] for side in SIDES)
    ),
    *(_gigabytes(sides[side]) for side in SIDES),
  ]


def seconds_to(run: Run, goal: float) -> float:
  """Seconds to the first evaluation of such a recall@1; infinite if none is."""
  for evaluation in run["evaluations"]:
    if evaluation["recall@1"] >= goal:
      return evaluation["seconds"]
  return float("inf")


def _by_seed(runs: Sequence[Run], value: Any) -> dict[int, float]:
  return {run["number"]: value(run) for run in runs}


def _last_recall(run: Run) -> float:
  return run["evaluations"][-1]["recall@1"]


def _end(run: Run) -> float:
  return run["end"]


def _interval(values: Sequence[float], *, sign: bool = False) -> str:
  found = mean_interval(values)
  mean = f"{found.mean:+.3f}" if sign else f"{found.mean:.3f}"
  return mean if found.n < 2 else f"{mean} ± {found.half:.3f}"
