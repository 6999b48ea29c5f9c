"""Statistics of paired arms, against arithmetic, SciPy and slow loops."""

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from tripletjax.statistics import (
  compare_arms,
  effect_size,
  holm,
  mean_interval,
  paired_t,
  power_of,
  seeds_to_settle,
  sign_flip,
  welch,
)

NAN = float("nan")
GENERATOR = np.random.default_rng(0)


def test_interval_is_students():
  # Mean 3, sd sqrt(2.5), t at 4 degrees of freedom 2.776 (any t table).
  interval = mean_interval([1, 2, 3, 4, 5])
  assert interval.mean == 3
  assert interval.sd == pytest.approx(math.sqrt(2.5))
  half = 2.776 * math.sqrt(2.5 / 5)
  assert interval.half == pytest.approx(half, abs=1e-3)
  low, high = stats.ttest_1samp([1, 2, 3, 4, 5], 0).confidence_interval(0.95)
  assert interval.half == pytest.approx((high - low) / 2)


def test_interval_of_few_equal_and_diverged_values():
  assert mean_interval([]).n == 0
  assert math.isnan(mean_interval([]).mean)
  one = mean_interval([0.7, NAN, math.inf])
  assert (one.mean, one.n, one.excluded) == (0.7, 1, 2)
  assert math.isnan(one.half)
  # 0.1 * 3 in binary isn't three times the same: still no spread.
  same = mean_interval([0.1 + 0.2, 0.3, 0.3])
  assert (same.sd, same.half) == (0, 0)


def test_paired_t_is_scipys():
  first, second = GENERATOR.normal(size=(2, 7))
  expected = stats.ttest_rel(first, second).pvalue
  assert paired_t(first - second) == pytest.approx(expected)
  assert paired_t([0.0, 0.0]) == 1
  assert math.isnan(paired_t([0.5, 0.5]))
  assert math.isnan(paired_t([0.5]))
  assert math.isnan(paired_t([0.5, NAN]))


@pytest.mark.parametrize("count", [1, 2, 5, 9])
def test_sign_flips_are_all_looked_at(count):
  differences = GENERATOR.normal(0.4, 1, count)
  seen = abs(sum(differences))
  patterns = list(itertools.product((1, -1), repeat=count))
  extreme = sum(
    abs(sum(s * d for s, d in zip(signs, differences, strict=True)))
    >= seen - 1e-12
    for signs in patterns
  )
  p, flips, exact = sign_flip(differences)
  assert (p, flips, exact) == (extreme / len(patterns), 2**count, True)


def test_sign_flips_of_equal_signs_are_the_smallest_p():
  # Only the pattern itself and its mirror are as extreme.
  assert sign_flip([1, 2, 3]) == (2 / 8, 8, True)
  assert sign_flip([0.1, NAN, 0.1]) == (2 / 4, 4, True)
  assert sign_flip([0.0, 0.0]) == (1, 4, True)
  assert math.isnan(sign_flip([NAN])[0])


def test_many_replicates_flip_at_random():
  assert sign_flip(np.ones(16))[1:] == (2**16, True)
  differences = GENERATOR.normal(0.3, 1, 17)
  p, flips, exact = sign_flip(differences)
  assert (flips, exact) == (100_000, False)
  bits = np.arange(2**17)[:, None] >> np.arange(17)[None] & 1
  sums = np.abs((1.0 - 2 * bits) @ differences)
  expected = np.mean(sums >= abs(differences.sum()) - 1e-12)
  # Four standard errors of 100,000 draws.
  assert p == pytest.approx(expected, abs=4 * math.sqrt(0.25 / 1e5))
  assert sign_flip(differences) == (p, flips, exact)
  assert sign_flip(differences, seed=1)[0] != p
  # None of the random patterns is as extreme: the one seen still counts.
  assert sign_flip(np.ones(60))[0] == 1 / 100_001


def test_holm_by_hand():
  # Sorted .005 .01 .03 .04, times 4 3 2 1: .02 .03 .06 .04 -> .06 at the end.
  assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx(
    [0.03, 0.06, 0.06, 0.02]
  )
  with_nan = holm([NAN, 0.01, 0.6])
  assert math.isnan(with_nan[0])
  assert with_nan[1:] == pytest.approx([0.02, 0.6])
  assert holm([0.7, 0.8]) == [1, 1]
  assert holm([]) == []


