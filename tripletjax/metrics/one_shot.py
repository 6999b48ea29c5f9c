"""n-way k-shot classification: which of n identities, from k images of each?"""

from __future__ import annotations

import functools

import jax
import numpy as np
from jax.typing import ArrayLike

from tripletjax.distances import resolve_distance
from tripletjax.metrics.blocks import (
  check_host,
  check_labels,
  check_same_dimension,
)
from tripletjax.metrics.episode_draws import episode_draws
from tripletjax.types import DistanceFn


def one_shot(
  support: ArrayLike,
  support_labels: ArrayLike,
  query: ArrayLike,
  query_labels: ArrayLike,
  *,
  distance: str | DistanceFn = "squared_euclidean",
) -> dict[str, float]:
  """How often the nearest support image is of another identity.

  Lake et al., 2015: 20 characters, one image of each, 20 queries. With several
  images of an identity the nearest counts. Where several identities are
  equally near, one of them is taken by chance: the expected error is counted.

  Args:
    support: embeddings, `[S, D]`, floating.
    support_labels: identities, `[S]`, integer.
    query: embeddings, `[Q, D]`.
    query_labels: identities, `[Q]`.
    distance: a name from `DISTANCES`, or a function of `x` and `y`.

  Returns:
    `one_shot_error`, the share of wrong answers, in [0, 1]; nan without queries
    or support, or with a NaN distance.

  Raises:
    TypeError: embeddings not floating, or labels not integer.
    ValueError: a shape doesn't fit.

  >>> shown, asked = np.array([[0.0], [1.0]]), np.array([[0.2], [0.4]])
  >>> one_shot(shown, np.array([3, 4]), asked, np.array([3, 4]))
  {'one_shot_error': 0.5}
  """
  support = check_host(support, "support")
  support_labels = check_labels(support_labels, len(support), "support_labels")
  query = check_host(query, "query")
  query_labels = check_labels(query_labels, len(query), "query_labels")
  check_same_dimension(support, query, "support")
  wrong = _wrong(
    query, query_labels, support, support_labels, resolve_distance(distance)
  )
  return {"one_shot_error": float(wrong.mean()) if len(wrong) else np.nan}


def episodes(
  embeddings: ArrayLike,
  labels: ArrayLike,
  *,
  distance: str | DistanceFn = "squared_euclidean",
  ways: int = 20,
  shots: int = 1,
  queries: int = 1,
  episodes: int = 400,
  seed: int = 0,
  groups: ArrayLike | None = None,
  cameras: ArrayLike | None = None,
) -> dict[str, float]:
  """The error of `one_shot` over episodes drawn from a set.

  Each episode draws `ways` identities, and of each `shots` images to show and
  `queries` others to ask about. With `cameras` it is as Lake et al., 2015, did
  it: one drawer drew all characters that are shown, another one all those that
  are asked about.

  Args:
    embeddings: `[N, D]`, floating.
    labels: identities, `[N]`, integer.
    distance: a name from `DISTANCES`, or a function of `x` and `y`.
    ways: identities of an episode, at least 2.
    shots: images of each that are shown.
    queries: images of each that are asked about.
    episodes: how many are drawn.
    seed: of the draws.
    groups: such as the alphabet of a character, integer, `[N]`: the identities
      of an episode are of one group, drawn among those that have enough.
    cameras: such as the drawer of a character, integer, `[N]`: an episode draws
      `shots + queries` of them, and of each identity one image by each.

  Returns:
    `one_shot_error`, the mean over episodes; `one_shot_error_stderr`, its
    standard error over episodes (those of one set share their images: of the
    set drawn, not of another set); `one_shot_error_low` and `_high`, 1.96 of
    these on both sides, within [0, 1]. nan where no group has `ways` identities
    with `shots + queries` images (by the same cameras), or with a NaN distance.

  Raises:
    TypeError: embeddings not floating, or labels, groups or cameras not
      integer.
    ValueError: a shape doesn't fit, or a number is out of its range.

  >>> points = np.array([[0.0], [0.1], [5.0], [5.1]])
  >>> episodes(points, np.array([0, 0, 1, 1]), ways=2)["one_shot_error"]
  0.0
  """
  array = check_host(embeddings, "embeddings")
  labels = check_labels(labels, len(array), "labels")
  if groups is None:
    groups = np.zeros(len(labels), np.int64)
  groups = check_labels(groups, len(array), "groups")
  if cameras is not None:
    cameras = check_labels(cameras, len(array), "cameras")
  for name, value, least in (
    ("ways", ways, 2),
    ("shots", shots, 1),
    ("queries", queries, 1),
    ("episodes", episodes, 1),
  ):
    if value < least:
      raise ValueError(f"expected {name} of at least {least}, got {value}")
  draws = episode_draws(
    labels, groups, cameras, ways=ways, images=shots + queries, seed=seed
  )
  names = [f"one_shot_error{end}" for end in ("", "_stderr", "_low", "_high")]
  if not draws:
    return dict.fromkeys(names, float("nan"))
  rng = np.random.default_rng(seed)
  distance_fn = resolve_distance(distance)
  way = np.arange(ways)
  errors = []
  for _ in range(episodes):
    drawn = draws[int(rng.integers(len(draws)))](rng)
    shown, asked = drawn[:, :shots].ravel(), drawn[:, shots:].ravel()
    wrong = _wrong(
      array[asked],
      np.repeat(way, queries),
      array[shown],
      np.repeat(way, shots),
      distance_fn,
    )
    errors.append(wrong.mean())
  mean = np.mean(errors)
  stderr = np.nan
  if episodes > 1:
    stderr = np.std(errors, ddof=1) / np.sqrt(episodes)
  low, high = mean - 1.96 * stderr, mean + 1.96 * stderr
  ends = np.clip([low, high], 0, 1)
  return dict(zip(names, map(float, [mean, stderr, *ends]), strict=True))


def _wrong(
  query: np.ndarray | jax.Array,
  query_labels: np.ndarray,
  support: np.ndarray | jax.Array,
  support_labels: np.ndarray,
  distance_fn: DistanceFn,
) -> np.ndarray:
  """Probability of a wrong answer for each query, `[Q]`."""
  if not len(query) or not len(support):
    return np.full(len(query), np.nan)
  distances = np.asarray(_distances(query, support, distance_fn=distance_fn))
  order = np.argsort(support_labels, kind="stable")
  names, first = np.unique(support_labels[order], return_index=True)
  to_each = np.minimum.reduceat(
    distances[:, order].astype(np.float64), first, axis=1
  )
  nearest = to_each == to_each.min(axis=1, keepdims=True)
  own = nearest & (names[None, :] == query_labels[:, None])
  wrong = 1 - own.any(axis=1) / np.maximum(nearest.sum(axis=1), 1)
  return np.where(np.isnan(distances).any(axis=1), np.nan, wrong)


@functools.partial(jax.jit, static_argnames=("distance_fn",))
def _distances(
  x: jax.Array, y: jax.Array, *, distance_fn: DistanceFn
) -> jax.Array:
  return distance_fn(x, y)
