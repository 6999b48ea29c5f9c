"""Evaluates a finished run: numbers, and arrays for the report."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tripletjax import writers
from tripletjax.data.sources import Source
from tripletjax.errors import UserError
from tripletjax.metrics import METRICS
from tripletjax.training import parallel
from tripletjax.training.by_group import check_groups, measure_groups
from tripletjax.training.committee import load_runs, side_by_side
from tripletjax.training.evaluated_set import (
  EvaluatedSet,
  open_gallery,
  open_pairs,
  open_set,
)
from tripletjax.training.evaluation import embed_source, raw_pixels
from tripletjax.training.evaluation_arrays import Space, save_arrays
from tripletjax.training.evaluation_settings import (
  Settings,
  check_set,
  explain,
  run_settings,
)
from tripletjax.training.finished import (
  FinishedRun,
  trained_state,
  untrained_state,
)
from tripletjax.training.pairs import listed_pairs
from tripletjax.training.protocols import measure_pairs, measure_set
from tripletjax.training.run_folder import read_image_shape
from tripletjax.training.splits import of_another_set
from tripletjax.training.views import make_views, means

Summary = dict[str, Any]
Say = Callable[[str], None]


def evaluate_run(
  workdir: str | Path,
  *,
  checkpoint: str = "latest",
  data_dir: str | Path = "data",
  data: str | None = None,
  split: str = "eval",
  gallery: str | None = None,
  query: str | None = None,
  gallery_images: int | None = None,
  cameras: str | None = None,
  pairs: str | None = None,
  views: int | None = None,
  view_temperature: float | None = None,
  beside: Sequence[str | Path] = (),
  output: str | Path | None = None,
  baselines: bool = True,
  by_group: bool = False,
  devices: parallel.Devices | None = None,
  say: Say = lambda line: None,
  **protocols: Any,
) -> Summary:
  """Measures a finished run, raw pixels and an untrained network on one split.

  Args:
    workdir: the run's folder.
    checkpoint: latest, best (by the run's `checkpoint.best`), or a step.
    data_dir: folder of the prepared data sets.
    data: another prepared set than the run's; its images are brought to the
      size and channels that the run trained on.
    split: "eval" or "train", the config's, or a TFDS split expression.
    gallery: a split that is searched, by the images of `query`.
    query: a split; together with `gallery`.
    gallery_images: so many images of each identity of `split`, drawn by the
      run's seed, are searched by all others.
    cameras: a regular expression that finds the camera in an image's path: an
      image of the query's own camera isn't its match, and a one-shot episode
      shows images of one camera and asks about those of another; "" for none,
      and the run's `evaluation.cameras` (none of another set) when None.
    pairs: a file of pairs in LFW's format; then only they are measured.
    views: of each image, whose embeddings' mean is taken; the run's
      `evaluation.views` when None.
    view_temperature: of one-shot tasks that compare views (`nearest_views`), 0
      for their means; the run's `evaluation.view_temperature` when None.
    beside: folders of other runs, whose embeddings stand beside this one's
      (`committee.py`).
    output: folder for `summary.json` and arrays; `<workdir>/evaluation`.
    baselines: whether raw pixels and an untrained network are measured too.
    by_group: whether each group (alphabet, country) is measured by itself too.
    devices: all local ones when None.
    say: is given lines for people.
    **protocols: fields of `Settings`, in place of its own and the run's.

  Returns:
    What `summary.json` holds: `trained`, and `untrained` and `raw_pixels`
    unless left out, map to numbers by name; `not_measurable` maps a name to
    the reason; `step`, `split`, `images`, `identities`; `by_group` as from
    `measure_groups`.

  Raises:
    UserError: no run, no checkpoint, no such split; a set without a positive
      pair, or with one identity; embeddings that are not finite.
  """
  if (gallery is None) != (query is None):
    raise UserError("--gallery and --query: expected both or neither, got one")
  if pairs is not None and gallery is not None:
    raise UserError("--pairs: expected no --gallery and --query beside it")
  if gallery_images is not None and (pairs or gallery):
    raise UserError(
      "--gallery_images: expected no --pairs, --gallery or --query beside it"
    )
  runs = load_runs(
    workdir,
    beside,
    which=checkpoint,
    views=views,
    view_temperature=view_temperature,
    say=say,
  )
  run = runs[0]
  settings = run_settings(run.config, **protocols)
  config = run.config
  if data is not None:
    config = of_another_set(config, data, read_image_shape(run.workdir))
  if cameras is None:
    cameras = "" if data else config.evaluation.cameras
  devices = parallel.local_devices() if devices is None else devices
  output = Path(output or Path(workdir) / "evaluation")
  if pairs is not None:
    evaluated = open_pairs(config, Path(data_dir), split, pairs)
  elif gallery is not None and query is not None:
    evaluated = open_gallery(
      config, Path(data_dir), gallery, query, cameras=cameras
    )
  else:
    evaluated = open_set(
      config,
      Path(data_dir),
      split,
      gallery_images=gallery_images,
      cameras=cameras,
    )
  if evaluated.pairs is None:
    settings = check_set(evaluated.labelled, settings, evaluated.name)
  if by_group:
    check_groups(evaluated, settings)
  if data is not None:
    evaluated = evaluated._replace(name=f"{data} {evaluated.name}")
  identities = len(np.unique(evaluated.labelled.labels))
  say(
    f"{', '.join(str(run.workdir) for run in runs)}, step {run.step}; "
    f"{evaluated.name}: "
    f"{len(evaluated.source):,} images of {identities:,} identities; "
    f"{parallel.describe_devices(devices)}"
  )
  has_tasks = "one_shot" in (settings.metrics or METRICS) and pairs is None
  spaces = _embed(
    runs,
    evaluated.source,
    devices,
    each=has_tasks and settings.view_temperature > 0,
    baselines=baselines,
  )
  scores = {
    name: _measure(space, evaluated, settings) for name, space in spaces.items()
  }
  summary: Summary = {
    "step": run.step,
    "split": evaluated.name,
    "images": len(evaluated.source),
    "identities": identities,
    "distance": {name: space.distance for name, space in spaces.items()},
    **scores,
    "not_measurable": explain(scores, evaluated.labelled, settings),
  }
  if by_group:
    summary["by_group"] = measure_groups(spaces, evaluated, settings)
  try:
    output.mkdir(parents=True, exist_ok=True)
    save_arrays(output, evaluated, spaces, scores, settings)
    writers.write_json(output / "summary.json", summary)
  except OSError as error:
    raise UserError(
      f"--output: can't write to {output}: {error.strerror}"
    ) from error
  return summary


def _embed(
  runs: Sequence[FinishedRun],
  source: Source,
  devices: parallel.Devices,
  *,
  each: bool,
  baselines: bool,
) -> dict[str, Space]:
  """The representations by name, in the order of the table.

  Args:
    runs: measured as one.
    source: the images.
    devices: where they are embedded.
    each: whether all views of an image are kept.
    baselines: whether there are others than the trained network's.
  """
  distance = runs[0].config.loss.distance
  before, trained = [], []
  for run in runs:
    # Made even where it isn't measured: it checks the shape of the images.
    untrained = untrained_state(run, source.image_shape, pretrained=baselines)
    embed = functools.partial(
      embed_source,
      source=source,
      devices=devices,
      batch_size=run.config.evaluation.batch_size,
      views=make_views(run.config, each=each),
    )
    trained.append(embed(trained_state(run)))
    broken = int(np.sum(~np.isfinite(means(trained[-1])).all(axis=1)))
    if broken:
      raise UserError(
        f"--workdir: the network of {run.workdir} at step {run.step} gives NaN "
        f"or infinity for {broken:,} of {len(source):,} images: its weights "
        "diverged; train again with a smaller optimizer.learning_rate"
      )
    if baselines:
      before.append(embed(untrained))
  spaces = {"trained": Space(side_by_side(trained), distance)}
  if not baselines:
    return spaces
  return {
    "raw_pixels": Space(raw_pixels(source), "euclidean"),
    "untrained": Space(side_by_side(before), distance),
    **spaces,
  }


def _measure(
  space: Space, data: EvaluatedSet, settings: Settings
) -> dict[str, float]:
  if data.pairs is None:
    return measure_set(
      space.embeddings, data.labelled, space.distance, settings
    )
  listed = data.pairs
  distances = listed_pairs(
    space.means,
    listed.first,
    listed.second,
    listed.is_same,
    space.distance,
  ).distances
  return measure_pairs(distances, listed.is_same, listed.fold, settings)
