"""What is nearest, and from which distance on two images are different."""

from fractions import Fraction

import numpy as np
import pytest

from tripletjax.distances import DISTANCES, pairwise_distance
from tripletjax.metrics import (
  nearest,
  neighbours,
  pair_verification,
  threshold_at,
)


def by_hand(query, gallery, k, distance):
  """Every distance on its own, sorted by (distance, index); NaN last."""
  found = []
  matrix = np.asarray(pairwise_distance(query, gallery, distance=distance))
  for row in matrix.tolist():
    order = sorted(range(len(row)), key=lambda i: (np.isnan(row[i]), row[i], i))
    found.append([(i, row[i]) for i in order[:k]])
  return found


@pytest.fixture
def small_tiles(monkeypatch):
  """Tiles of 64 columns, so that few entries are several tiles."""
  monkeypatch.setattr(neighbours, "_HELD", 4096)


def check(query, gallery, k, distance):
  index, values = nearest(query, gallery, k=k, distance=distance)
  assert index.shape == values.shape == (len(query), k)
  expected = by_hand(query, gallery, k, distance)
  assert index.tolist() == [[i for i, _ in row] for row in expected]
  np.testing.assert_array_equal(
    values, np.array([[d for _, d in row] for row in expected], np.float32)
  )


@pytest.mark.parametrize("distance", DISTANCES)
def test_it_is_brute_force_with_ties(small_tiles, distance):
  rng = np.random.default_rng(0)
  # Whole numbers: distances repeat, and products are exact.
  gallery = rng.integers(-2, 3, (150, 3)).astype(np.float32)
  query = np.concatenate([gallery[:5], rng.integers(-2, 3, (5, 3))])
  for k in (1, 7, 70, 150):
    check(query.astype(np.float32), gallery, k, distance)


def test_a_distance_that_is_no_number_is_farthest(small_tiles):
  gallery = np.arange(140, dtype=np.float32)[:, None]
  gallery[[0, 3, 70]] = np.nan
  check(np.float32([[2.0], [69.0]]), gallery, 140, "squared_euclidean")
  check(np.float32([[2.0], [69.0]]), gallery, 3, "squared_euclidean")


def test_the_first_tile_may_be_all_there_is():
  check(np.ones((1, 2), np.float32), np.eye(2, dtype=np.float32), 2, "dot")


def test_nothing_of_the_size_of_all_pairs_is_held(small_tiles):
  shapes = []

  def distance(x, y):
    shapes.append((x.shape, y.shape))
    return DISTANCES["euclidean"](x, y)

  nearest(
    np.zeros((3, 2), np.float32), np.ones((500, 2), np.float32), k=2,
    distance=distance,
  )  # fmt: skip
  assert set(shapes) == {((64, 2), (64, 2))}


@pytest.mark.parametrize("k", [0, 4])
def test_k_has_to_be_there(k):
  with pytest.raises(ValueError, match=f"expected k from 1 to 3 .* got {k}"):
    nearest(np.zeros((1, 2)), np.zeros((3, 2)), k=k)


def threshold_by_hand(embeddings, labels, distance, far):
  """Sorts all different pairs, and counts from the near end."""
  matrix = np.asarray(pairwise_distance(embeddings, distance=distance))
  same, different = [], []
  for i in range(len(labels)):
    for j in range(i + 1, len(labels)):
      (same if labels[i] == labels[j] else different).append(matrix[i, j])
  different.sort()
  most = int(Fraction(str(far)) * len(different))
  bound = different[most]
  accepted = [d for d in different if d < bound]
  return {
    "bound": bound,
    "far": len(accepted) / len(different),
    "tar": sum(d < bound for d in same) / len(same),
    "same_pairs": len(same),
    "different_pairs": len(different),
  }


@pytest.mark.parametrize("distance", ["squared_euclidean", "cosine", "dot"])
@pytest.mark.parametrize("whole", [True, False], ids=["ties", "reals"])
def test_the_threshold_is_that_of_sorted_pairs(distance, whole):
  rng = np.random.default_rng(1)
  points = rng.normal(size=(80, 4)).astype(np.float32)
  points = np.rint(2 * points) if whole else points
  labels = rng.integers(0, 12, 80)
  for far in (0.001, 0.01, 0.3, 0.999):
    found = threshold_at(points, labels, distance=distance, far=far)
    expected = threshold_by_hand(points, labels, distance, far)
    bound = expected.pop("bound")
    threshold = found.pop("threshold")
    # A product in a tile may round otherwise than one of the whole matrix.
    assert threshold == pytest.approx(bound, rel=1e-6, abs=1e-5)
    if whole and distance != "cosine":
      assert np.float32(threshold) == np.nextafter(bound, np.float32(-np.inf))
    assert found == pytest.approx(expected, abs=0)


def test_it_is_the_rate_of_verification():
  rng = np.random.default_rng(2)
  points = rng.normal(size=(70, 3)).astype(np.float32)
  labels = np.arange(70) // 5
  points += 2 * np.repeat(rng.normal(size=(14, 3)), 5, axis=0)
  for far in (0.01, 0.1):
    scores = pair_verification(
      points.astype(np.float32), labels, far=(far,), resamples=0
    )
    found = threshold_at(points.astype(np.float32), labels, far=far)
    key = next(key for key in scores if key.startswith("tar@far="))
    assert found["tar"] == scores[key]
    assert found["far"] <= far


def test_what_cannot_be_measured():
  points = np.arange(4, dtype=np.float32)[:, None]
  few = threshold_at(points, np.array([0, 0, 1, 1]), far=0.2)
  assert few["different_pairs"] == 4
  assert np.isnan([few["threshold"], few["far"], few["tar"]]).all()
  lone = threshold_at(points, np.arange(4), far=0.5)
  assert lone["far"] <= 0.5
  assert np.isnan(lone["tar"])
  points[1] = np.nan
  broken = threshold_at(points, np.array([0, 1, 1, 2]), far=0.5)
  assert np.isnan(broken["threshold"])
  for far in (0.0, 1.0, np.nan):
    with pytest.raises(ValueError, match="expected far in"):
      threshold_at(points, np.arange(4), far=far)


def test_duplicates_of_two_identities_leave_nothing_to_accept():
  points = np.zeros((6, 2), np.float32)
  found = threshold_at(points, np.arange(6) // 2, far=0.1)
  assert found["threshold"] < 0
  assert (found["far"], found["tar"]) == (0, 0)
