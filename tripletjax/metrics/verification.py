"""Same or different? Accuracy, AUC, EER and TAR at a fixed FAR."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jax.typing import ArrayLike

from tripletjax.metrics import curves
from tripletjax.metrics.blocks import check_labels, distinct
from tripletjax.metrics.intervals import QUANTILES

OF_FOLDS = (
  "accuracy",
  "accuracy_stderr",
  "accuracy_low",
  "accuracy_high",
  "threshold",
)


def verification(
  distances: ArrayLike,
  is_same: ArrayLike,
  *,
  folds: int = 10,
  far: Sequence[float] = (1e-3,),
  fold: ArrayLike | None = None,
  seed: int = 0,
  resamples: int = 1000,
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
    fold: the fold of each pair, integer, `[P]`, where a protocol says it (LFW's
      pairs.txt); `folds` isn't used then.
    seed: of the deal into folds, and of the bootstrap.
    resamples: how often pairs are drawn anew for the intervals.

  Returns:
    `accuracy`, its mean over folds; `accuracy_stderr`, their standard error;
    `threshold`, the mean of the folds' thresholds; `auc`; `eer`, where the
    linearly interpolated curve has false-accept = false-reject rate;
    `tar@far=1e-03` for each FAR: the share of same pairs accepted at the
    largest threshold whose false-accept rate is <= FAR, by exact counting;
    `same_pairs` and `different_pairs`. `accuracy` and each TAR have `_low` and
    `_high`: a 95 % bootstrap interval over pairs. Not measurable, and nan: all
    without same or different pairs or with a NaN distance, `accuracy` and its
    company with fewer than `folds` pairs of a kind (a given fold: where the
    others lack a kind), TAR with fewer than 1/FAR different pairs.

  Raises:
    TypeError: distances not floating, is_same not bool, fold not integer.
    ValueError: a shape doesn't fit, `folds` or a FAR is out of its range, or
      `fold` names only one.

  >>> scores = verification(
  ...   np.array([0.1, 0.2, 0.3, 0.8, 0.9, 1.0]),
  ...   np.array([True, True, False, True, False, False]),
  ...   folds=2,
  ...   far=(0.5,),
  ... )
  >>> round(scores["auc"], 4), round(scores["tar@far=5e-01"], 4)
  (0.8889, 1.0)
  """
  distances, is_same = curves.check_pairs(distances, is_same)
  check_protocol(folds, far, resamples)
  if fold is not None:
    fold = check_labels(fold, len(distances), "fold")
    if len(np.unique(fold)) < 2 <= len(fold):
      raise ValueError("expected fold with at least 2 folds, got 1")
  scores = fold_scores(
    distances, is_same, folds, seed=seed, fold=fold, resamples=resamples
  )
  pairs = None
  if not np.isnan(distances).any():
    pairs = curves.same_beside_different(distances, is_same)
  scores |= curve_scores(pairs, far)
  rng = np.random.default_rng([seed, 1])
  for rate in far:
    key = curves.rate_key("tar@far", rate)
    low = high = np.nan
    if resamples and not np.isnan(scores[key]) and pairs is not None:
      low, high = _tar_interval(pairs, rate, resamples, rng)
    scores |= {f"{key}_low": float(low), f"{key}_high": float(high)}
  same = int(np.sum(is_same))
  return scores | {
    "same_pairs": float(same),
    "different_pairs": float(len(is_same) - same),
  }


def check_protocol(folds: int, far: Sequence[float], resamples: int) -> None:
  """Raises a `ValueError` for what is out of its range."""
  if folds < 2:
    raise ValueError(f"expected folds of at least 2, got {folds}")
  if resamples < 0:
    raise ValueError(f"expected resamples of at least 0, got {resamples}")
  curves.check_rates(far)


