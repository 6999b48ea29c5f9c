"""Distances between images of several views, against a loop over them."""

import jax.numpy as jnp
import numpy as np
import pytest

from tripletjax.distances import pairwise_distance
from tripletjax.metrics import nearest_views, one_shot


def rows(seed, count=4, views=3, dimension=5):
  rng = np.random.default_rng(seed)
  return rng.normal(size=(count, 1 + views, dimension))


def flat(parts):
  return jnp.asarray(parts.reshape(len(parts), -1), jnp.float32)


def soft_least(distances, temperature):
  return -temperature * np.log(np.mean(np.exp(-distances / temperature)))


def oracle(x, y, temperature):
  """One pair after another, squared Euclidean, in float64."""
  found = np.empty((len(x), len(y)))
  for i, (x_mean, *x_views) in enumerate(x):
    for j, (y_mean, *y_views) in enumerate(y):
      asking = np.array([np.sum((v - y_mean) ** 2) for v in x_views])
      asked = np.array([np.sum((x_mean - v) ** 2) for v in y_views])
      both = soft_least(asking, temperature), soft_least(asked, temperature)
      found[i, j] = sum(both) / 2
  return found


@pytest.mark.parametrize("temperature", [0.5, 5.0])
def test_it_is_the_loop(temperature):
  x, y = rows(0), rows(1, count=6)
  between = nearest_views(views=3, temperature=temperature)
  found = between(flat(x), flat(y))
  np.testing.assert_allclose(found, oracle(x, y, temperature), rtol=1e-5)
  # Symmetric, as a distance of a METRIC has to be.
  np.testing.assert_allclose(between(flat(y), flat(x)), found.T, rtol=1e-5)


def test_cold_it_is_the_nearest_and_hot_the_mean():
  x, y = rows(2, count=1), rows(3, count=1)
  asking = np.sum((x[0, 1:] - y[0, 0]) ** 2, axis=1)
  asked = np.sum((y[0, 1:] - x[0, 0]) ** 2, axis=1)
  cold = nearest_views(views=3, temperature=1e-3)(flat(x), flat(y))
  np.testing.assert_allclose(
    cold, (asking.min() + asked.min()) / 2, atol=1e-3 * np.log(3) + 1e-5
  )
  hot = nearest_views(views=3, temperature=1e4)(flat(x), flat(y))
  np.testing.assert_allclose(hot, (asking.mean() + asked.mean()) / 2, rtol=1e-2)


def test_one_view_is_the_distance_itself():
  points = np.random.default_rng(4).normal(size=(5, 3))
  twice = np.stack([points, points], axis=1)
  between = nearest_views("manhattan", views=1, temperature=0.3)
  np.testing.assert_allclose(
    between(flat(twice), flat(twice)),
    pairwise_distance(jnp.asarray(points, jnp.float32), distance="manhattan"),
    rtol=1e-5,
    atol=1e-6,
  )


def test_nan_comes_through():
  x = rows(5)
  x[1, 2, 0] = np.nan
  found = nearest_views(views=3, temperature=0.1)(flat(x), flat(rows(6)))
  np.testing.assert_array_equal(np.isnan(found).all(axis=1), np.arange(4) == 1)


def test_a_moved_drawing_is_found_by_the_view_that_lies_as_it():
  # The first of two drawings is asked for; the mean of the question lies nearer
  # to the second, and its one view lies beyond that one, or beside the first.
  shown = np.array([[[0.0], [0.0]], [[1.4], [1.4]]])
  asked = np.array([[[1.0], [1.9]]])  # mean and one view
  moved = np.array([[[1.0], [0.1]]])
  labels, question = np.array([0, 1]), np.array([0])
  between = nearest_views(views=1, temperature=0.01)
  errors = [
    one_shot(flat(shown), labels, flat(x), question, distance=between)[
      "one_shot_error"
    ]
    for x in (asked, moved)
  ]
  assert errors == [1.0, 0.0]


@pytest.mark.parametrize(
  ("keywords", "message"),
  [
    ({"views": 0, "temperature": 1.0}, "expected views of at least 1, got 0"),
    ({"views": 2, "temperature": 0.0}, "expected a temperature above 0, got 0"),
    (
      {"views": 2, "temperature": float("nan")},
      "expected a temperature above 0, got nan",
    ),
    ({"distance": "near", "views": 2, "temperature": 1.0}, "squared_euclidean"),
  ],
)
def test_wrong_arguments(keywords, message):
  with pytest.raises(ValueError, match=message):
    nearest_views(**keywords)


def test_rows_that_do_not_divide():
  between = nearest_views(views=2, temperature=1.0)
  with pytest.raises(ValueError, match="rows of 3 parts of equal length"):
    between(jnp.zeros((2, 4)), jnp.zeros((2, 4)))
