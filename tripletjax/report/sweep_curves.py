"""Curves of each arm: a mean over its runs, from the lowest to the highest."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from tripletjax.errors import UserError
from tripletjax.report.files import read_series, read_triplets
from tripletjax.report.sweep_files import DONE, Cell, Sweep

POINTS = 80  # of a curve, at most,
ALL_POINTS = 5000  # and of the curves of one number of all arms
Series = Mapping[str, tuple[np.ndarray, np.ndarray]]


class Curve(NamedTuple):
  """An arm's curve: steps, mean, lowest and highest run, each `[S]`."""

  steps: np.ndarray
  mean: np.ndarray
  low: np.ndarray
  high: np.ndarray


class Gaps(NamedTuple):
  """The gaps d_an - d_ap `[T]` of an arm's last mined triplets.

  Attributes:
    gaps: of all its runs.
    margin: of the loss at that time; NaN if the runs differ in it.
  """

  gaps: np.ndarray
  margin: float


class Runs(NamedTuple):
  """The logged numbers of an arm's runs.

  Attributes:
    done: of those that reached their end, of which a mean is taken.
    others: of those that failed, diverged or are at work.
  """

  done: list[Series]
  others: list[Series]


def read_curves(sweep: Sweep) -> tuple[dict[str, Runs], list[str]]:
  """Arm -> the logged numbers of its runs.

  Returns:
    these, and a line for each file that can't be read.
  """
  curves: dict[str, Runs] = {}
  broken = []
  for cell in sweep.cells:
    path = cell.folder / "metrics.jsonl"
    if not path.exists() or not path.stat().st_size:
      continue
    try:
      series = _with_gap(read_series(path))
    except UserError as error:
      if cell.state != "running":  # whose last line may be half written
        broken.append(str(error))
      continue
    runs = curves.setdefault(cell.arm, Runs([], []))
    (runs.done if cell.state == DONE else runs.others).append(series)
  return curves, broken


def mean_curve(
  runs: Sequence[Series], name: str, points: int = POINTS
) -> Curve | None:
  """The mean over runs; None where none logged it.

  Steps are put into at most `points` bins, and a run's values of a bin into
  their mean, so that a long run is no larger in the page than a short one.
  """
  found = [run[name] for run in runs if name in run]
  if not found:
    return None
  every = np.unique(np.concatenate([steps for steps, _ in found]))
  last = every[-1]
  if len(every) <= points:
    edges = np.append(every, last + 1)
  else:
    edges = np.linspace(every[0], last + 1, points + 1)
  rows = np.stack([_binned(steps, values, edges) for steps, values in found])
  centers = every if len(every) <= points else (edges[:-1] + edges[1:]) / 2
  with warnings.catch_warnings():
    # A bin that no run has a number in is a gap in the line.
    warnings.filterwarnings("ignore", message="Mean of empty slice")
    warnings.filterwarnings("ignore", message="All-NaN slice")
    return Curve(
      centers.astype(np.float64),
      np.nanmean(rows, axis=0),
      np.nanmin(rows, axis=0),
      np.nanmax(rows, axis=0),
    )


def read_gaps(cells: Sequence[Cell]) -> Gaps | None:
  """The gaps of an arm's last mined triplets; None where none was kept."""
  gaps, margins = [], set()
  for cell in cells:
    path = cell.folder / "triplets.npz"
    if not path.exists():
      continue
    try:
      mined = read_triplets(path)
    except UserError:
      continue
    gaps.append(mined.distance_an - mined.distance_ap)
    margins.add(mined.margin)
  every = np.concatenate(gaps) if gaps else np.zeros(0)
  every = every[np.isfinite(every)]
  if not len(every):
    return None
  return Gaps(every, margins.pop() if len(margins) == 1 else float("nan"))


def _with_gap(series: Series) -> Series:
  """Adds the mean gap of a batch: different identities minus same."""
  near, far = series.get("positive_distance"), series.get("negative_distance")
  if near is None or far is None or len(near[0]) != len(far[0]):
    return series
  return {**series, "gap": (near[0], far[1] - near[1])}


def _binned(
  steps: np.ndarray, values: np.ndarray, edges: np.ndarray
) -> np.ndarray:
  places = np.searchsorted(edges, steps, side="right") - 1
  count = len(edges) - 1
  finite = np.isfinite(values)
  sums = np.bincount(places[finite], values[finite], minlength=count)[:count]
  sizes = np.bincount(places[finite], minlength=count)[:count]
  return np.where(sizes > 0, sums / np.maximum(sizes, 1), np.nan)
