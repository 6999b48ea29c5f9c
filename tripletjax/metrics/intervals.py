"""Intervals by bootstrap: 95 %, between the 2.5 and the 97.5 % quantile."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

QUANTILES = (0.025, 0.975)
# Draws of identities that are held at once: [resamples, identities].
_HELD = 1 << 24


def resampled_means(
  names: Iterable[str],
  values: np.ndarray,
  groups: np.ndarray,
  *,
  resamples: int,
  seed: int,
) -> dict[str, float]:
  """Intervals of means, by drawing whole groups with replacement.

  The images of an identity succeed or fail together: drawing images would
  give too narrow an interval.

  Args:
    names: of the columns.
    values: `[N, columns]`.
    groups: the group of each row, integer, `[N]`.
    resamples: number of draws.
    seed: of the draws.

  Returns:
    `<name>_low` and `<name>_high`; nan where a value is, or with fewer than two
    groups.
  """
  names = list(names)
  sums, counts = group_sums(values, groups)
  low = high = np.full(len(names), np.nan)
  if len(counts) > 1:
    low, high = resampled_ratios(
      sums, counts[:, None], resamples=resamples, seed=seed
    )
  return interval(names, low, high)


def group_sums(
  values: np.ndarray, groups: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
  """Sum `[groups, columns]` and number `[groups]` of the rows of each group."""
  _, codes, counts = np.unique(groups, return_inverse=True, return_counts=True)
  sums = np.zeros((len(counts), values.shape[1]))
  np.add.at(sums, codes, values)
  return sums, counts


def resampled_ratios(
  tops: np.ndarray, bottoms: np.ndarray, *, resamples: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
  """Interval of `Σ tops / Σ bottoms` over groups drawn with replacement.

  Args:
    tops: `[groups, columns]`.
    bottoms: `[groups, 1]`, or as `tops`.
    resamples: number of draws.
    seed: of the draws.
  """
  rng = np.random.default_rng(seed)
  groups = len(tops)
  found = []
  at_once = max(1, _HELD // groups)
  for start in range(0, resamples, at_once):
    count = min(at_once, resamples - start)
    draws = rng.multinomial(groups, np.full(groups, 1 / groups), count)
    with np.errstate(invalid="ignore", divide="ignore"):
      found.append((draws @ tops) / (draws @ bottoms))
  ratios = np.concatenate(found)
  return tuple(np.quantile(ratios, QUANTILES, axis=0))


def interval(
  names: Iterable[str], low: np.ndarray, high: np.ndarray
) -> dict[str, float]:
  """`<name>_low` and `<name>_high`."""
  return {
    f"{name}_{end}": float(value)
    for name, *both in zip(names, low, high, strict=True)
    for end, value in zip(("low", "high"), both, strict=True)
  }
