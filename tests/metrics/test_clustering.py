import numpy as np
import pytest

from tests.metrics import oracles
from tests.metrics.test_retrieval import integer_data
from tripletjax.metrics import agreement, blocks, clustering, space


@pytest.mark.parametrize("seed", range(3))
def test_agreement_equals_the_oracle(seed):
  rng = np.random.default_rng(seed)
  labels, clusters = rng.integers(0, 6, 50), rng.integers(0, 4, 50) * 7
  got = agreement(labels, clusters)
  precision, recall = oracles.bcubed(labels.tolist(), clusters.tolist())
  assert got["bcubed_precision"] == pytest.approx(precision)
  assert got["bcubed_recall"] == pytest.approx(recall)
  f = 2 * precision * recall / (precision + recall)
  assert got["bcubed_f"] == pytest.approx(f)
  precision, recall = oracles.pairwise(labels.tolist(), clusters.tolist())
  f = 2 * precision * recall / (precision + recall)
  assert got["pairwise_f"] == pytest.approx(f)
  want = oracles.mutual_information(labels.tolist(), clusters.tolist())
  assert got["nmi"] == pytest.approx(want)


def test_agreement_by_hand():
  # Clusters {0 0 1} and {1}: the pairs are 00, 01, 01 of which one is alike.
  got = agreement(np.array([0, 0, 1, 1]), np.array([5, 5, 5, 6]))
  assert got["bcubed_precision"] == pytest.approx(
    (2 / 3 + 2 / 3 + 1 / 3 + 1) / 4
  )
  assert got["bcubed_recall"] == pytest.approx((1 + 1 + 1 / 2 + 1 / 2) / 4)
  assert got["pairwise_precision"] == pytest.approx(1 / 3)
  assert got["pairwise_recall"] == pytest.approx(1 / 2)
  assert got["pairwise_f"] == pytest.approx(2 / 5)
  # Rand index 3/6, expected by chance: 2 alike x 3 together of 6 pairs.
  assert got["ari"] == pytest.approx(
    (1 - 2 * 3 / 6) / ((2 + 3) / 2 - 2 * 3 / 6)
  )
  alone = agreement(np.arange(3), np.arange(3))
  assert np.isnan(alone["pairwise_f"])
  assert alone["bcubed_f"] == 1
  apart = agreement(np.array([0, 0, 1, 1]), np.array([0, 1, 0, 1]))
  assert apart["pairwise_f"] == 0


def two_blobs():
  rng = np.random.default_rng(0)
  labels = np.arange(30) % 3
  centres = np.array([[0, 0], [9, 0], [0, 9.0]])
  return centres[labels] + rng.normal(size=(30, 2)) / 9, labels


@pytest.mark.parametrize(
  "keywords",
  [
    {},
    {"method": "agglomerative"},
    {"method": "agglomerative", "distance": "euclidean", "threshold": 3.0},
    {"method": "agglomerative", "linkage": "single", "clusters": 3},
    {"clusters": 3, "seed": 5},
  ],
)
def test_blobs_are_found(keywords):
  points, labels = two_blobs()
  got = clustering(points, labels, **keywords)
  assert got["clusters"] == 3
  for name in ("nmi", "ami", "ari", "bcubed_f", "pairwise_f"):
    assert got[name] == pytest.approx(1)


def test_a_threshold_is_in_the_unit_of_the_distance():
  points, labels = two_blobs()  # squared, the blobs are about 81 apart
  for threshold, count in ((30.0, 3), (200.0, 1)):
    got = clustering(
      points, labels, method="agglomerative", threshold=threshold
    )
    assert got["clusters"] == count


def test_k_means_of_an_angle_is_on_the_sphere():
  rng = np.random.default_rng(0)
  labels = np.arange(40) % 2
  length = np.exp(rng.normal(size=40) * 2)
  angle = labels * 1.2 + rng.normal(size=40) / 20
  points = np.stack([np.cos(angle), np.sin(angle)], axis=1) * length[:, None]
  assert clustering(points, labels, distance="cosine")["nmi"] == 1
  assert clustering(points, labels)["nmi"] < 0.9


