from fractions import Fraction

import numpy as np
import pytest

from tests.metrics import oracles
from tripletjax.distances import DISTANCES
from tripletjax.metrics import METRICS, pair_verification, verification

FAR = (0.05, 0.29)
NAN_TOGETHER = ("accuracy", "accuracy_stderr", "threshold")


def pairs(seed, count=120, share=0.4):
  """Distances on a coarse grid: many ties within and across kinds."""
  rng = np.random.default_rng(seed)
  is_same = rng.random(count) < share
  distances = rng.integers(0, 12, count) + np.where(is_same, 0, 4)
  return distances.astype(np.float32), is_same


@pytest.mark.parametrize("seed", range(5))
def test_curve_equals_oracle(seed):
  distances, is_same = pairs(seed)
  got = verification(distances, is_same, far=FAR)
  data = distances.tolist(), is_same.tolist()
  assert got["auc"] == pytest.approx(oracles.auc(*data), rel=1e-12)
  assert got["eer"] == pytest.approx(oracles.eer(*data), rel=1e-9)
  for key, far in (("5e-02", Fraction(5, 100)), ("0.29", Fraction(29, 100))):
    want = oracles.tar_at_far(*data, far)
    assert got[f"tar@far={key}"] == pytest.approx(want, rel=1e-12)
  assert got["same_pairs"] == sum(is_same)
  assert got["different_pairs"] == sum(~is_same)


@pytest.mark.parametrize("seed", range(5))
def test_accuracy_equals_oracle_fold_by_fold(seed):
  distances, is_same = pairs(seed)
  got = verification(distances, is_same, folds=4, seed=seed)
  # The deal is the documented one: each kind in turn, evenly, permuted.
  rng = np.random.default_rng(seed)
  fold = np.zeros(len(is_same), int)
  for kind in (is_same, ~is_same):
    fold[kind] = rng.permutation(np.arange(sum(kind)) % 4)
  accuracies, thresholds = [], []
  for k in range(4):
    others = [i for i in range(len(fold)) if fold[i] != k]
    t = oracles.best_threshold(distances[others], is_same[others])
    mine = [i for i in range(len(fold)) if fold[i] == k]
    right = [(distances[i] <= t) == is_same[i] for i in mine]
    accuracies.append(sum(right) / len(mine))
    thresholds.append(t)
  mean = sum(accuracies) / 4
  spread = sum((a - mean) ** 2 for a in accuracies) / 3
  assert got["accuracy"] == pytest.approx(mean, rel=1e-12)
  assert got["accuracy_stderr"] == pytest.approx((spread / 4) ** 0.5)
  assert got["threshold"] == pytest.approx(sum(thresholds) / 4)


def test_by_hand():
  # Cuts: 1 -> TAR 1/4; 2 -> TAR 2/4 and FAR 1/4, together; 3 -> 3/4, 1/4;
  # 4 -> 3/4, 3/4; 5 -> 1, 1.
  distances = np.array([1, 2, 2, 3, 4, 4, 5, 5.0])
  is_same = np.array([1, 1, 0, 1, 0, 0, 1, 0], bool)
  got = verification(distances, is_same, folds=2, far=(0.25, 0.5, 0.2))
  assert got["tar@far=2e-01"] != got["tar@far=2e-01"]  # 4 pairs < 1 / 0.2
  assert got["tar@far=0.25"] == 3 / 4
  assert got["tar@far=5e-01"] == 3 / 4
  assert got["eer"] == 1 / 4
  # same 1, 2, 3, 5 against different 2, 4, 4, 5
  assert got["auc"] == (4 + 3.5 + 3 + 0.5) / 16


def test_far_is_counted_exactly():
  # 0.29 * 100 is 28.999999999999996 in floats; 29 of 100 must be allowed.
  distances = np.arange(101.0)
  is_same = np.zeros(101, bool)
  is_same[29] = True  # the 29 below it are different
  assert verification(distances, is_same, far=(0.29,))["tar@far=0.29"] == 1
  assert verification(distances, is_same, far=(0.28,))["tar@far=0.28"] == 0


