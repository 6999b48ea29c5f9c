"""What an evaluation asks for, and whether a set can answer it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from ml_collections import ConfigDict

from tripletjax.errors import UserError
from tripletjax.metrics import METRICS
from tripletjax.training.views import MOST

Scores = dict[str, float]
EPISODES = 1_000_000  # at most: they take seconds, or hours
POWERS = (1, 2, 4, 8, 16, 32, 64)


class Settings(NamedTuple):
  """Of all protocols.

  Attributes:
    ks: of recall@k; powers of two up to 64 when empty, where the set has them.
    folds: of the verification's accuracy.
    far: false-accept rates of verification.
    ranks: of closed-set identification.
    fpir: false-positive rates of open-set identification.
    ways: identities of an episode.
    shots: images of each of them that are shown.
    queries: images of each of them that are asked about.
    episodes: number of episodes.
    view_temperature: of episodes that compare views (`nearest_views`); 0 where
      they compare their means.
    cluster_threshold: distance up to which agglomerative clustering merges;
      k-means into as many clusters as identities when None.
    metrics: the names in `METRICS` to take; all of them when empty.
    resamples: of the bootstrap that the intervals are from; 0 is none.
    seed: of every draw.
  """

  ks: tuple[int, ...] = ()
  folds: int = 10
  far: tuple[float, ...] = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6)
  ranks: tuple[int, ...] = (1, 5)
  fpir: tuple[float, ...] = (1e-1, 1e-2)
  ways: int = 20
  shots: int = 1
  queries: int = 1
  episodes: int = 400
  view_temperature: float = 0.0
  cluster_threshold: float | None = None
  metrics: tuple[str, ...] = ()
  resamples: int = 1000
  seed: int = 0


class Labelled(NamedTuple):
  """Whose the images of a set are.

  Attributes:
    labels: identities, `[N]`, integer.
    gallery: where the gallery stands among them, `[G]`, or None where each
      image asks all others.
    query: where the queries stand, `[Q]`, or None.
    groups: such as the alphabet of each, `[N]`, integer, or None.
    cameras: the camera that took each, `[N]`, integer, or None; retrieval looks
      for matches of other cameras only, and one-shot episodes show images of
      one and ask about those of another.
    ids: of the images, `[N]`, integer, or None; one that is in the gallery and
      among the queries isn't its own match.
  """

  labels: np.ndarray
  gallery: np.ndarray | None = None
  query: np.ndarray | None = None
  groups: np.ndarray | None = None
  cameras: np.ndarray | None = None
  ids: np.ndarray | None = None


def check_set(data: Labelled, settings: Settings, name: str) -> Settings:
  """The settings with ks that the set has.

  Args:
    data: its labels.
    settings: as asked for.
    name: of the split, for messages.

  Raises:
    UserError: the set can't be evaluated.
  """
  counts = np.unique(data.labels, return_counts=True)[1]
  if len(counts) < 2:
    raise UserError(
      f"--split: {name} has {len(counts)} identity; there is nothing to tell "
      "apart, expected 2 or more"
    )
  if data.gallery is None or data.query is None:
    size = len(data.labels) - 1
    if np.max(counts) < 2:
      raise UserError(
        f"--split: no identity of {name} has two images, so there is no "
        "positive pair to measure"
      )
  else:
    size = len(data.gallery)
    if not np.isin(data.labels[data.query], data.labels[data.gallery]).any():
      raise UserError(
        f"--query: no identity of {name} is in the gallery, so there is no "
        "positive pair to measure"
      )
  if not settings.ks:
    return settings._replace(ks=tuple(k for k in POWERS if k <= size))
  if max(settings.ks) > size:
    raise UserError(
      f"--ks: expected ranks of at most {size}, the images that a query of "
      f"{name} can be matched with, got {max(settings.ks)}"
    )
  return settings


def run_settings(config: ConfigDict, **changes: Any) -> Settings:
  """The protocols with a run's folds and seed, and `changes` of them.

  Raises:
    UserError: one of them can't be.
  """
  own = Settings(
    folds=config.evaluation.folds,
    view_temperature=config.evaluation.view_temperature,
    seed=config.seed,
  )
  settings = own._replace(**changes)
  for name in settings.metrics:
    if name not in METRICS:
      raise UserError(
        f"--metrics: expected names of {', '.join(METRICS)}, got {name!r}"
      )
  for flag, values in (("ks", settings.ks), ("ranks", settings.ranks)):
    if min(values, default=1) < 1:
      raise UserError(f"--{flag}: expected ranks from 1, got {list(values)}")
  for flag, rates in (("far", settings.far), ("fpir", settings.fpir)):
    if not all(0 < rate < 1 for rate in rates):
      raise UserError(
        f"--{flag}: expected rates between 0 and 1, got {list(rates)}"
      )
  threshold = settings.cluster_threshold
  if threshold is not None and not 0 <= threshold < float("inf"):
    raise UserError(
      f"--cluster_threshold: expected a distance from 0, got {threshold}"
    )
  if settings.episodes > EPISODES:
    raise UserError(
      f"--one_shot_episodes: expected at most {EPISODES:,}, got "
      f"{settings.episodes:,}"
    )
  return settings


def check_evaluation(evaluation: ConfigDict) -> None:
  """Raises a `UserError` that names the first field that can't be right."""
  ks, far = tuple(evaluation.ks), tuple(evaluation.far)
  if not ks or not all(isinstance(k, int) and k > 0 for k in ks):
    raise UserError(f"evaluation.ks: expected ranks from 1, got {ks}")
  if evaluation.folds < 2:
    raise UserError(
      f"evaluation.folds: expected 2 or more, got {evaluation.folds}"
    )
  if not all(isinstance(rate, float) and 0 < rate < 1 for rate in far):
    raise UserError(
      f"evaluation.far: expected false-accept rates between 0 and 1, got {far}"
    )
  if not 0 <= evaluation.episodes <= EPISODES:
    raise UserError(
      f"evaluation.episodes: expected 0 to {EPISODES:,}, got "
      f"{evaluation.episodes:,}"
    )
  if not 1 <= evaluation.views <= MOST:
    raise UserError(
      f"evaluation.views: expected 1 to {MOST:,}, got {evaluation.views:,}"
    )
  if evaluation.view_temperature < 0:
    raise UserError(
      "evaluation.view_temperature: expected 0 or more, got "
      f"{evaluation.view_temperature}"
    )
  if evaluation.ways < 2:
    raise UserError(
      f"evaluation.ways: expected 2 identities or more, got {evaluation.ways}"
    )


