"""Scores of each group of a set by itself: which alphabet is the hard one?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from tripletjax.errors import UserError
from tripletjax.training.evaluated_set import EvaluatedSet
from tripletjax.training.evaluation_arrays import Space
from tripletjax.training.evaluation_settings import (
  Labelled,
  Settings,
  explain,
)
from tripletjax.training.protocols import measure_set

# What says something of one group; in the order of `METRICS`.
MEASURED = ("retrieval", "one_shot")


def check_groups(evaluated: EvaluatedSet, settings: Settings) -> None:
  """Raises a `UserError` where groups can't be measured."""
  labelled = evaluated.labelled
  if evaluated.pairs is not None or labelled.gallery is not None:
    raise UserError(
      "--by_group: expected no --gallery, --gallery_images or --pairs beside it"
    )
  if labelled.groups is None:
    raise UserError(
      f"--by_group: {evaluated.name} has no groups; name their feature by the "
      "run's data.group_key"
    )
  if settings.metrics and not set(settings.metrics) & set(MEASURED):
    raise UserError(
      f"--by_group: expected {' or '.join(MEASURED)} among --metrics, got "
      f"{', '.join(settings.metrics)}"
    )


def measure_groups(
  spaces: Mapping[str, Space], evaluated: EvaluatedSet, settings: Settings
) -> dict[str, dict[str, Any]]:
  """Retrieval and one-shot episodes within each group.

  Args:
    spaces: the representations by name.
    evaluated: a set with groups, all of whose images ask for each other.
    settings: of the protocols.

  Returns:
    Group -> its number of `images` and of `identities`, by the name of each
    space the scores, and `not_measurable`, name -> reason. There are no scores
    where the group is a single identity, or no identity has two images.
  """
  settings = settings._replace(
    ks=(1,),
    metrics=tuple(
      name for name in MEASURED if name in (settings.metrics or MEASURED)
    ),
  )
  found: dict[str, dict[str, Any]] = {}
  for number, group in enumerate(evaluated.source.group_names):
    ids = np.flatnonzero(evaluated.labelled.groups == number)
    own = _taken(evaluated.labelled, ids)
    counts = np.unique(own.labels, return_counts=True)[1]
    if not len(counts):
      continue
    found[group] = {"images": len(ids), "identities": len(counts)}
    if len(counts) < 2 or np.max(counts) < 2:
      reason = "a single identity, or none with two images"
      found[group] |= {name: {} for name in spaces}
      found[group]["not_measurable"] = {"all": f"not measurable: {reason}"}
      continue
    scores = {
      name: measure_set(space.embeddings[ids], own, space.distance, settings)
      for name, space in spaces.items()
    }
    found[group] |= scores
    found[group]["not_measurable"] = explain(scores, own, settings)
  return found


def _taken(data: Labelled, ids: np.ndarray) -> Labelled:
  columns = {k: x[ids] for k, x in data._asdict().items() if x is not None}
  return Labelled(**columns)
