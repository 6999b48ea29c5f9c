"""Several runs measured as one: their embeddings side by side.

Networks that were trained from other seeds make other mistakes. Side by side,
and divided by the root of their number, embeddings have as squared distances
the mean of what each run says, and unit length where each has it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from tripletjax.errors import UserError
from tripletjax.training.finished import FinishedRun, load_run
from tripletjax.training.run_folder import read_image_shape
from tripletjax.training.views import MOST


def load_runs(
  workdir: str | Path,
  beside: Sequence[str | Path] = (),
  *,
  which: str = "latest",
  views: int | None = None,
  view_temperature: float | None = None,
  say: Callable[[str], None] = print,
) -> list[FinishedRun]:
  """Loads a run, and others that are measured with it.

  Args:
    workdir: the first run's folder.
    beside: folders of the others.
    which: checkpoint of each, see `load_run`.
    views: in place of each run's `evaluation.views`.
    view_temperature: in place of `evaluation.view_temperature`.
    say: is told of a damaged checkpoint that is passed over.

  Raises:
    UserError: one can't be loaded, or wants other images or another distance
      than the first.
  """
  if views is not None and not 1 <= views <= MOST:
    raise UserError(f"--views: expected 1 to {MOST:,}, got {views:,}")
  if view_temperature is not None and not 0 <= view_temperature < math.inf:
    raise UserError(
      f"--view_temperature: expected 0 or more, got {view_temperature}"
    )
  runs = [load_run(path, which=which, say=say) for path in (workdir, *beside)]
  first = _asks(runs[0])
  for run in runs:
    for name, value in _asks(run).items():
      if value != first[name]:
        raise UserError(
          f"--beside: {run.workdir} has {name} = {value!r}; expected "
          f"{first[name]!r}, as {runs[0].workdir}"
        )
    evaluation = run.config.evaluation
    with run.config.unlocked():
      if views is not None:
        evaluation.views = views
      if view_temperature is not None:
        evaluation.view_temperature = view_temperature
  _check_views(runs)
  return runs


def _check_views(runs: Sequence[FinishedRun]) -> None:
  """Of views that are compared all runs have to have as many."""
  first = runs[0].config.evaluation
  compared = ("views",) if first.view_temperature else ()
  for run in runs:
    for name in ("view_temperature", *compared):
      found, wanted = (c[name] for c in (run.config.evaluation, first))
      if found != wanted:
        raise UserError(
          f"--beside: {run.workdir} has evaluation.{name} = {found}; expected "
          f"{wanted}, as {runs[0].workdir}, or --{name} for all"
        )


def _asks(run: FinishedRun) -> dict[str, object]:
  config = run.config
  return {
    "image shape": read_image_shape(run.workdir),
    "data.invert": config.data.invert,
    "data.frame": config.data.frame,
    "loss.distance": config.loss.distance,
  }


def side_by_side(embeddings: Sequence[np.ndarray]) -> np.ndarray:
  """Embeddings `[N, ..., D_i]` of n runs as `[N, ..., sum of D_i]`.

  >>> side_by_side([np.ones((1, 1)), -np.ones((1, 3))]).tolist()[0][:2]
  [0.7071067811865475, -0.7071067811865475]
  """
  if len(embeddings) == 1:
    return embeddings[0]
  joined = np.concatenate(embeddings, axis=-1)
  return joined / joined.dtype.type(len(embeddings) ** 0.5)