def test_tied_at_the_smallest_distance_accepts_nothing():
  distances, is_same = np.zeros(200), np.arange(200) % 2 == 0
  got = verification(distances, is_same, far=(0.1,))
  assert (got["tar@far=1e-01"], got["auc"], got["eer"]) == (0, 0.5, 0.5)
  assert got["accuracy"] == 0.5


def test_tar_needs_enough_different_pairs():
  for different, measurable in ((999, False), (1000, True)):
    is_same = np.arange(different + 20) < 20
    got = verification(np.arange(different + 20.0), is_same)
    assert (got["tar@far=1e-03"] == 1) == measurable
    assert np.isnan(got["tar@far=1e-03"]) != measurable


def test_separable_pairs_get_a_threshold_in_the_gap():
  is_same = np.arange(40) < 20
  got = verification(np.where(is_same, 1.0, 3.0), is_same)
  assert (got["accuracy"], got["accuracy_stderr"]) == (1, 0)
  assert (got["threshold"], got["auc"], got["eer"]) == (2, 1, 0)
  # adjacent floats: halfway rounds, and must still reject the upper one
  low = 1.0
  high = np.nextafter(low, 2)
  got = verification(np.where(is_same, low, high), is_same)
  assert got["accuracy"] == 1


def test_reversed_and_infinite_distances():
  is_same = np.arange(40) < 20
  got = verification(np.where(is_same, np.inf, 1.0), is_same)
  assert (got["auc"], got["eer"], got["accuracy"]) == (0, 1, 0.5)
  got = verification(np.where(is_same, 1.0, np.inf), is_same)
  assert (got["auc"], got["accuracy"], got["threshold"]) == (1, 1, 1)


@pytest.mark.parametrize("kind", np.array([0, 1]))
def test_one_kind_only_is_nan(kind):
  got = verification(np.arange(50.0), np.full(50, bool(kind)))
  for name in (*NAN_TOGETHER, "auc", "eer", "tar@far=1e-03"):
    assert np.isnan(got[name]), name
  assert (got["same_pairs"], got["different_pairs"]) == (
    50 * kind, 50 * (1 - kind),
  )  # fmt: skip


def test_too_few_pairs_for_the_folds_is_nan_but_the_curve_stays():
  got = verification(np.arange(20.0), np.arange(20) < 9)
  assert np.isnan([got[name] for name in NAN_TOGETHER]).all()
  assert got["auc"] == 1


def test_nan_distances_score_nan():
  distances, is_same = pairs(0)
  distances[5] = np.nan
  got = verification(distances, is_same, far=FAR)
  for name in (*NAN_TOGETHER, "auc", "eer", "tar@far=5e-02"):
    assert np.isnan(got[name]), name


def test_pairs_of_a_set_equal_oracle():
  rng = np.random.default_rng(1)
  points = rng.integers(0, 4, (24, 3)).astype(np.float32)
  labels = rng.integers(0, 4, 24)
  got = pair_verification(points, labels, far=FAR, folds=3)
  matrix = oracles.squared_euclidean(points, points)
  both = [(i, j) for i in range(24) for j in range(i + 1, 24)]
  data = (
    [matrix[i, j] for i, j in both],
    [bool(labels[i] == labels[j]) for i, j in both],
  )
  assert got["same_pairs"] + got["different_pairs"] == 24 * 23 / 2
  assert got["auc"] == pytest.approx(oracles.auc(*data))
  assert got["eer"] == pytest.approx(oracles.eer(*data))
  want = oracles.tar_at_far(*data, Fraction(5, 100))
  assert got["tar@far=5e-02"] == pytest.approx(want)


