"""Curves, given folds, intervals, and pairs of which no list is kept."""

import numpy as np
import pytest
from sklearn import metrics as sklearn_metrics

from tests.metrics import oracles
from tests.metrics.test_verification import pairs
from tripletjax.metrics import (
  blocks,
  det_curve,
  pair_verification,
  roc_curve,
  verification,
)
from tripletjax.metrics import pairs as all_pairs


def test_roc_and_det_equal_scikit_learn_and_the_oracle():
  distances, is_same = pairs(3)
  far, tar, thresholds = roc_curve(distances, is_same)
  false, true, _ = sklearn_metrics.roc_curve(
    is_same, -distances, drop_intermediate=False
  )
  np.testing.assert_allclose(far, false)
  np.testing.assert_allclose(tar, true)
  assert thresholds[0] == -np.inf
  for threshold, *point in zip(thresholds, tar, far, strict=True):
    want = oracles.rates(distances, is_same, threshold)
    np.testing.assert_allclose(point, [float(rate) for rate in want])
  again, frr, same_thresholds = det_curve(distances, is_same)
  np.testing.assert_array_equal(again, far)
  np.testing.assert_allclose(frr, 1 - true)
  np.testing.assert_array_equal(same_thresholds, thresholds)


@pytest.mark.parametrize("kind", [False, True])
def test_a_curve_of_one_kind_is_nan(kind):
  far, tar, thresholds = roc_curve(np.arange(3.0), np.full(3, kind))
  assert np.isnan([far, tar]).all()
  assert len(far) == len(thresholds) == 4
  assert np.isnan(roc_curve(np.array([1.0, np.nan]), np.array([True, False])))[
    0
  ].all()


def test_auc_is_scikit_learn_s():
  distances, is_same = pairs(4, count=400)
  want = sklearn_metrics.roc_auc_score(is_same, -distances)
  got = verification(distances, is_same)["auc"]
  assert got == pytest.approx(want, rel=1e-12)


def test_given_folds_are_judged_by_the_others():
  distances, is_same = pairs(5)
  fold = np.arange(120) // 40 * 10 + 7  # any integers
  got = verification(distances, is_same, fold=fold)
  accuracies = []
  for k in (7, 17, 27):
    threshold = oracles.best_threshold(distances[fold != k], is_same[fold != k])
    mine = fold == k
    accuracies.append(np.mean((distances[mine] <= threshold) == is_same[mine]))
  assert got["accuracy"] == pytest.approx(np.mean(accuracies))
  stderr = np.std(accuracies, ddof=1) / 3**0.5
  assert got["accuracy_stderr"] == pytest.approx(stderr)
  # A fold that holds all same pairs leaves none for its threshold.
  alone = verification(distances, is_same, fold=is_same.astype(int))
  assert np.isnan(alone["accuracy"])
  assert not np.isnan(alone["auc"])


@pytest.mark.parametrize(
  ("error", "match", "arguments"),
  [
    (TypeError, "fold to be integer", {"fold": np.zeros(4)}),
    (ValueError, "fold of shape", {"fold": np.zeros(3, int)}),
    (ValueError, "at least 2 folds, got 1", {"fold": np.zeros(4, int)}),
    (ValueError, "expected resamples", {"resamples": -1}),
  ],
)
def test_errors(error, match, arguments):
  with pytest.raises(error, match=match):
    verification(np.arange(4.0), np.arange(4) < 2, **arguments)


def test_the_interval_of_tar_is_that_of_drawing_pairs():
  rng = np.random.default_rng(0)
  is_same = np.arange(1200) < 200
  distances = rng.normal(size=1200) - 2 * is_same
  got = verification(distances, is_same, far=(0.01,), resamples=4000)
  rates = []
  for _ in range(600):
    drawn = np.concatenate(
      [rng.integers(0, 200, 200), rng.integers(200, 1200, 1000)]
    )
    tar = oracles_tar(distances[drawn], 200, allowed=10)
    rates.append(tar)
  low, high = np.quantile(rates, [0.025, 0.975])
  assert got["tar@far=1e-02_low"] == pytest.approx(low, abs=0.02)
  assert got["tar@far=1e-02_high"] == pytest.approx(high, abs=0.02)
  low, high = got["accuracy_low"], got["accuracy_high"]
  assert low < got["accuracy"] < high
  share = got["accuracy"]
  width = 2 * 1.96 * (share * (1 - share) / 1200) ** 0.5
  assert high - low == pytest.approx(width, rel=0.15)


