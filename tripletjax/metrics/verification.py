"""Same or different? Accuracy, AUC, EER and TAR at a fixed FAR."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from sklearn import metrics as sklearn_metrics

from tripletjax.distances import check_embeddings, resolve_distance
from tripletjax.metrics.blocks import check_labels, row_blocks
from tripletjax.types import DistanceFn


def verification(
  distances: ArrayLike,
  is_same: ArrayLike,
  *,
  folds: int = 10,
  far: Sequence[float] = (1e-3,),
  seed: int = 0,
) -> dict[str, float]:
  """Scores of the rule "same when distance <= threshold" on listed pairs.

  `accuracy` follows LFW (Huang et al., 2007): the pairs are dealt into folds,
  same and different ones evenly, and each fold is judged with the threshold
  that does best on the others: the smallest such cut, put halfway between the
  distances on its two sides. Pairs at one distance are always accepted
  together, so ties can't help: they count half in `auc`, and all or none in
  TAR and FAR.

  Args:
    distances: one for each pair, `[P]`, floating.
    is_same: True where a pair shares its identity, `[P]`, bool.
    folds: number of folds, at least 2.
    far: false-accept rates, each in (0, 1).
    seed: of the deal into folds.

  Returns:
    `accuracy`, its mean over folds; `accuracy_stderr`, their standard error;
    `threshold`, the mean of the folds' thresholds; `auc`; `eer`, where the
    linearly interpolated curve has false-accept = false-reject rate;
    `tar@far=1e-03` for each FAR: the share of same pairs accepted at the
    largest threshold whose false-accept rate is <= FAR, by exact counting;
    `same_pairs` and `different_pairs`. Not measurable, and nan: all without
    same or different pairs or with a NaN distance, `accuracy` and its company
    with fewer than `folds` pairs of a kind, TAR with fewer than 1/FAR
    different pairs.

  Raises:
    TypeError: distances not floating, or is_same not bool.
    ValueError: a shape doesn't fit, `folds` or a FAR is out of its range.

  >>> scores = verification(
  ...   np.array([0.1, 0.2, 0.3, 0.8, 0.9, 1.0]),
  ...   np.array([True, True, False, True, False, False]),
  ...   folds=2,
  ...   far=(0.5,),
  ... )
  >>> round(scores["auc"], 4), round(scores["tar@far=5e-01"], 4)
  (0.8889, 1.0)
  """
  distances, is_same = np.asarray(distances), np.asarray(is_same)
  if not jnp.issubdtype(distances.dtype, np.floating):
    raise TypeError(f"expected distances to be floating, got {distances.dtype}")
  if is_same.dtype != np.bool_:
    raise TypeError(f"expected is_same to be bool, got {is_same.dtype}")
  if distances.ndim != 1 or distances.shape != is_same.shape:
    raise ValueError(
      "expected distances and is_same of one shape [pairs], "
      f"got {distances.shape} and {is_same.shape}"
    )
  _check_protocol(folds, far)
  rng = np.random.default_rng(seed)
  return _fold_scores(distances, is_same, folds, rng) | _curve_scores(
    distances, is_same, far
  )


def pair_verification(
  embeddings: ArrayLike,
  labels: ArrayLike,
  *,
  distance: str | DistanceFn = "squared_euclidean",
  folds: int = 10,
  far: Sequence[float] = (1e-3,),
  seed: int = 0,
) -> dict[str, float]:
  """`verification` over all unordered pairs of a set.

  AUC, EER and TAR see every pair. `accuracy`, its error and `threshold` see
  as many same as different pairs, as LFW does: all of the rarer kind, and as
  many of the other drawn with `seed`; over all pairs of many classes
  "always different" would already be right 99% of the time.

  Holds the N (N - 1) / 2 distances on the host: 7 MB for 1,908 embeddings,
  200 MB for 10,000.

  Args:
    embeddings: `[N, D]`, floating.
    labels: identities, `[N]`, integer.
    distance: a name from `DISTANCES`, or a symmetric function of `x` and `y`.
    folds: number of folds, at least 2.
    far: false-accept rates, each in (0, 1).
    seed: of the draw and the deal into folds.

  Returns:
    As `verification`; `same_pairs` and `different_pairs` count every pair.

  Raises:
    TypeError: embeddings not floating, or labels not integer.
    ValueError: a shape doesn't fit, `folds` or a FAR is out of its range.

  >>> points = np.array([[0.0], [1.0], [5.0], [7.0]], np.float32)
  >>> scores = pair_verification(points, np.array([0, 0, 1, 1]), folds=2)
  >>> scores["auc"], scores["eer"], scores["accuracy"]
  (1.0, 0.0, 1.0)
  """
  embeddings = check_embeddings(embeddings, "embeddings")
  labels = check_labels(labels, len(embeddings), "labels")
  _check_protocol(folds, far)
  distances, is_same = _all_pairs(
    embeddings, labels, resolve_distance(distance)
  )
  rng = np.random.default_rng(seed)
  same, different = np.flatnonzero(is_same), np.flatnonzero(~is_same)
  count = min(len(same), len(different))
  chosen = np.concatenate(
    [rng.choice(kind, count, replace=False) for kind in (same, different)]
    if count
    else [same, different]
  )
  return _fold_scores(
    distances[chosen], is_same[chosen], folds, rng
  ) | _curve_scores(distances, is_same, far)


def _check_protocol(folds: int, far: Sequence[float]) -> None:
  if folds < 2:
    raise ValueError(f"expected folds of at least 2, got {folds}")
  for rate in far:
    if not 0 < rate < 1:
      raise ValueError(f"expected far in (0, 1), got {rate}")


def _all_pairs(
  embeddings: jax.Array, labels: np.ndarray, distance_fn: DistanceFn
) -> tuple[np.ndarray, np.ndarray]:
  """Distance `[P]` and sameness `[P]` of all pairs i < j, row by row."""
  count = len(labels)
  distances, is_same = [np.zeros(0, np.float32)], [np.zeros(0, bool)]
  for rows, real in row_blocks(count):
    block = np.asarray(
      _distance_block(embeddings[rows], embeddings, distance_fn=distance_fn)
    )
    for i, values in zip(rows[:real], block[:real], strict=True):
      distances.append(values[i + 1 :])
      is_same.append(labels[i + 1 :] == labels[i])
  return np.concatenate(distances), np.concatenate(is_same)


@functools.partial(jax.jit, static_argnames=("distance_fn",))
def _distance_block(
  x: jax.Array, y: jax.Array, *, distance_fn: DistanceFn
) -> jax.Array:
  return distance_fn(x, y)


def _cuts(
  distances: np.ndarray, is_same: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Distinct distances, ascending, and the pairs of each kind up to them.

  Returns:
    distinct distances `[M]`, and with a leading 0 for "accept nothing" the
    same pairs `[M + 1]` and the different pairs `[M + 1]` accepted there.
  """
  order = np.argsort(distances)
  values, same = distances[order], is_same[order]
  last = np.flatnonzero(np.append(values[1:] != values[:-1], True))
  accepted_same = np.append(0, np.cumsum(same)[last])
  return values[last], accepted_same, np.append(0, last + 1) - accepted_same


