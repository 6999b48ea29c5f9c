import jax.numpy as jnp
import numpy as np
import pytest

from tests.metrics import oracles
from tripletjax.distances import DISTANCES
from tripletjax.metrics import retrieval

KS = (1, 2, 5)


def integer_data(seed, count, classes, dim=3):
  """Integer points: distances are exact, ties and duplicates are many."""
  rng = np.random.default_rng(seed)
  points = rng.integers(0, 3, (count, dim)).astype(np.float32)
  # unbalanced, and the last label has one member only
  labels = np.minimum(rng.geometric(0.4, count), classes).astype(np.int32)
  labels[0] = 99
  return points, labels


def ids(*labels):
  return np.array(labels, np.int32)


def close(got, want):
  assert list(got) == list(want)
  for name in want:
    np.testing.assert_allclose(got[name], want[name], rtol=2e-6, err_msg=name)


@pytest.mark.parametrize("seed", range(4))
def test_equals_oracle_within_a_set(seed):
  points, labels = integer_data(seed, 60, 5)
  want = oracles.retrieval(
    oracles.squared_euclidean(points, points),
    labels,
    labels,
    ks=KS,
    itself=True,
  )
  assert want["queries_without_match"] >= 1
  close(retrieval(points, labels, ks=KS), want)


@pytest.mark.parametrize("seed", range(3))
def test_equals_oracle_on_a_gallery(seed):
  points, labels = integer_data(seed, 70, 5)
  query, gallery = (points[:25], labels[:25]), (points[25:], labels[25:])
  want = oracles.retrieval(
    oracles.squared_euclidean(query[0], gallery[0]),
    query[1],
    gallery[1],
    ks=KS,
    itself=False,
  )
  close(retrieval(*query, *gallery, ks=KS), want)


def test_blocks_are_joined(monkeypatch):
  points, labels = integer_data(5, 600, 40)
  distances = ((points[:, None] - points[None]) ** 2).sum(-1)
  want = oracles.retrieval(distances, labels, labels, ks=KS, itself=True)
  close(retrieval(points, labels, ks=KS), want)


def test_by_hand():
  # From 0: neighbours 1 (same), 3, 6, 10; R = 2, the other match is last.
  points = jnp.array([[0.0], [1.0], [3.0], [6.0], [10.0]])
  query, query_label = points[:1], jnp.array([7])
  got = retrieval(
    query, query_label, points[1:], jnp.array([7, 1, 2, 7]), ks=(1, 4)
  )
  # ranks 1 and 4: precisions 1 and 2/4; before the second one it was 1/3
  assert got == pytest.approx({
    "recall@1": 1, "recall@4": 1, "precision@1": 1,
    "r_precision": 1 / 2, "map@r": 1 / 2, "map": (1 + 2 / 4) / 2,
    "map_trapezoid": ((1 + 1) / 2 + (2 / 4 + 1 / 3) / 2) / 2, "mrr": 1,
    "ndcg": (1 + 1 / np.log2(5)) / (1 + 1 / np.log2(3)),
    "queries": 1, "queries_without_match": 0,
  })  # fmt: skip
  got = retrieval(
    query, query_label, points[1:], jnp.array([1, 7, 7, 2]), ks=(1, 2)
  )
  # ranks 2 and 3 match: P(1) = 0, P(2) = 1/2, so MAP@R = (0 + 1/2) / 2
  assert (got["recall@1"], got["recall@2"]) == (0, 1)
  assert (got["r_precision"], got["map@r"]) == (1 / 2, 1 / 4)


def test_a_collapsed_embedding_ranks_by_index():
  labels = np.array([0, 1, 0, 1])
  got = retrieval(np.zeros((4, 2), np.float32), labels, ks=(1, 2))
  # nearest others by index: 0 -> 1, 2; 1 -> 0, 2; 2 -> 0; 3 -> 0, 1
  assert (got["recall@1"], got["recall@2"]) == (1 / 4, 3 / 4)


def test_minus_zero_ties_with_zero():
  def signed(x, y):
    zeros = jnp.zeros((x.shape[0], y.shape[0]))
    return jnp.where(jnp.arange(y.shape[0])[None] % 2 == 1, -zeros, zeros)

  got = retrieval(
    np.zeros((1, 1), np.float32),
    ids(1),
    np.zeros((3, 1), np.float32),
    ids(1, 0, 0),
    distance=signed,
    ks=(1,),
  )
  assert got["recall@1"] == 1