def oracles_tar(distances, same, *, allowed):
  bound = np.sort(distances[same:])[allowed]
  return np.mean(distances[:same] < bound)


def test_no_interval_without_resamples_or_measure():
  distances, is_same = pairs(0)
  got = verification(distances, is_same, far=(0.1, 1e-4), resamples=0)
  for name in ("accuracy", "tar@far=1e-01", "tar@far=1e-04"):
    assert np.isnan([got[f"{name}_low"], got[f"{name}_high"]]).all()
  got = verification(distances, is_same, far=(1e-4,))
  assert np.isnan(got["tar@far=1e-04_low"])


@pytest.mark.parametrize("classes", [2, 12, 150])
def test_blocks_and_buffers_count_every_pair(monkeypatch, classes):
  monkeypatch.setattr(blocks, "TILE", 64)
  monkeypatch.setattr(all_pairs, "SORTED", 1000)
  rng = np.random.default_rng(classes)
  points = rng.integers(0, 5, (200, 3)).astype(np.float32)
  labels = rng.integers(0, classes, 200)
  far = (0.3, 1e-1, 1e-2, 1e-3, 1e-4)
  got = pair_verification(points, labels, far=far)
  i, j = np.triu_indices(200, 1)
  distances = ((points[i] - points[j]) ** 2).sum(1)
  want = verification(distances, labels[i] == labels[j], far=far)
  rates = [f"tar@far={r}" for r in ("3e-01", "1e-01", "1e-02", "1e-03")]
  for name in ("auc", "eer", *rates, "same_pairs", "different_pairs"):
    assert got[name] == pytest.approx(want[name], rel=1e-12), name
  if classes > 2:
    assert got["tar@far=1e-01_low"] <= got["tar@far=1e-01"]
    assert got["tar@far=1e-01"] <= got["tar@far=1e-01_high"]


def test_an_interval_over_identities_is_wider_than_over_pairs():
  rng = np.random.default_rng(0)
  # Every second identity lies close together, the others don't.
  spread = np.repeat(np.where(np.arange(20) % 2, 0.1, 3.0), 10)
  centres = np.repeat(rng.normal(size=(20, 4)), 10, axis=0)
  points = centres + spread[:, None] * rng.normal(size=(200, 4))
  labels = np.arange(200) // 10
  got = pair_verification(points, labels, far=(0.1,))
  width = got["tar@far=1e-01_high"] - got["tar@far=1e-01_low"]
  share = got["tar@far=1e-01"]
  of_identities = 2 * 1.96 * (0.25 / 20) ** 0.5
  of_pairs = 2 * 1.96 * (share * (1 - share) / got["same_pairs"]) ** 0.5
  assert of_pairs * 2 < width < of_identities * 1.1


@pytest.mark.parametrize(("total", "count"), [(10, 0), (10, 10), (50, 3)])
def test_drawn_numbers_are_distinct(total, count):
  drawn = all_pairs._draw(np.random.default_rng(0), total, count)
  assert len(drawn) == count
  assert (np.diff(drawn) > 0).all()
  assert ((drawn >= 0) & (drawn < total)).all()


def test_all_numbers_are_drawn_as_often():
  rng = np.random.default_rng(0)
  for count in (2, 8):
    often = np.zeros(10)
    for _ in range(2000):
      often[all_pairs._draw(rng, 10, count)] += 1
    expected = 2000 * count / 10
    assert (
      abs(often - expected) < 5 * (expected * (1 - count / 10)) ** 0.5
    ).all()