def _curve_scores(
  distances: np.ndarray, is_same: np.ndarray, far: Sequence[float]
) -> dict[str, float]:
  """AUC, EER and TAR from one sort of all pairs."""
  same = int(np.sum(is_same))
  different = len(is_same) - same
  keys = ["auc", "eer", *(_tar_key(rate) for rate in far)]
  scores = dict.fromkeys(keys, float("nan"))
  if same and different and not np.isnan(distances).any():
    _, accepted_same, accepted_different = _cuts(distances, is_same)
    tar, fars = accepted_same / same, accepted_different / different
    scores["auc"] = float(sklearn_metrics.auc(fars, tar))
    # FAR - FRR rises from -1 to 1; its zero lies on the segment that ends at
    # the first cut where it is not negative.
    gap = fars - (1 - tar)
    end = int(np.argmax(gap >= 0))
    part = gap[end - 1] / (gap[end - 1] - gap[end])
    scores["eer"] = float(fars[end - 1] + part * (fars[end] - fars[end - 1]))
    for rate in far:
      # The rate as written in decimal: 0.29 * 100 is less than 29 in floats.
      allowed = int(Fraction(repr(float(rate))) * different)
      if allowed:
        cut = np.searchsorted(accepted_different, allowed, side="right") - 1
        scores[_tar_key(rate)] = float(tar[int(cut)])
  return scores | {
    "same_pairs": float(same),
    "different_pairs": float(different),
  }


def _tar_key(rate: float) -> str:
  short = f"{rate:.0e}"
  return f"tar@far={short if float(short) == rate else f'{rate:g}'}"


def _fold_scores(
  distances: np.ndarray,
  is_same: np.ndarray,
  folds: int,
  rng: np.random.Generator,
) -> dict[str, float]:
  """Accuracy, its standard error and the threshold, by cross-validation."""
  names = ("accuracy", "accuracy_stderr", "threshold")
  fewest = min(np.sum(is_same), np.sum(~is_same))
  if fewest < folds or np.isnan(distances).any():
    return dict.fromkeys(names, float("nan"))
  # float64: a threshold halfway between two float32 must fall between them.
  distances = distances.astype(np.float64)
  fold = np.zeros(len(is_same), np.int64)
  for kind in (is_same, ~is_same):
    fold[kind] = rng.permutation(np.arange(np.sum(kind)) % folds)
  accuracies, thresholds = [], []
  for held_out in range(folds):
    judged = fold == held_out
    threshold = _best_threshold(distances[~judged], is_same[~judged])
    accepted = distances[judged] <= threshold
    accuracies.append(np.mean(accepted == is_same[judged]))
    thresholds.append(threshold)
  stderr = np.std(accuracies, ddof=1) / np.sqrt(folds)
  values = (np.mean(accuracies), stderr, np.mean(thresholds))
  return dict(zip(names, map(float, values), strict=True))


def _best_threshold(distances: np.ndarray, is_same: np.ndarray) -> float:
  """The threshold with the most right answers; the smallest cut of several."""
  values, same, different = _cuts(distances, is_same)
  # right = same accepted + different rejected, up to a constant
  cut = int(np.argmax(same - different))
  if cut == 0:
    return float(np.nextafter(values[0], -np.inf))
  if cut == len(values):
    return float(values[-1])
  low, high = values[cut - 1], values[cut]
  middle = low / 2 + high / 2
  return float(middle if middle < high else low)