def curve_scores(
  pairs: curves.SamePairs | None, far: Sequence[float]
) -> dict[str, float]:
  """AUC, EER and TAR of same pairs; nan for None, or without a kind."""
  keys = ["auc", "eer", *(curves.rate_key("tar@far", rate) for rate in far)]
  scores = dict.fromkeys(keys, float("nan"))
  if pairs is None or not len(pairs.distance) or not pairs.different:
    return scores
  scores |= {"auc": curves.auc(pairs), "eer": curves.eer(pairs)}
  for rate in far:
    if most := curves.allowed(rate, pairs.different):
      share = int(curves.accepted(pairs.upto, most)) / len(pairs.distance)
      scores[curves.rate_key("tar@far", rate)] = float(share)
  return scores


def _tar_interval(
  pairs: curves.SamePairs,
  rate: float,
  resamples: int,
  rng: np.random.Generator,
) -> tuple[float, float]:
  """Pairs of both kinds drawn with replacement; the threshold moves along."""
  most = curves.allowed(rate, pairs.different)
  # Of n draws the place of the (most + 1)-th smallest, as a share of the list,
  # is a Beta variable: no resample needs to be made. Below it lies the
  # threshold.
  share = rng.beta(most + 1, max(pairs.different - most, 1), resamples)
  nearer = np.minimum(
    (share * pairs.different).astype(np.int64), pairs.different - 1
  )
  count = len(pairs.distance)
  tar = curves.accepted(pairs.upto, nearer) / count
  low, high = np.quantile(rng.binomial(count, tar) / count, QUANTILES)
  return float(low), float(high)


def fold_scores(
  distances: np.ndarray,
  is_same: np.ndarray,
  folds: int,
  *,
  seed: int | np.random.Generator,
  fold: np.ndarray | None = None,
  resamples: int = 0,
) -> dict[str, float]:
  """Accuracy, its error and interval, and threshold, by cross-validation."""
  nothing = dict.fromkeys(OF_FOLDS, float("nan"))
  if np.isnan(distances).any():
    return nothing
  rng = np.random.default_rng(seed)
  if fold is None:
    if min(np.sum(is_same), np.sum(~is_same)) < folds:
      return nothing
    fold = np.zeros(len(is_same), np.int64)
    for kind in (is_same, ~is_same):
      fold[kind] = rng.permutation(np.arange(np.sum(kind)) % folds)
  # Sorted once for all folds.
  order = np.argsort(distances)
  is_same, fold = is_same[order], fold[order]
  # float64: a threshold halfway between two float32 must fall between them.
  distances = distances[order].astype(np.float64)
  accuracies, thresholds, right = [], [], 0
  for held_out in distinct(fold):
    judged = fold == held_out
    others = is_same[~judged]
    if others.all() or not others.any():
      return nothing
    threshold = best_threshold(
      *curves.cuts_in_order(distances[~judged], others)
    )
    correct = (distances[judged] <= threshold) == is_same[judged]
    accuracies.append(np.mean(correct))
    thresholds.append(threshold)
    right += int(correct.sum())
  if not accuracies:
    return nothing
  stderr = np.std(accuracies, ddof=1) / np.sqrt(len(accuracies))
  low = high = np.nan
  if resamples:
    # Draws of right and wrong answers, each as often as it was given.
    draws = rng.binomial(len(fold), right / len(fold), resamples) / len(fold)
    low, high = np.quantile(draws, QUANTILES)
  values = (np.mean(accuracies), stderr, low, high, np.mean(thresholds))
  return dict(zip(OF_FOLDS, map(float, values), strict=True))


def best_threshold(
  values: np.ndarray, same: np.ndarray, different: np.ndarray
) -> float:
  """The threshold with the most right answers; the smallest cut of several.

  Takes what `curves.cuts` returns.
  """
  # right = same accepted + different rejected, up to a constant
  cut = int(np.argmax(same - different))
  if cut == 0:
    return float(np.nextafter(values[0], -np.inf))
  if cut == len(values):
    return float(values[-1])
  low, high = values[cut - 1], values[cut]
  middle = low / 2 + high / 2
  return float(middle if middle < high else low)
