"""Laws over every entry of `DISTANCES`."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

import tripletjax
from tests import reference
from tests.emitters import NEW_EMITTERS
from tripletjax.distances import (
  DISTANCES,
  normalized,
  resolve_distance,
)
from tripletjax.losses.own import own_distances
from tripletjax.parts import in_parts, is_symmetric

NAMES = list(tripletjax.DISTANCES)


def points(seed, count, dimension=5):
  rng = np.random.default_rng(seed)
  return rng.normal(size=(count, dimension)).astype(np.float32)


def test_every_distance_has_an_oracle():
  assert set(reference.DISTANCES) == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_equals_the_slow_oracle_on_a_rectangle(name):
  x, y = points(0, 7), points(1, 4)
  expected = reference.DISTANCES[name](x, y)
  actual = tripletjax.pairwise_distance(x, y, distance=name)
  assert actual.shape == (7, 4)
  np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_one_argument_is_x_against_itself(name):
  x = points(2, 6)
  np.testing.assert_array_equal(
    tripletjax.pairwise_distance(x, distance=name),
    tripletjax.pairwise_distance(x, x, distance=name),
  )


@pytest.mark.parametrize("name", NAMES)
def test_bfloat16_is_computed_in_float32(name):
  x = jnp.asarray(points(3, 6)).astype(jnp.bfloat16)
  actual = tripletjax.pairwise_distance(x, distance=name)
  assert actual.dtype == jnp.float32
  expected = reference.DISTANCES[name](*[np.asarray(x, np.float64)] * 2)
  np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_gradient_equals_finite_differences(name):
  x, y = points(4, 4, 3), points(5, 3, 3)
  check_grads(
    jax.jit(lambda x, y: tripletjax.pairwise_distance(x, y, distance=name)),
    (jnp.asarray(x), jnp.asarray(y)),
    order=1,
    modes=["rev"],
    eps=1e-2,
    atol=2e-2,
    rtol=2e-2,
  )


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("case", ["duplicates", "zeros"])
def test_gradient_is_finite_where_points_coincide(name, case):
  x = jnp.zeros((4, 3)) if case == "zeros" else jnp.ones((4, 3))
  gradient = jax.grad(
    lambda x: tripletjax.pairwise_distance(x, distance=name).sum()
  )(x)
  # -x·y has no minimum at equality: d/dx_i of its sum is -2 Σ x.
  expected = -8 * x if name == "dot" else jnp.zeros((4, 3))
  np.testing.assert_allclose(gradient, expected, atol=1e-5)


@pytest.mark.parametrize("name", [*NAMES, "on the sphere"])
def test_distances_of_a_batch_to_itself_have_the_same_derivatives(name):
  x, by = jnp.asarray(points(5, 6)), points(6, 6, 6)
  # A point's distance to itself is a rounding error, and its root no number to
  # compare the slopes of; no loss takes it.
  np.fill_diagonal(by, 0)
  distance_fn = (
    normalized("euclidean")
    if name == "on the sphere"
    else resolve_distance(name, precision="highest")
  )

  def rectangular(x):
    return jnp.sum(by * distance_fn(x, x))

  def own(x):
    return jnp.sum(by * own_distances(distance_fn, x))

  assert own(x) == rectangular(x)
  expected = jax.grad(rectangular)(x)
  np.testing.assert_allclose(jax.grad(own)(x), expected, rtol=1e-4, atol=1e-5)
  if name == "manhattan":  # which has a derivative backwards only
    return
  forward = jax.jacfwd(own)(x)
  np.testing.assert_allclose(forward, expected, rtol=1e-4, atol=1e-5)


def test_those_known_to_be_symmetric():
  def lopsided(x, y, *, function):
    return function(x + 2 * y, y)

  of_it = functools.partial(lopsided, function=DISTANCES["euclidean"])
  assert is_symmetric(normalized("cosine"))
  assert is_symmetric(normalized(normalized("euclidean")))
  assert is_symmetric(resolve_distance("dot", precision="highest"))
  assert not is_symmetric(of_it)
  assert not is_symmetric(normalized(of_it))


@pytest.mark.parametrize("how", ["named", "precision", "sphere"])
@pytest.mark.parametrize("name", NAMES)
def test_a_distance_is_what_its_parts_make(name, how):
  distance_fn = {
    "named": resolve_distance(name),
    "precision": resolve_distance(name, precision="highest"),
    "sphere": normalized(normalized(name)),
  }[how]
  x, y = jnp.asarray(points(0, 4)), jnp.asarray(points(1, 3))
  parts = in_parts(distance_fn)
  prepared = parts.prepare(x), parts.prepare(y)
  np.testing.assert_array_equal(parts.between(*prepared), distance_fn(x, y))
  if name != "manhattan":  # the others have something to prepare
    assert parts.between is not distance_fn
  one, _ = jax.tree.map(lambda of_all: of_all[:1], prepared)
  first = parts.between(one, prepared[1])
  np.testing.assert_allclose(first, distance_fn(x, y)[:1], rtol=1e-6)


def test_the_precision_of_a_distance_is_that_of_its_parts():
  parts = in_parts(resolve_distance("cosine", precision="default"))
  x = parts.prepare(jnp.asarray(points(0, 4)))
  text = str(jax.make_jaxpr(parts.between)(x, x))
  assert "Precision.DEFAULT" in text
  assert "HIGHEST" not in text


def test_of_a_function_of_one_s_own_all_belongs_to_the_pairs():
  def lopsided(x, y):
    return x + 2 * y.T

  parts = in_parts(lopsided)
  x = points(0, 4)
  assert parts.prepare(x) is x
  assert parts.between is lopsided


def test_a_function_of_one_s_own_needn_t_be_symmetric():
  def lopsided(x, y):
    return x + 2 * y.T

  def own(x):
    return own_distances(lopsided, x)[0, 1]

  x = jnp.ones((2, 1))
  np.testing.assert_array_equal(jax.grad(own)(x), [[1.0], [2.0]])


def test_manhattan_holds_no_cube():
  x = jax.ShapeDtypeStruct((64, 128), jnp.float32)
  gradient = jax.grad(
    lambda x: tripletjax.pairwise_distance(x, distance="manhattan").sum()
  )
  compiled = jax.jit(gradient).lower(x).compile(NEW_EMITTERS)
  # The cube [64, 64, 128] is 2 MiB.
  assert compiled.memory_analysis().temp_size_in_bytes < 64 * 64 * 128


def test_points_closer_than_rounding_are_still_pushed_apart():
  # |x - y|² = 1e-12 is far below float32's resolution at |x|² = 1.
  x = jnp.array([[1.0, 0.0], [1.0, 1e-6]])
  gradient = jax.grad(lambda x: tripletjax.pairwise_distance(x)[0, 1])(x)
  np.testing.assert_allclose(gradient[1, 1], 2e-6, rtol=1e-3)
  assert (tripletjax.pairwise_distance(x) >= 0).all()


def test_a_function_may_be_given():
  def chessboard(x, y):
    return jnp.abs(x[:, None] - y[None, :]).max(axis=-1)

  actual = tripletjax.pairwise_distance(
    np.array([[1.0, 2.0]], np.float32),
    np.array([[4.0, 0.0]], np.float32),
    distance=chessboard,
  )
  assert actual.tolist() == [[3.0]]


@pytest.mark.parametrize(
  ("arguments", "error", "message"),
  [
    ((np.ones((2, 2), int),), TypeError, "expected x to be floating"),
    ((np.ones(3, np.float32),), ValueError, "expected x of shape"),
    (
      (np.ones((2, 2), np.float32), np.ones((2, 3), np.float32)),
      ValueError,
      "expected y with 2 dimensions",
    ),
  ],
)
def test_errors(arguments, error, message):
  with pytest.raises(error, match=message):
    tripletjax.pairwise_distance(*arguments)


def test_an_unknown_name_lists_the_valid_ones():
  with pytest.raises(
    ValueError, match="squared_euclidean, euclidean, cosine, dot"
  ):
    tripletjax.pairwise_distance(points(0, 2), distance="hamming")