def test_duplicates_leave_clusters_empty():
  points, labels = np.zeros((6, 2)), np.arange(6) // 2
  got = clustering(points, labels)
  assert got["clusters"] == 1
  assert got["bcubed_recall"] == 1


@pytest.mark.parametrize(
  ("match", "keywords"),
  [
    ("expected method to be one of kmeans, agg", {"method": "dbscan"}),
    ("expected threshold with method agg", {"threshold": 1.0}),
    ("expected clusters from 1 to 30", {"clusters": 31}),
  ],
)
def test_errors(match, keywords):
  with pytest.raises(ValueError, match=match):
    clustering(*two_blobs(), **keywords)


@pytest.mark.parametrize("tile", [64, 1024])
def test_space_equals_the_oracle(monkeypatch, tile):
  monkeypatch.setattr(blocks, "TILE", tile)
  rng = np.random.default_rng(0)
  points = rng.normal(size=(150, 4)).astype(np.float32)
  labels = rng.integers(0, 12, 150)
  got = space(points, labels, distance="euclidean", neighbours=5)
  unit = points / np.linalg.norm(points, axis=1, keepdims=True)
  i, j = np.triu_indices(150, 1)
  alike = labels[i] == labels[j]
  squared = ((unit[i] - unit[j]) ** 2).sum(1)
  assert got["alignment"] == pytest.approx(squared[alike].mean(), rel=1e-5)
  uniformity = np.log(np.exp(-2 * squared).mean())
  assert got["uniformity"] == pytest.approx(uniformity, rel=1e-5)
  distances = ((points[i] - points[j]) ** 2).sum(1) ** 0.5
  assert got["intra_distance"] == pytest.approx(distances[alike].mean())
  assert got["inter_distance"] == pytest.approx(distances[~alike].mean())
  errors = [1.0]
  for threshold in distances[alike]:
    rejected = np.mean(distances[alike] > threshold)
    errors.append(np.mean(distances[~alike] <= threshold) + rejected)
  assert got["overlap"] == pytest.approx(min(errors), abs=1e-6)
  matrix = oracles.squared_euclidean(points, points)
  want = oracles.hubness(matrix.tolist(), 5)
  assert got["hubness"] == pytest.approx(want, rel=1e-9)
  values = np.linalg.eigvalsh(points.astype(float).T @ points) ** 0.5
  share = values / values.sum()
  rank = np.exp(-(share * np.log(share)).sum())
  assert got["effective_rank"] == pytest.approx(rank)


def test_hubness_with_ties():
  points, labels = integer_data(0, 90, 4)
  matrix = ((points[:, None] - points[None]) ** 2).sum(-1)
  want = oracles.hubness(matrix.tolist(), 10)
  assert space(points, labels)["hubness"] == pytest.approx(want)


def test_a_collapsed_space():
  points, labels = np.ones((20, 3), np.float32), np.arange(20) // 2
  got = space(points, labels)
  assert got["alignment"] == got["uniformity"] == got["inter_distance"] == 0
  assert got["overlap"] == 1
  assert got["effective_rank"] == pytest.approx(1)


def test_space_that_cannot_be_measured_is_nan():
  points, _ = integer_data(0, 20, 4)
  one = space(points, np.zeros(20, int))
  assert np.isnan([one["inter_distance"], one["overlap"]]).all()
  assert not np.isnan(one["alignment"])
  lone = space(points, np.arange(20))
  assert np.isnan([lone["alignment"], lone["intra_distance"]]).all()
  assert np.isnan(list(space(points[:1], np.arange(1)).values())).all()
  with pytest.raises(ValueError, match="neighbours of at least 1, got 0"):
    space(points, np.arange(20), neighbours=0)
