"""The loss of explicit triplets: arithmetic, oracle, edges, bad input."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests import batches, reference
from tripletjax import DISTANCES, triplet_loss

MARGIN = 0.8
_, LABELS = batches.random_batch(0)

# By hand, on a line, squared: d(A, P) = 1, d(A, N) = 4 and 0.25.
ANCHORS = np.array([[0.0], [0.0]], np.float32)
POSITIVES = np.array([[1.0], [1.0]], np.float32)
NEGATIVES = np.array([[2.0], [0.5]], np.float32)


@pytest.mark.parametrize(
  ("reduction", "expected"),
  # Margin 2: max(1 - 4 + 2, 0) = 0 and 1 - 0.25 + 2 = 2.75.
  [
    ("none", [0, 2.75]),
    ("sum", 2.75),
    ("mean", 1.375),
    ("mean_active", 2.75),
    ("per_pair", 1.375),
  ],
)
def test_explicit_triplets_by_hand(reduction, expected):
  actual = triplet_loss(
    ANCHORS, POSITIVES, NEGATIVES, margin=2, reduction=reduction
  )
  np.testing.assert_allclose(actual, expected)


@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("distance", DISTANCES)
def test_explicit_triplets_equal_the_oracle(distance, soft):
  points, _ = batches.random_batch(9)
  a, p, n = points[:4], points[4:8], points[8:]
  d = reference.DISTANCES[distance](points, points)
  triplets = [(i, i + 4, i + 8) for i in range(4)]
  values, _ = reference.loss_and_gradient(d, triplets, MARGIN, soft)
  actual = triplet_loss(
    a, p, n, margin=MARGIN, distance=distance, soft=soft, reduction="none"
  )
  np.testing.assert_allclose(actual, values, rtol=1e-5, atol=1e-6)


def test_an_explicit_triplet_swapped_by_hand():
  # d(P, N) = (1 - 2)² = 1 and (1 - 0.5)² = 0.25, where d(A, N) = 4 and 0.25:
  # 1 - 1 + 2 and 1 - 0.25 + 2.
  actual = triplet_loss(
    ANCHORS, POSITIVES, NEGATIVES, margin=2, swap=True, reduction="none"
  )
  np.testing.assert_allclose(actual, [2.0, 2.75])


def test_explicit_triplets_where_equals_deletion():
  nan = np.array([[0.0], [np.nan]], np.float32)
  actual = triplet_loss(
    nan, POSITIVES, NEGATIVES, margin=4, where=np.array([True, False])
  )
  assert actual == 1


def test_the_gradient_of_an_explicit_triplet_by_hand():
  # d/dA (A - P)² - (A - N)² = 2 (N - P) = 2 (0.5 - 1) for the active one.
  gradient = jax.grad(
    lambda a: triplet_loss(a, POSITIVES, NEGATIVES, margin=2, reduction="sum")
  )(jnp.asarray(ANCHORS))
  np.testing.assert_allclose(gradient, [[0.0], [-1.0]])


def test_an_explicit_triplet_of_one_point_has_gradient_zero():
  same = jnp.ones((1, 3))
  gradient = jax.grad(
    lambda a: triplet_loss(a, same, same, distance="euclidean")
  )(same)
  np.testing.assert_allclose(gradient, np.zeros((1, 3)), atol=1e-6)


@pytest.mark.parametrize(
  ("arguments", "keywords", "error", "message"),
  [
    ((ANCHORS, POSITIVES[:1], NEGATIVES), {}, ValueError, "positives of shape"),
    ((ANCHORS, POSITIVES, LABELS[:2, None]), {}, TypeError, "negatives to be"),
    (
      (ANCHORS, POSITIVES, NEGATIVES),
      {"where": np.ones(3, bool)},
      ValueError,
      r"where of shape \[2\]",
    ),
    (
      (ANCHORS, POSITIVES, NEGATIVES),
      {"reduction": "max"},
      ValueError,
      "expected reduction",
    ),
  ],
)
def test_bad_input_to_the_explicit_loss(arguments, keywords, error, message):
  with pytest.raises(error, match=message):
    triplet_loss(*arguments, **keywords)