def test_effect_size_by_hand():
  # Mean 2, sd 1, 2 degrees of freedom: G(1) / (1 * G(1/2)) = 1 / sqrt(pi).
  d_z, g_z = effect_size([1, 2, 3])
  assert d_z == 2
  assert g_z == pytest.approx(2 / math.sqrt(math.pi))
  assert math.isnan(effect_size([1, 1, 1])[0])
  assert math.isnan(effect_size([1])[0])


def test_power_is_what_simulated_studies_reach():
  studies = GENERATOR.normal(0.9, 1, (20_000, 8))
  found = stats.ttest_1samp(studies, 0, axis=1).pvalue <= 0.05
  error = math.sqrt(0.25 / len(found))
  assert power_of(0.9, 8) == pytest.approx(found.mean(), abs=4 * error)


@pytest.mark.parametrize(
  ("effect", "expected"),
  # Cohen's and G*Power's tables for a two-sided paired t, .05 and .8.
  [(0.2, 199), (0.5, 34), (0.8, 15), (1.0, 10)],
)
def test_seeds_to_settle_are_the_tables(effect, expected):
  assert seeds_to_settle(effect, 1) == expected
  assert seeds_to_settle(-2 * effect, 2) == expected


def test_seeds_to_settle_at_the_edges():
  assert seeds_to_settle(100, 1) == 2
  assert seeds_to_settle(0.01, 1) is None
  assert seeds_to_settle(0, 1) is None
  assert seeds_to_settle(1, 0) is None
  assert seeds_to_settle(NAN, 1) is None
  assert seeds_to_settle(0.5, 1, level=0.01) > 34


ARMS = {
  "base": {0: 0.5, 1: 0.6, 2: 0.7, 3: 0.6},
  "better": {0: 0.61, 1: 0.70, 2: 0.80, 3: 0.71},
  "same": {0: 0.52, 1: 0.59, 2: 0.7, 3: 0.6},
  "broken": {0: NAN, 1: 0.65, 5: 0.9},
}


def test_arms_are_compared_replicate_by_replicate():
  compared = compare_arms(ARMS, "base")
  assert list(compared) == ["better", "same", "broken"]
  better = compared["better"]
  differences = [0.11, 0.10, 0.10, 0.11]
  assert better.difference.mean == pytest.approx(0.105)
  expected = stats.ttest_1samp(differences, 0).pvalue
  assert better.t_p == pytest.approx(expected)
  # Two tests count: the broken arm shares one replicate with the baseline.
  assert better.t_holm == pytest.approx(2 * expected)
  assert better.flip_p == 2 / 16
  assert (better.flips, better.exact) == (16, True)
  # Three flip tests: 2/16, the broken arm's 2/2 and that of the same.
  assert better.flip_holm == pytest.approx(6 / 16)
  assert (better.more, better.more_holm) == (0, 0)


def test_an_arm_that_is_not_settled_says_how_many_more():
  same = compare_arms(ARMS, "base")["same"]
  sd = np.std([0.02, -0.01, 0, 0], ddof=1)
  effect = 0.0025 / sd
  needed = seeds_to_settle(0.0025, sd)
  assert power_of(effect, needed) >= 0.8 > power_of(effect, needed - 1)
  assert same.more == needed - 4
  # Of two tests it has the larger p: Holm asks no more of it.
  assert same.more_holm == same.more


def test_replicates_that_one_side_lacks_are_said():
  broken = compare_arms(ARMS, "base")["broken"]
  assert (broken.difference.n, broken.difference.excluded) == (1, 4)
  assert broken.difference.mean == pytest.approx(0.05)
  assert math.isnan(broken.t_p)
  assert math.isnan(broken.t_holm)
  assert broken.flip_p == 1
  assert (broken.more, broken.more_holm) == (None, None)


def test_welch_is_scipys():
  first, second = GENERATOR.normal(size=6), GENERATOR.normal(1, 3, size=4)
  result = stats.ttest_ind(second, first, equal_var=False)
  low, high = result.confidence_interval(0.95)
  interval = welch(first, second)
  assert interval.mean == pytest.approx((low + high) / 2)
  assert interval.half == pytest.approx((high - low) / 2)
  assert math.isnan(welch([1], [2, 3]).half)
  assert welch([1, 1], [2, 2])[:2] == (1, 0)