def test_a_duplicate_is_found_but_not_itself():
  points = np.array([[1.0], [1.0], [5.0]], np.float32)
  got = retrieval(points, ids(3, 3, 4), ks=(1,))
  assert (got["recall@1"], got["queries_without_match"]) == (1, 1)


def test_infinite_distances_never_ranks_itself():
  points = np.array([[0.0], [1.0], [2.0]], np.float32)
  got = retrieval(
    points, ids(1, 2, 1), ks=(2,),
    distance=lambda x, y: jnp.full((x.shape[0], y.shape[0]), jnp.inf),
  )  # fmt: skip
  assert got["recall@2"] == 1


def test_one_class_is_perfect_and_no_match_is_nan():
  points, _ = integer_data(0, 12, 5)
  one = retrieval(points, np.zeros(12, np.int64), ks=(1,))
  assert (one["recall@1"], one["r_precision"], one["map@r"]) == (1, 1, 1)
  none = retrieval(points, np.arange(12), ks=(1,))
  assert np.isnan([none[k] for k in ("recall@1", "r_precision", "map@r")]).all()
  assert none["queries_without_match"] == none["queries"] == 12
  empty = retrieval(points[:0], ids(), points, np.arange(12))
  assert empty["queries"] == 0
  assert np.isnan(empty["map@r"])


def test_nan_embeddings_score_nan():
  points, labels = integer_data(0, 12, 2)
  points[3] = np.nan
  got = retrieval(points, labels, ks=(1,))
  assert np.isnan(got["recall@1"])
  assert np.isnan(got["map@r"])


@pytest.mark.parametrize("name", DISTANCES)
def test_every_distance_and_bfloat16(name):
  rng = np.random.default_rng(0)
  points, labels = rng.normal(size=(40, 8)), rng.integers(0, 6, 40)
  points = jnp.asarray(points, jnp.bfloat16)
  want = oracles.retrieval(
    np.asarray(DISTANCES[name](points, points)),
    labels,
    labels,
    ks=KS,
    itself=True,
  )
  close(retrieval(points, labels, distance=name, ks=KS), want)


def test_labels_beyond_32_bits():
  labels = np.array([2**40, 2**41, 2**40, 2**41])
  points = np.array([[0.0], [4.0], [1.0], [6.0]], np.float32)
  assert retrieval(points, labels, ks=(1,))["recall@1"] == 1


def test_compiles_once():
  rng = np.random.default_rng(0)
  traced = []

  def distance(x, y):
    traced.append(x.shape)
    return DISTANCES["squared_euclidean"](x, y)

  for seed in range(2):
    points = rng.normal(size=(300, 4)).astype(np.float32)
    retrieval(points, rng.integers(0, 90 + seed, 300), distance=distance)
  assert len(traced) == 1


@pytest.mark.parametrize(
  ("error", "match", "arguments"),
  [
    (ValueError, "expected ks from 1 to 2", {"ks": (1, 3)}),
    (ValueError, "expected ks from 1 to 2", {"ks": (0,)}),
    (TypeError, "query to be floating", {"query": np.zeros((3, 2), int)}),
    (ValueError, "query of shape", {"query": np.zeros(3, np.float32)}),
    (TypeError, "query_labels to be integer", {"query_labels": np.zeros(3)}),
    (ValueError, "query_labels of shape", {"query_labels": ids(0, 1)}),
    (ValueError, "together", {"gallery": np.zeros((3, 2), np.float32)}),
    (ValueError, "expected distance", {"distance": "hamming"}),
    (
      ValueError,
      "gallery with 2 dimensions",
      {"gallery": np.zeros((3, 1), np.float32), "gallery_labels": ids(0, 1, 1)},
    ),
  ],
)  # fmt: skip
def test_errors(error, match, arguments):
  base = {
    "query": np.zeros((3, 2), np.float32), "query_labels": ids(0, 1, 1),
    "ks": (1,),
  }  # fmt: skip
  with pytest.raises(error, match=match):
    retrieval(**base | arguments)
