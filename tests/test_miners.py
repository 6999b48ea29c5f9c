"""Laws over every entry of `MINERS`."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests import batches, reference
from tripletjax import MINERS, GapBand, pairwise_distance
from tripletjax.miners import list_triplets

NAMES = list(MINERS)
DETERMINISTIC = [name for name in NAMES if not name.startswith("random")]
MARGIN = np.float32(0.8)


@functools.cache
def jitted(name):
  """One compilation for all tests of a shape."""
  return jax.jit(functools.partial(call, name))


def call(name, distances, positive, negative, margin, keys):
  arrays = map(jnp.asarray, (distances, positive, negative))
  return MINERS[name](*arrays, margin=margin, key=keys)


def keys(seed, count):
  return jax.vmap(jax.random.fold_in, (None, 0))(
    jax.random.key(seed), jnp.arange(count)
  )


def mine(name, distances, positive, negative, margin=MARGIN, row_keys=None):
  """The selected triplets, sorted."""
  row_keys = keys(0, len(distances)) if row_keys is None else row_keys
  selection = jitted(name)(
    distances, positive, negative, jnp.float32(margin), row_keys
  )
  listed = list_triplets(distances, positive, negative, selection)
  return sorted(map(tuple, listed.tolist()))


def problem(seed, **keywords):
  """Distances and masks of a random batch, as NumPy."""
  embeddings, labels = batches.random_batch(seed, **keywords)
  return np.asarray(pairwise_distance(embeddings)), *reference.masks(labels)


def check_against_oracle(name, distances, positive, negative, margin=MARGIN):
  groups = reference.MINERS[name](distances, positive, negative, margin)
  selected = mine(name, distances, positive, negative, margin)
  assert len(selected) == len(set(selected)) == len(groups)
  for group in groups:
    assert len(set(group) & set(selected)) == 1


def test_every_miner_has_an_oracle():
  assert set(reference.MINERS) == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("seed", range(4))
def test_equals_the_slow_oracle(name, seed):
  check_against_oracle(name, *problem(seed))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("seed", range(3))
def test_equals_the_slow_oracle_where_distances_tie(name, seed):
  distances, positive, negative = problem(seed)
  check_against_oracle(
    name, np.round(2 * distances) / 2, positive, negative, np.float32(0.5)
  )


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("case", list(batches.awkward_batches()))
def test_equals_the_slow_oracle_on_awkward_batches(name, case):
  embeddings, labels = batches.awkward_batches()[case]
  distances = np.asarray(pairwise_distance(embeddings))
  check_against_oracle(name, distances, *reference.masks(labels))


@pytest.mark.parametrize("name", NAMES)
def test_a_row_depends_on_nothing_but_itself(name):
  distances, positive, negative = problem(5)
  whole = mine(name, distances, positive, negative)
  rows = slice(3, 7)
  part = mine(
    name,
    distances[rows],
    positive[rows],
    negative[rows],
    row_keys=keys(0, len(distances))[rows],
  )
  assert [(a + 3, p, n) for a, p, n in part] == [
    triplet for triplet in whole if 3 <= triplet[0] < 7
  ]


@pytest.mark.parametrize("name", NAMES)
def test_masking_equals_deletion(name):
  embeddings, labels = batches.random_batch(6)
  where = np.random.default_rng(0).random(len(labels)) < 0.75
  kept = np.flatnonzero(where)
  distances = np.asarray(pairwise_distance(embeddings))
  masked = mine(name, distances, *reference.masks(labels, where=where))
  deleted = mine(
    name,
    distances[np.ix_(kept, kept)],
    *reference.masks(labels[kept]),
    row_keys=keys(0, len(labels))[kept],
  )
  assert masked == [tuple(kept[list(triplet)]) for triplet in deleted]


@pytest.mark.parametrize("name", DETERMINISTIC)
def test_the_order_of_the_batch_changes_nothing(name):
  distances, positive, negative = problem(8)
  order = np.random.default_rng(0).permutation(len(distances))
  shuffled = mine(
    name, *(m[np.ix_(order, order)] for m in (distances, positive, negative))
  )
  assert mine(name, distances, positive, negative) == sorted(
    tuple(order[list(triplet)]) for triplet in shuffled
  )


@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_selected_where_nothing_is_valid(name):
  distances, positive, negative = problem(0)
  nothing = np.zeros_like(positive)
  assert mine(name, distances, nothing, negative) == []
  assert mine(name, distances, positive, nothing) == []


@pytest.mark.parametrize("name", NAMES)
def test_jit_equals_eager(name):
  arguments = (*problem(1), MARGIN, keys(0, 12))
  compiled, eager = jitted(name)(*arguments), call(name, *arguments)
  jax.tree.map(np.testing.assert_array_equal, compiled, eager)


@pytest.mark.parametrize("name", NAMES)
def test_vmap_equals_a_loop_over_batches_margins_and_keys(name):
  problems = [
    (*problem(seed), np.float32(0.3 * seed), keys(seed, 12))
    for seed in range(1, 4)
  ]
  stacked = jax.tree.map(lambda *x: jnp.stack(x), *problems)
  together = jax.vmap(functools.partial(call, name))(*stacked)
  for i, one in enumerate(problems):
    alone = jitted(name)(*one)
    jax.tree.map(
      lambda a, b, i=i: np.testing.assert_array_equal(
        np.broadcast_to(np.asarray(a), (3, *np.shape(b)))[i], b
      ),
      together,
      alone,
    )


@pytest.mark.parametrize("name", NAMES)
def test_one_compilation_serves_every_margin(name):
  compiled = jax.jit(functools.partial(call, name))
  for margin in (0.1, 0.2):
    compiled(*problem(0), jnp.float32(margin), keys(0, 12))
  assert compiled._cache_size() == 1


@pytest.mark.parametrize("name", NAMES)
def test_memory_is_a_matrix_and_not_a_cube(name):
  size = 256
  matrix = jax.ShapeDtypeStruct((size, size), jnp.float32)
  mask = jax.ShapeDtypeStruct((size, size), jnp.bool_)
  compiled = (
    jitted(name)
    .lower(matrix, mask, mask, jnp.float32(0.2), keys(0, size))
    .compile()
  )
  assert compiled.memory_analysis().temp_size_in_bytes <= 12 * 4 * size**2


def test_random_semi_hard_draws_every_candidate_equally_often():
  # One anchor, its positive at 1, negatives at 0.5 .. 1.9; within (1, 1.8)
  # there are four of them.
  distances = np.array([[0, 1, 0.5, 1.1, 1.3, 1.5, 1.7, 1.9]], np.float32)
  positive = np.arange(8)[None] == 1
  negative = np.arange(8)[None] > 1
  draws = jax.vmap(
    lambda key: call(
      "random_semi_hard", distances, positive, negative, MARGIN, key[None]
    ).negative[0, 1]
  )(jax.random.split(jax.random.key(0), 4000))
  counts = np.bincount(draws, minlength=8)
  assert counts[[0, 1, 2, 7]].tolist() == [0, 0, 0, 0]
  # Binomial(4000, 1/4): standard deviation 27.
  np.testing.assert_allclose(counts[3:7], 1000, atol=4 * 27)


def test_random_semi_hard_draws_again_for_each_positive():
  # 30 positives at one distance, 50 candidates: equal draws are 50^-29.
  distances = np.full((1, 81), 1.0, np.float32)
  distances[0, 31:] = 1.5
  column = np.arange(81)[None]
  positive, negative = (column > 0) & (column < 31), column >= 31
  selection = call(
    "random_semi_hard", distances, positive, negative, 1.0, keys(0, 1)
  )
  assert len(np.unique(selection.negative[0, 1:31])) > 10


def test_random_semi_hard_needs_a_key():
  with pytest.raises(ValueError, match="expected key"):
    MINERS["random_semi_hard"](*map(jnp.asarray, problem(0)), margin=0.2)


def test_gap_bounds_are_strict_below_and_closed_above():
  # Gaps of the only anchor: 0, 0.5 and 1.
  distances = np.array([[0, 1, 1, 1.5, 2]], np.float32)
  positive = np.arange(5)[None] == 1
  negative = np.arange(5)[None] > 1
  band = list_triplets(
    distances,
    positive,
    negative,
    GapBand(0, 0.5),
  )
  assert band.tolist() == [[0, 1, 3]]
