"""Laws over every entry of `MINERS`."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests import batches, reference
from tests.selections import cube
from tripletjax import MINERS, GapBand, pair_masks, pairwise_distance
from tripletjax.miners import (
  batch_hard,
  call_miner,
  capped,
  curriculum,
  list_triplets,
  one_triplet,
  semi_hard,
)
from tripletjax.types import Embeddings

NAMES = list(MINERS)
DETERMINISTIC = [name for name in NAMES if name not in reference.DRAWN]
MARGIN = np.float32(0.8)


@functools.cache
def jitted(name):
  """One compilation for all tests of a shape."""
  return jax.jit(functools.partial(call, name))


def call(name, points, distances, positive, negative, margin, keys):
  """The selected triplets as a cube; rows may be some of the points."""
  arrays = tuple(map(jnp.asarray, (distances, positive, negative)))
  points = jnp.asarray(points)
  selection = call_miner(
    MINERS[name],
    *arrays,
    margin=margin,
    key=keys,
    embeddings=Embeddings(points[: len(arrays[0])], points),
  )
  return cube(selection, *arrays)


def keys(seed, count):
  return jax.vmap(jax.random.fold_in, (None, 0))(
    jax.random.key(seed), jnp.arange(count)
  )


def mine(name, points, distances, positive, negative, margin=MARGIN, **more):
  """The selected triplets, sorted; each at most once."""
  row_keys = more.get("row_keys")
  counts = jitted(name)(
    points,
    distances,
    positive,
    negative,
    jnp.float32(margin),
    keys(0, len(distances)) if row_keys is None else row_keys,
  )
  assert counts.max(initial=0) <= 1
  return sorted(map(tuple, np.argwhere(np.asarray(counts)).tolist()))


def problem(seed, **keywords):
  """Points, distances and masks of a random batch, as NumPy."""
  points, labels = batches.random_batch(seed, **keywords)
  distances = np.asarray(pairwise_distance(points))
  return points, distances, *reference.masks(labels)


def check_against_oracle(name, points, distances, positive, negative):
  groups = reference.MINERS[name](
    distances, positive, negative, MARGIN, points=points
  )
  selected = mine(name, points, distances, positive, negative)
  for group in groups:
    allowed = {triplet for triplet in group if triplet is not None}
    taken = len(allowed & set(selected))
    assert taken == 1 or (taken == 0 and None in group)
  assert set(selected) <= {triplet for group in groups for triplet in group}


def test_every_miner_has_an_oracle():
  assert set(reference.MINERS) == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("seed", range(4))
def test_equals_the_slow_oracle(name, seed):
  check_against_oracle(name, *problem(seed))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("seed", range(3))
def test_equals_the_slow_oracle_where_distances_tie(name, seed):
  points, distances, positive, negative = problem(seed)
  check_against_oracle(
    name, points, np.round(2.5 * distances) / 2.5, positive, negative
  )


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("case", list(batches.awkward_batches()))
def test_equals_the_slow_oracle_on_awkward_batches(name, case):
  points, labels = batches.awkward_batches()[case]
  distances = np.asarray(pairwise_distance(points))
  check_against_oracle(name, points, distances, *reference.masks(labels))


@pytest.mark.parametrize("name", NAMES)
def test_a_row_depends_on_nothing_but_itself(name):
  points, *matrices = problem(5)
  whole = mine(name, points, *matrices)
  part = mine(
    name,
    points,
    *(matrix[:4] for matrix in matrices),
    row_keys=keys(0, 12)[:4],
  )
  assert part == [triplet for triplet in whole if triplet[0] < 4]


@pytest.mark.parametrize("name", NAMES)
def test_masking_equals_deletion(name):
  points, labels = batches.random_batch(6)
  where = np.random.default_rng(0).random(len(labels)) < 0.75
  kept = np.flatnonzero(where)
  distances = np.asarray(pairwise_distance(points))
  masked = mine(name, points, distances, *reference.masks(labels, where=where))
  deleted = mine(
    name,
    points[kept],
    distances[np.ix_(kept, kept)],
    *reference.masks(labels[kept]),
    row_keys=keys(0, len(labels))[kept],
  )
  assert masked == [tuple(kept[list(triplet)]) for triplet in deleted]


@pytest.mark.parametrize("name", DETERMINISTIC)
def test_the_order_of_the_batch_changes_nothing(name):
  points, *matrices = problem(8)
  order = np.random.default_rng(0).permutation(len(points))
  shuffled = mine(
    name, points[order], *(m[np.ix_(order, order)] for m in matrices)
  )
  assert mine(name, points, *matrices) == sorted(
    tuple(order[list(triplet)]) for triplet in shuffled
  )


@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_selected_where_nothing_is_valid(name):
  points, distances, positive, negative = problem(0)
  nothing = np.zeros_like(positive)
  assert mine(name, points, distances, nothing, negative) == []
  assert mine(name, points, distances, positive, nothing) == []


@pytest.mark.parametrize("name", NAMES)
def test_jit_equals_eager(name):
  arguments = (*problem(1), MARGIN, keys(0, 12))
  np.testing.assert_array_equal(
    jitted(name)(*arguments), call(name, *arguments)
  )


@pytest.mark.parametrize("name", NAMES)
def test_vmap_equals_a_loop_over_batches_margins_and_keys(name):
  problems = [
    (*problem(seed), np.float32(0.3 * seed), keys(seed, 12))
    for seed in range(1, 4)
  ]
  stacked = jax.tree.map(lambda *x: jnp.stack(x), *problems)
  together = jax.jit(jax.vmap(functools.partial(call, name)))(*stacked)
  for one, alone in zip(problems, together, strict=True):
    np.testing.assert_array_equal(alone, jitted(name)(*one))


@pytest.mark.parametrize("name", NAMES)
def test_one_compilation_serves_every_margin(name):
  compiled = jitted(name)
  compiled(*problem(0), jnp.float32(0.1), keys(0, 12))
  size = compiled._cache_size()
  compiled(*problem(0), jnp.float32(0.2), keys(0, 12))
  assert compiled._cache_size() == size


@pytest.mark.parametrize("name", NAMES)
def test_a_listing_is_what_is_selected(name):
  points, *matrices = problem(2)
  matrices = tuple(map(jnp.asarray, matrices))
  points = jnp.asarray(points)
  selection = call_miner(
    MINERS[name],
    *matrices,
    margin=MARGIN,
    key=keys(0, 12),
    embeddings=Embeddings(points, points),
  )
  listed = sorted(map(tuple, list_triplets(*matrices, selection).tolist()))
  assert listed == mine(name, points, *matrices)


def draws(name, distances, positive, negative, count, margin=MARGIN):
  """The negatives drawn for the positive in column 1 of a single row."""
  points = np.zeros((distances.shape[1], 3), np.float32)

  def one(key):
    counts = call(
      name, points, distances, positive, negative, margin, key[None]
    )
    return jnp.argmax(counts[0, 1])

  return jax.jit(jax.vmap(one))(jax.random.split(jax.random.key(0), count))


@pytest.mark.parametrize(
  ("name", "drawn"),
  # An anchor with its positive at 1: within (1, 1.8) there are four negatives,
  # violating the margin are five, and negatives are all six.
  [
    ("random_semi_hard", [3, 4, 5, 6]),
    ("random_violating", [2, 3, 4, 5, 6]),
    ("random", [2, 3, 4, 5, 6, 7]),
    ("hard_positive_random_negative", [2, 3, 4, 5, 6, 7]),
  ],
)
def test_every_candidate_is_drawn_equally_often(name, drawn):
  distances = np.array([[0, 1, 0.5, 1.1, 1.3, 1.5, 1.7, 1.9]], np.float32)
  column = np.arange(8)[None]
  found = draws(name, distances, column == 1, column > 1, 4000)
  counts = np.bincount(found, minlength=8)
  share = np.isin(np.arange(8), drawn) / len(drawn)
  # Four standard deviations of a binomial.
  limit = 4 * np.sqrt(4000 * share * (1 - share))
  assert (np.abs(counts - 4000 * share) <= limit).all()


def test_random_semi_hard_draws_again_for_each_positive():
  # 30 positives at one distance, 50 candidates: equal draws are 50^-29.
  distances = np.full((1, 81), 1.0, np.float32)
  distances[0, 31:] = 1.5
  column = np.arange(81)[None]
  positive, negative = (column > 0) & (column < 31), column >= 31
  selection = MINERS["random_semi_hard"](
    *map(jnp.asarray, (distances, positive, negative)),
    margin=1.0,
    key=keys(0, 1),
  )
  listed = list_triplets(distances, positive, negative, selection)
  assert len(listed) == 30
  assert len(np.unique(listed[:, 2])) > 10


def test_distance_weighted_draws_by_one_over_the_density():
  # D = 4: q(d) = d² sqrt(1 - d²/4); .3 counts as .5, 1.5 is not drawn.
  d = np.array([0.3, 0.6, 0.9, 1.2, 1.39])
  q = np.maximum(d, 0.5) ** 2 * np.sqrt(1 - np.maximum(d, 0.5) ** 2 / 4)
  share = (1 / q) / (1 / q).sum()
  distances = np.array([[0, 1, *d, 1.5]], np.float32)
  column = np.arange(8)[None]
  points = np.zeros((8, 4), np.float32)

  def one(key):
    counts = call(
      "distance_weighted",
      points,
      distances,
      column == 1,
      column > 1,
      MARGIN,
      key[None],
    )
    return jnp.argmax(counts[0, 1])

  found = jax.jit(jax.vmap(one))(jax.random.split(jax.random.key(0), 4000))
  counts = np.bincount(found, minlength=8)
  assert counts[[0, 1, 7]].tolist() == [0, 0, 0]
  limit = 4 * np.sqrt(4000 * share * (1 - share))
  assert (np.abs(counts[2:7] - 4000 * share) <= limit).all()


@pytest.mark.parametrize("name", sorted(reference.DRAWN))
def test_a_miner_that_draws_needs_a_key(name):
  points, *matrices = problem(0)
  points = jnp.asarray(points)
  with pytest.raises(ValueError, match="expected key"):
    call_miner(
      MINERS[name],
      *map(jnp.asarray, matrices),
      margin=0.2,
      key=None,
      embeddings=Embeddings(points, points),
    )


@pytest.mark.parametrize(
  ("missing", "expected"), [("drop", []), ("farthest", [3]), ("hardest", [2])]
)
def test_semi_hard_where_no_negative_is_beyond(missing, expected):
  # The positive at 3, negatives at 1 and 2.
  distances = jnp.array([[0.0, 3.0, 1.0, 2.0]])
  column = jnp.arange(4)[None]
  positive, negative = column == 1, column > 1
  selection = semi_hard(
    distances, positive, negative, margin=1.0, missing=missing
  )
  listed = list_triplets(distances, positive, negative, selection)
  assert listed[:, 2].tolist() == expected


def test_a_lonely_anchor_is_its_own_positive_if_asked():
  points, _ = batches.random_batch(0, count=4)
  distances = pairwise_distance(points)
  masks = pair_masks(np.array([0, 0, 1, 2]))
  alone = batch_hard(distances, *masks, margin=0.2)
  assert alone.where.tolist() == [True, True, False, False]
  own = batch_hard(distances, *masks, margin=0.2, lonely=True)
  assert own.where.all()
  assert own.positive.tolist() == [1, 0, 2, 3]


@pytest.mark.parametrize(
  ("call_it", "message"),
  [
    (lambda: one_triplet("hardest", "easy"), "positive to be one of easy"),
    (lambda: one_triplet("easy", "soft"), "negative to be one of easy"),
    (lambda: capped(MINERS["all"], 0), "per_anchor of 1 or more, got 0"),
    (lambda: curriculum([semi_hard, batch_hard], []), "1 rising boundaries"),
    (lambda: curriculum([semi_hard] * 3, [9, 9]), "2 rising boundaries"),
    (
      lambda: semi_hard(
        jnp.zeros((1, 1)),
        jnp.zeros((1, 1), bool),
        jnp.zeros((1, 1), bool),
        margin=1,
        missing="nearest",
      ),
      "drop, farthest or hardest",
    ),
  ],
)
def test_options_that_do_not_exist(call_it, message):
  with pytest.raises(ValueError, match=message):
    call_it()


def test_angles_need_embeddings():
  _, *matrices = problem(0)
  with pytest.raises(ValueError, match="expected embeddings"):
    MINERS["angular"](*map(jnp.asarray, matrices), margin=0.2)
  with pytest.raises(ValueError, match="expected dimension"):
    MINERS["distance_weighted"](
      *map(jnp.asarray, matrices), margin=0.2, key=keys(0, 12)
    )


@pytest.mark.parametrize("cap", [1, 3, 100])
@pytest.mark.parametrize(
  "name", ["all_semi_hard", "semi_hard", "n_hardest", "multi_similarity"]
)
def test_a_cap_takes_some_of_each_anchor_and_none_twice(name, cap):
  points, *matrices = problem(4)
  matrices = tuple(map(jnp.asarray, matrices))
  miner = capped(MINERS[name], cap)
  selection = miner(*matrices, margin=MARGIN, key=keys(1, 12))
  listed = list(map(tuple, list_triplets(*matrices, selection).tolist()))
  whole = mine(name, points, *matrices)
  assert len(set(listed)) == len(listed)
  assert set(listed) <= set(whole)
  for anchor in range(12):
    available = sum(a == anchor for a, _, _ in whole)
    assert sum(a == anchor for a, _, _ in listed) == min(available, cap)


@pytest.mark.parametrize("name", ["all_semi_hard", "hardest_negative"])
def test_a_cap_takes_every_triplet_equally_often(name):
  _, *matrices = problem(4, count=9, classes=2)
  matrices = tuple(map(jnp.asarray, matrices))
  miner = capped(MINERS[name], 2)

  @jax.jit
  @jax.vmap
  def one(key):
    row_keys = jax.vmap(jax.random.fold_in, (None, 0))(key, jnp.arange(9))
    return cube(miner(*matrices, margin=9.0, key=row_keys), *matrices)

  share = one(jax.random.split(jax.random.key(0), 2000)).mean(0)
  whole = cube(MINERS[name](*matrices, margin=9.0), *matrices)
  available = whole.sum((1, 2), keepdims=True)
  expected = np.where(whole, np.minimum(2 / np.maximum(available, 1), 1), 0)
  limit = 4 * np.sqrt(expected * (1 - expected) / 2000)
  assert (np.abs(share - expected) <= limit + 1e-6).all()


def test_a_curriculum_moves_from_one_miner_to_the_next_without_recompiling():
  points, *matrices = problem(3)
  matrices = tuple(map(jnp.asarray, matrices))
  schedule = curriculum(
    [MINERS["all_hard"], MINERS["semi_hard"], MINERS["batch_hard"]], [10, 20]
  )

  @jax.jit
  def at(step):
    return cube(schedule(step)(*matrices, margin=MARGIN), *matrices)

  for step, name in [
    (0, "all_hard"),
    (9, "all_hard"),
    (10, "semi_hard"),
    (19, "semi_hard"),
    (20, "batch_hard"),
    (999, "batch_hard"),
  ]:
    listed = sorted(map(tuple, np.argwhere(at(jnp.int32(step))).tolist()))
    assert listed == mine(name, points, *matrices)
  assert at._cache_size() == 1


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