def explain(
  scores: Mapping[str, Scores], data: Labelled, settings: Settings
) -> dict[str, str]:
  """Why scores of one or more representations are nan: name -> reason."""
  counts = np.unique(data.labels, return_counts=True)[1]
  trained = scores["trained"]
  same = trained.get("same_pairs", 0)
  different = trained.get("different_pairs", 0)
  strangers = trained.get("unknown_queries", 0)
  needed = settings.shots + settings.queries
  in_folds = (
    f"in {settings.folds} folds with {same:,.0f} same and {different:,.0f} "
    "different pairs"
  )
  alike = " by the same cameras" if data.cameras is not None else ""
  reasons = {
    "tar@far": f"with {different:,.0f} different pairs",
    "accuracy": in_folds,
    "threshold": in_folds,
    "tpir": f"with {strangers:,.0f} queries of unknown identities",
    "one_shot": (
      f"with {np.sum(counts >= needed)} identities of {needed} images or more, "
      f"where {settings.ways}{alike} are asked for"
    ),
    "pairwise": "where no two images share a cluster",
  }
  found = {}
  for name in (name for own in scores.values() for name in own):
    missing = [space for space, own in scores.items() if np.isnan(own[name])]
    if not missing or name.endswith(("_low", "_high", "_stderr")):
      continue
    why = (text for key, text in reasons.items() if name.startswith(key))
    found[name] = f"not measurable {next(why, 'on this set')}"
    if len(missing) < len(scores):
      found[name] += f" ({', '.join(missing).replace('_', ' ')})"
  return found
