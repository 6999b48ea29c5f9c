"""Are two arms of an ablation different? Intervals, paired tests, seeds needed.

An arm is a setting, a replicate (a seed, a fold) a repetition that all arms
share: the same initial weights and batches. So differences are taken replicate
by replicate, which removes what the arms have in common.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import scipy

LEVEL = 0.05  # of all tests; intervals hold 1 - LEVEL
POWER = 0.8
MOST_SEEDS = 1000
EXACT_FLIPS = 2**16
RANDOM_FLIPS = 100_000
# A spread below this share of the largest value is rounding, not variance.
_ROUNDING = 1e-9


class Interval(NamedTuple):
  """A mean with the 95 % interval of Student's t.

  Attributes:
    mean: NaN where nothing was measured.
    half: half the interval's width; NaN below two values.
    sd: standard deviation, by n - 1; NaN below two values.
    n: how many finite values.
    excluded: how many that are not finite, which aren't in it.
  """

  mean: float
  half: float
  sd: float
  n: int
  excluded: int


class Paired(NamedTuple):
  """An arm against the baseline, over the replicates that both have.

  Attributes:
    difference: of arm minus baseline.
    t_p, t_holm: p of the paired t test, and after Holm's correction.
    flip_p, flip_holm: the same of the sign-flip permutation test.
    flips: how many sign patterns were looked at; 0 is none.
    exact: whether these were all that there are.
    d_z: mean difference / standard deviation of the differences.
    g_z: d_z with Hedges' correction for few replicates.
    more: replicates that are missing until the 95 % interval excludes 0 with
      power 0.8, if mean and spread stay; None is not within 1000, or unknown.
    more_holm: the same at the level that Holm's correction asks of this arm.
    differences: each replicate's, NaN where one of the two has no value.
  """

  difference: Interval
  t_p: float
  t_holm: float
  flip_p: float
  flip_holm: float
  flips: int
  exact: bool
  d_z: float
  g_z: float
  more: int | None
  more_holm: int | None
  differences: tuple[float, ...]


def mean_interval(values: Sequence[float]) -> Interval:
  """Mean and 95 % interval by Student's t, of the finite values.

  >>> mean_interval([1.0, 2.0, 3.0, float("nan")])[2:]
  (1.0, 3, 1)
  """
  array = np.asarray(values, np.float64)
  finite = array[np.isfinite(array)]
  count = len(finite)
  nan = float("nan")
  mean = float(finite.mean()) if count else nan
  if count < 2:
    return Interval(mean, nan, nan, count, len(array) - count)
  sd = _spread(finite)
  half = float(
    scipy.stats.t.ppf(1 - LEVEL / 2, count - 1) * sd / np.sqrt(count)
  )
  return Interval(mean, half, sd, count, len(array) - count)


def paired_t(differences: Sequence[float]) -> float:
  """Gives p of the two-sided paired t test; NaN where it can't be made.

  That is below two replicates, and where all differences are equal but not 0:
  without a spread there's no scale to judge by. All 0 give 1.
  """
  _, _, sd, count, _ = interval = mean_interval(differences)
  if count < 2:
    return float("nan")
  if sd == 0:
    return 1.0 if interval.mean == 0 else float("nan")
  t = interval.mean / (sd / np.sqrt(count))
  return float(2 * scipy.stats.t.sf(abs(t), count - 1))


def sign_flip(
  differences: Sequence[float], *, seed: int = 0
) -> tuple[float, int, bool]:
  """Gives p of the two-sided sign-flip test of a mean of 0.

  Under the hypothesis each difference might as well have the other sign
  (Fisher 1935, The Design of Experiments, section 21). All patterns up to
  2^16; else 100,000 random ones, the one seen counted among them (Phipson and
  Smyth 2010), so that p is never 0.

  Args:
    differences: one for each replicate; those not finite are left out.
    seed: of the random patterns.

  Returns:
    p (NaN without a difference), how many patterns, and whether these are all.
  """
  array = np.asarray(differences, np.float64)
  array = array[np.isfinite(array)]
  count = len(array)
  if not count:
    return float("nan"), 0, True
  # As large as the one seen, rounding aside.
  bound = abs(array.sum()) - _ROUNDING * np.abs(array).sum()
  if 2**count <= EXACT_FLIPS:
    patterns = np.arange(2**count)[:, None] >> np.arange(count)[None] & 1
    sums = (1 - 2 * patterns) @ array
    return float(np.mean(np.abs(sums) >= bound)), 2**count, True
  generator = np.random.default_rng(seed)
  extreme = 0
  for _ in range(RANDOM_FLIPS // 1000):
    signs = 1 - 2 * generator.integers(0, 2, (1000, count))
    extreme += int(np.sum(np.abs(signs @ array) >= bound))
  return (1 + extreme) / (1 + RANDOM_FLIPS), RANDOM_FLIPS, False


def holm(p_values: Sequence[float]) -> list[float]:
  """Holm's step-down correction (1979); a NaN is no test and stays one.

  >>> [round(p, 3) for p in holm([0.01, 0.04, 0.03])]
  [0.03, 0.06, 0.06]
  """
  array = np.asarray(p_values, np.float64)
  corrected = np.full(len(array), np.nan)
  tests = np.flatnonzero(~np.isnan(array))
  order = tests[np.argsort(array[tests], kind="stable")]
  if len(order):
    times = np.arange(len(order), 0, -1)
    corrected[order] = np.maximum.accumulate(array[order] * times).clip(max=1)
  return corrected.tolist()


def effect_size(differences: Sequence[float]) -> tuple[float, float]:
  """Cohen's d_z of paired differences, and with Hedges' correction (g_z).

  d_z is mean / standard deviation of the differences. With n - 1 degrees of
  freedom m the correction is G(m/2) / (sqrt(m/2) G((m-1)/2)), G the gamma
  function (Hedges 1981). NaN where nothing varies, g_z below 3 replicates.
  """
  _, _, sd, count, _ = interval = mean_interval(differences)
  if count < 2 or sd == 0:
    return float("nan"), float("nan")
  d_z = interval.mean / sd
  if count < 3:
    return d_z, float("nan")
  half = (count - 1) / 2
  log = (
    scipy.special.gammaln(half)
    - scipy.special.gammaln(half - 0.5)
    - 0.5 * np.log(half)
  )
  return d_z, float(d_z * np.exp(log))


def power_of(d_z: float, count: int, *, level: float = LEVEL) -> float:
  """Power of the two-sided paired t test, by the noncentral t."""
  critical = scipy.stats.t.ppf(1 - level / 2, count - 1)
  shift = abs(d_z) * np.sqrt(count)
  above = scipy.stats.nct.sf(critical, count - 1, shift)
  return float(above + scipy.stats.nct.cdf(-critical, count - 1, shift))


def seeds_to_settle(
  mean: float, sd: float, *, level: float = LEVEL
) -> int | None:
  """The fewest replicates whose interval excludes 0 with power 0.8.

  Args:
    mean: of the differences, taken as the true one.
    sd: their standard deviation, taken as the true one.
    level: of the test.

  Returns:
    the count, at least 2; None if it is above 1000 or nothing varies.
  """
  if not (np.isfinite(mean) and np.isfinite(sd)) or sd == 0 or mean == 0:
    return None
  if power_of(mean / sd, MOST_SEEDS, level=level) < POWER:
    return None
  low, high = 1, 2  # power rises with the count
  while power_of(mean / sd, high, level=level) < POWER:
    low, high = high, min(2 * high, MOST_SEEDS)
  while high - low > 1:
    middle = (low + high) // 2
    if power_of(mean / sd, middle, level=level) < POWER:
      low = middle
    else:
      high = middle
  return high


def compare_arms(
  values: Mapping[str, Mapping[Any, float]], baseline: str
) -> dict[str, Paired]:
  """Every arm but the baseline against it.

  Args:
    values: arm -> replicate -> number; not finite is not measured.
    baseline: an arm of these.

  Returns:
    arm -> what is known of its difference; a replicate that only one of the
    two has, or that isn't finite in one, counts as excluded.
  """
  base = values[baseline]
  differences: dict[str, list[float]] = {}
  for arm, own in values.items():
    if arm == baseline:
      continue
    replicates = [*own, *(name for name in base if name not in own)]
    nan = float("nan")
    differences[arm] = [own.get(r, nan) - base.get(r, nan) for r in replicates]
  arms = list(differences)
  t_p = [paired_t(differences[arm]) for arm in arms]
  flips = [sign_flip(differences[arm]) for arm in arms]
  t_holm = holm(t_p)
  flip_holm = holm([p for p, _, _ in flips])
  levels = _holm_levels(t_p)
  compared = {}
  for i, arm in enumerate(arms):
    difference = mean_interval(differences[arm])
    d_z, g_z = effect_size(differences[arm])
    compared[arm] = Paired(
      difference, t_p[i], t_holm[i], flips[i][0], flip_holm[i], *flips[i][1:],
      d_z, g_z, _more(difference, t_p[i], LEVEL),
      _more(difference, t_holm[i], levels[i]), tuple(differences[arm]),
    )  # fmt: skip
  return compared


def welch(first: Sequence[float], second: Sequence[float]) -> Interval:
  """Difference of two means, second minus first, by Welch's interval.

  For replicates that have nothing in common. `n` is the smaller one, `sd`
  the standard error; half is NaN below two values on a side.
  """
  a, b = mean_interval(first), mean_interval(second)
  count, excluded = min(a.n, b.n), a.excluded + b.excluded
  parts = [side.sd**2 / max(side.n, 1) for side in (a, b)]
  error = float(np.sqrt(sum(parts)))
  half = float("nan") if np.isnan(error) else 0.0
  if error > 0:
    freedom = error**4 / sum(
      part**2 / (side.n - 1) for part, side in zip(parts, (a, b), strict=True)
    )
    half = float(scipy.stats.t.ppf(1 - LEVEL / 2, freedom) * error)
  return Interval(b.mean - a.mean, half, error, count, excluded)


def _spread(finite: np.ndarray) -> float:
  sd = float(finite.std(ddof=1))
  return 0.0 if sd <= _ROUNDING * np.abs(finite).max() else sd


def _holm_levels(p_values: Sequence[float]) -> list[float]:
  """The level that each p has to be below, by its rank."""
  array = np.asarray(p_values, np.float64)
  tests = np.flatnonzero(~np.isnan(array))
  levels = np.full(len(array), LEVEL)
  order = tests[np.argsort(array[tests], kind="stable")]
  levels[order] = LEVEL / np.arange(len(order), 0, -1)
  return levels.tolist()


def _more(difference: Interval, p: float, level: float) -> int | None:
  if p <= LEVEL:
    return 0
  needed = seeds_to_settle(difference.mean, difference.sd, level=level)
  # What isn't settled needs one at the least: with 2 or 3 replicates a lucky
  # draw is likely enough that the power is there before the result is.
  return None if needed is None else max(needed - difference.n, 1)