def test_blocks_of_rows_are_joined():
  rng = np.random.default_rng(2)
  points = rng.integers(0, 9, (300, 2)).astype(np.float32)
  labels = rng.integers(0, 30, 300)
  got = pair_verification(points, labels)
  i, j = np.triu_indices(300, 1)
  distances = ((points[i] - points[j]) ** 2).sum(1)
  want = verification(distances, labels[i] == labels[j])
  for name in ("auc", "eer", "tar@far=1e-03", "same_pairs"):
    assert got[name] == want[name]


def test_accuracy_is_balanced():
  # 40 classes of 2 at one point: "always different" is right on 79 of 80
  # pairs, but on half of the balanced ones.
  points, labels = np.zeros((80, 2), np.float32), np.arange(80) // 2
  assert pair_verification(points, labels)["accuracy"] == 0.5
  # and the same where same pairs outnumber the different ones
  labels = np.arange(80) < 2
  got = pair_verification(points, labels.astype(int))
  assert got["accuracy"] == 0.5


def test_seed_draws_and_repeats():
  rng = np.random.default_rng(0)
  points = rng.normal(size=(60, 4)).astype(np.float32)
  labels = np.arange(60) // 6
  first, again, other = (
    pair_verification(points, labels, seed=seed) for seed in (0, 0, 1)
  )
  assert first == again
  assert first["threshold"] != other["threshold"]
  assert first["auc"] == other["auc"]


@pytest.mark.parametrize("labels", [np.zeros(30, int), np.arange(30)])
def test_a_set_of_one_kind_is_nan(labels):
  points = np.random.default_rng(0).normal(size=(30, 3)).astype(np.float32)
  got = pair_verification(points, labels)
  for name in (*NAN_TOGETHER, "auc", "eer", "tar@far=1e-03"):
    assert np.isnan(got[name]), name


def test_compiles_once():
  traced = []

  def distance(x, y):
    traced.append(x.shape)
    return DISTANCES["cosine"](x, y)

  rng = np.random.default_rng(0)
  for _ in range(2):
    points = rng.normal(size=(300, 4)).astype(np.float32)
    pair_verification(points, rng.integers(0, 9, 300), distance=distance)
  assert len(traced) == 1


@pytest.mark.parametrize("name", METRICS)
def test_registry_entries_share_a_signature(name):
  rng = np.random.default_rng(0)
  points = rng.normal(size=(30, 4)).astype(np.float32)
  labels = np.arange(30) // 3
  scores = METRICS[name](points, labels, distance="cosine")
  assert all(type(value) is float for value in scores.values())
  # an isometry changes nothing beyond rounding
  rotation, _ = np.linalg.qr(rng.normal(size=(4, 4)))
  moved = METRICS[name](
    (points @ rotation).astype(np.float32), labels, distance="cosine"
  )
  assert moved == pytest.approx(scores, rel=1e-4, nan_ok=True)


@pytest.mark.parametrize(
  ("error", "match", "arguments"),
  [
    (TypeError, "distances to be floating", {"distances": np.arange(4)}),
    (TypeError, "is_same to be bool", {"is_same": np.arange(4)}),
    (ValueError, "of one shape", {"is_same": np.ones(3, bool)}),
    (ValueError, "expected folds", {"folds": 1}),
    (ValueError, "expected far", {"far": (0.0,)}),
    (ValueError, "expected far", {"far": (1.0,)}),
  ],
)
def test_errors(error, match, arguments):
  base = {"distances": np.arange(4.0), "is_same": np.ones(4, bool)}
  with pytest.raises(error, match=match):
    verification(**base | arguments)


def test_errors_of_a_set():
  points = np.zeros((3, 2), np.float32)
  with pytest.raises(TypeError, match="embeddings to be floating"):
    pair_verification(points.astype(int), np.array([0, 1, 1]))
  with pytest.raises(ValueError, match="labels of shape"):
    pair_verification(points, np.array([0, 1]))
