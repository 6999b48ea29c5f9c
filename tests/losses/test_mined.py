"""Laws of the mined triplet loss, over every miner, distance and reduction."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests import batches, reference
from tests.selections import cube
from tripletjax import (
  DISTANCES,
  MINERS,
  REDUCTIONS,
  mined_triplet_loss,
  pairwise_distance,
)
from tripletjax.losses import rows
from tripletjax.miners import call_miner, capped, curriculum
from tripletjax.training import parallel
from tripletjax.types import Embeddings

KEY = jax.random.key(3)
MARGIN = 0.8
# The grid of positives and negatives is one function: some of its entries are
# enough here, the others are for the slow run. `tests/test_miners.py` has all.
QUICK = {
  "easy_positive",
  "hard_positive_semi_hard_negative",
  "semi_hard_positive_random_negative",
}
ALL_MINERS = [
  name
  if "_positive_" not in name or name in QUICK
  else pytest.param(name, marks=pytest.mark.slow)
  for name in MINERS
]
# One of each kind of selection, for laws that are not about the miner.
KINDS = ["all", "batch_hard", "semi_hard", "random_semi_hard", "angular"]
MOST_SLOW = [
  name if name in KINDS else pytest.param(name, marks=pytest.mark.slow)
  for name in MINERS
]
# A miner sees distances and doesn't know where they are from: every miner with
# one distance and every distance with one miner are all there is to test.
PAIRS = [(m, "squared_euclidean") for m in KINDS] + [
  ("all", distance) for distance in DISTANCES if distance != "squared_euclidean"
]
COUNTS = ("valid_triplets", "selected_triplets", "active_triplets", "collapsed")


@functools.cache
def jitted(**keywords):
  """Value, counts and gradient; one compilation for all tests of a shape."""

  def loss(embeddings, labels, margin, key, where):
    value, found = mined_triplet_loss(
      embeddings, labels, margin=margin, key=key, where=where, **keywords
    )
    # All statistics have tests of their own, and would be compiled here.
    return value, {name: found[name] for name in COUNTS}

  return jax.jit(jax.value_and_grad(loss, has_aux=True))


def evaluate(
  embeddings, labels, *, margin=MARGIN, where=None, key=KEY, **keywords
):
  where = np.ones(len(labels), bool) if where is None else where
  dtype = jnp.asarray(embeddings).dtype
  dtype = dtype if dtype.itemsize >= 4 else jnp.float32
  return jitted(**keywords)(
    jnp.asarray(embeddings), labels, jnp.asarray(margin, dtype), key, where
  )


def listed(embeddings, labels, miner, distance="squared_euclidean"):
  """The triplets that a miner selects, which has tests of its own."""
  x = jnp.asarray(embeddings)
  masks = tuple(map(jnp.asarray, reference.masks(labels)))
  d = pairwise_distance(x, distance=distance)
  selection = call_miner(
    MINERS[miner],
    d,
    *masks,
    margin=jnp.float32(MARGIN),
    key=jax.vmap(jax.random.fold_in, (None, 0))(KEY, np.arange(len(labels))),
    embeddings=Embeddings(x, x),
  )
  return np.argwhere(np.asarray(cube(selection, d, *masks)))


def oracle(embeddings, labels, miner, distance="squared_euclidean", soft=False):
  """The losses of the selected triplets, float64."""
  d = reference.DISTANCES[distance](*[embeddings.astype(np.float64)] * 2)
  triplets = listed(embeddings, labels, miner, distance)
  return reference.loss_and_gradient(d, triplets, MARGIN, soft)[0]


@pytest.mark.parametrize("miner", ALL_MINERS)
def test_equals_the_slow_oracle(miner):
  embeddings, labels = batches.random_batch(0)
  values = oracle(embeddings, labels, miner)
  (loss, counts), _ = evaluate(embeddings, labels, miner=miner, reduction="sum")
  np.testing.assert_allclose(loss, values.sum(), rtol=2e-5)
  assert counts["selected_triplets"] == len(values)
  assert int(counts["active_triplets"]) == sum(values > 0)


@pytest.mark.parametrize(("miner", "distance"), PAIRS)
def test_equals_the_slow_oracle_by_every_distance(miner, distance):
  embeddings, labels = batches.random_batch(0)
  values = oracle(embeddings, labels, miner, distance)
  (loss, _), _ = evaluate(
    embeddings, labels, miner=miner, distance=distance, reduction="sum"
  )
  np.testing.assert_allclose(loss, values.sum(), rtol=2e-5)


@functools.partial(jax.jit, static_argnames=("miner", "soft"))
def every_reduction(embeddings, labels, **keywords):
  return {
    reduction: mined_triplet_loss(
      embeddings, labels, reduction=reduction, margin=MARGIN, **keywords
    )[0]
    for reduction in (*REDUCTIONS, "none")
  }


@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("miner", KINDS)
def test_equals_the_slow_oracle_by_every_reduction(miner, soft):
  embeddings, labels = batches.random_batch(0)
  values = oracle(embeddings, labels, miner, soft=soft)
  losses = every_reduction(
    jnp.asarray(embeddings), labels, miner=miner, key=KEY, soft=soft
  )
  pairs = reference.masks(labels)[0].sum()
  rows_of_loss = losses.pop("none")
  assert rows_of_loss.shape == (12,)
  np.testing.assert_allclose(rows_of_loss.sum(), losses["sum"], rtol=1e-5)
  triplets = listed(embeddings, labels, miner)
  for anchor in range(12):
    np.testing.assert_allclose(
      rows_of_loss[anchor],
      values[triplets[:, 0] == anchor].sum(),
      rtol=1e-4,
      atol=1e-6,
    )
  for name, loss in losses.items():
    expected = reference.reduce(values, name, pairs=pairs, anchors=12)
    np.testing.assert_allclose(loss, expected, rtol=2e-5)


@pytest.mark.parametrize("miner", ALL_MINERS)
def test_gradient_equals_finite_differences(miner):
  embeddings, labels = batches.random_batch(2)
  rng = np.random.default_rng(0)
  # Small steps, so that no triplet becomes active or is chosen anew.
  with jax.enable_x64(True):
    x = embeddings.astype(np.float64)
    direction = rng.normal(size=x.shape)
    step = 1e-6

    def at(points):
      return evaluate(points, labels, miner=miner, reduction="sum")

    (_, gradient) = at(x)
    ends = [float(at(x + s * step * direction)[0][0]) for s in (1, -1)]
  np.testing.assert_allclose(
    np.sum(np.asarray(gradient) * direction),
    (ends[0] - ends[1]) / (2 * step),
    rtol=1e-5,
    atol=1e-7,
  )


@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("miner", KINDS)
def test_the_gradient_by_the_margin_is_the_sum_of_slopes(miner, soft):
  embeddings, labels = batches.random_batch(2)
  d = reference.squared_euclidean(embeddings, embeddings)
  triplets = listed(embeddings, labels, miner)
  _, by_distance = reference.loss_and_gradient(d, triplets, MARGIN, soft)

  @jax.jit
  @jax.grad
  def by_margin(margin):
    return mined_triplet_loss(
      embeddings,
      labels,
      miner=miner,
      # The margin also chooses triplets; here the same ones.
      margin=margin,
      key=KEY,
      soft=soft,
      reduction="sum",
    )[0]

  slopes = by_distance[reference.masks(labels)[0]].sum()
  np.testing.assert_allclose(by_margin(MARGIN), slopes, rtol=1e-5)


@pytest.mark.parametrize("miner", ALL_MINERS)
@pytest.mark.parametrize("case", list(batches.awkward_batches()))
def test_awkward_batches_have_a_finite_loss_and_gradient(miner, case):
  embeddings, labels = batches.awkward_batches()[case]
  (loss, counts), gradient = evaluate(
    embeddings, labels, miner=miner, reduction="sum"
  )
  assert np.isfinite(loss)
  assert np.isfinite(gradient).all()
  if case in ("one identity", "one image each"):
    assert loss == 0
    assert not gradient.any()
    assert counts["valid_triplets"] == 0
    assert not counts["collapsed"]


@pytest.mark.parametrize("distance", DISTANCES)
@pytest.mark.parametrize("case", list(batches.awkward_batches()))
def test_awkward_batches_are_finite_by_every_distance(distance, case):
  embeddings, labels = batches.awkward_batches()[case]
  (loss, _), gradient = evaluate(
    embeddings, labels, miner="all", distance=distance, reduction="sum"
  )
  assert np.isfinite(loss)
  assert np.isfinite(gradient).all()


@pytest.mark.parametrize("miner", ["all", "batch_hard"])
@pytest.mark.parametrize("distance", DISTANCES)
def test_a_collapsed_embedding_costs_the_margin_and_is_reported(
  miner, distance
):
  labels = np.arange(12, dtype=np.int32) // 3
  (loss, counts), _ = evaluate(
    np.ones((12, 4), np.float32), labels, miner=miner, distance=distance
  )
  np.testing.assert_allclose(loss, MARGIN, rtol=1e-5)
  assert counts["collapsed"]


@pytest.mark.parametrize("miner", ["semi_hard", "random_semi_hard"])
def test_a_semi_hard_miner_is_silent_on_a_collapse_but_reports_it(miner):
  # No negative is beyond its positive: by definition there is no triplet.
  labels = np.arange(12, dtype=np.int32) // 3
  (loss, counts), _ = evaluate(
    np.zeros((12, 4), np.float32), labels, miner=miner
  )
  assert loss == counts["selected_triplets"] == 0
  assert counts["collapsed"]


@pytest.mark.parametrize(("soft", "cost"), [(False, 0), (True, np.log(2))])
def test_zero_embeddings_without_a_margin(soft, cost):
  # Without a margin they are a solution; by the soft margin they cost ln 2.
  labels = np.arange(12, dtype=np.int32) // 3
  (loss, _), _ = evaluate(
    np.zeros((12, 4), np.float32), labels, miner="all", margin=0, soft=soft
  )
  np.testing.assert_allclose(loss, cost, rtol=1e-6)


@pytest.mark.parametrize("miner", ALL_MINERS)
def test_masking_equals_deletion_even_where_padding_is_nan(miner):
  embeddings, labels = batches.random_batch(3)
  # Twelve rows both times, so that nothing is compiled again: the padding is
  # at the end, and stands in the middle.
  order = np.array([0, 1, 2, 3, 9, 10, 4, 5, 11, 6, 7, 8])
  results = []
  for rows_in, fill in ((np.arange(12), 5.0), (order, np.nan)):
    x, where = embeddings[rows_in].copy(), rows_in < 9
    x[~where] = fill
    results.append(
      evaluate(x, labels[rows_in], miner=miner, reduction="sum", where=where)
      if miner not in reference.DRAWN
      else evaluate_drawn(x, labels[rows_in], where, rows_in, miner)
    )
  ((end, counts), by_end), ((middle, again), by_middle) = results
  np.testing.assert_allclose(middle, end, rtol=1e-6)
  np.testing.assert_allclose(
    by_middle, np.asarray(by_end)[order], rtol=1e-5, atol=1e-6
  )
  assert not by_middle[order >= 9].any()
  jax.tree.map(np.testing.assert_allclose, again, counts)
  values = oracle_of_nine(embeddings, labels, miner)
  if values is not None:
    np.testing.assert_allclose(end, values.sum(), rtol=2e-5)


def evaluate_drawn(x, labels, where, ids, miner):
  """Keys are by id, so that examples keep theirs."""
  return jitted_by_id(miner)(jnp.asarray(x), labels, where, ids)


@functools.cache
def jitted_by_id(miner):
  def loss(x, labels, where, ids):
    value, found = mined_triplet_loss(
      x,
      labels,
      miner=miner,
      margin=MARGIN,
      key=KEY,
      where=where,
      ids=ids,
      reduction="sum",
    )
    return value, {name: found[name] for name in COUNTS}

  return jax.jit(jax.value_and_grad(loss, has_aux=True))


def oracle_of_nine(embeddings, labels, miner):
  if miner in reference.DRAWN:
    return None
  return oracle(embeddings[:9], labels[:9], miner)


@pytest.mark.parametrize("miner", ALL_MINERS)
def test_a_nan_that_is_not_padding_is_never_hidden(miner):
  embeddings, labels = batches.random_batch(3)
  embeddings[4] = np.nan
  (loss, _), gradient = evaluate(
    embeddings, labels, miner=miner, reduction="sum"
  )
  assert np.isnan(loss)
  assert np.isnan(gradient).any()


@pytest.mark.parametrize("miner", ALL_MINERS)
def test_rotating_and_moving_the_embeddings_changes_nothing(miner):
  embeddings, labels = batches.random_batch(4)
  rotation = np.linalg.qr(np.random.default_rng(0).normal(size=(5, 5)))[0]
  moved = embeddings @ rotation.astype(np.float32) + np.float32(0.5)
  (loss, _), _ = evaluate(embeddings, labels, miner=miner, reduction="sum")
  (again, _), _ = evaluate(moved, labels, miner=miner, reduction="sum")
  np.testing.assert_allclose(again, loss, rtol=1e-4)


@pytest.mark.parametrize("miner", KINDS)
def test_bfloat16_embeddings_are_compared_in_float32(miner):
  embeddings, labels = batches.random_batch(5)
  rough = jnp.asarray(embeddings).astype(jnp.bfloat16)
  (loss, _), gradient = evaluate(rough, labels, miner=miner, reduction="sum")
  (expected, _), exact = evaluate(
    rough.astype(jnp.float32), labels, miner=miner, reduction="sum"
  )
  assert loss.dtype == jnp.float32
  assert gradient.dtype == jnp.bfloat16
  np.testing.assert_allclose(loss, expected, rtol=1e-6)
  np.testing.assert_allclose(
    gradient.astype(jnp.float32), exact, rtol=0.02, atol=0.02
  )


@pytest.mark.parametrize("miner", ALL_MINERS)
def test_vmap_equals_a_loop_over_batches_margins_and_keys(miner):
  cases = [
    (*batches.random_batch(i), np.float32(0.3 * i), jax.random.key(i))
    for i in range(1, 4)
  ]

  def one(embeddings, labels, margin, key):
    return mined_triplet_loss(
      embeddings, labels, miner=miner, margin=margin, key=key, reduction="sum"
    )[0]

  together = jax.jit(jax.vmap(one))(
    *(
      jnp.stack([jnp.asarray(x) for x in column])
      for column in zip(*cases, strict=True)
    )
  )
  for (x, labels, margin, key), loss in zip(cases, together, strict=True):
    (alone, _), _ = evaluate(
      x, labels, margin=margin, key=key, miner=miner, reduction="sum"
    )
    np.testing.assert_allclose(loss, alone, rtol=1e-5)


@pytest.mark.parametrize("miner", KINDS)
def test_jit_equals_eager_and_one_compilation_serves_all(miner):
  embeddings, labels = batches.random_batch(6)
  compiled = jitted(miner=miner, reduction="mean")
  sizes = []
  for margin in (0.4, 0.8):
    eager, _ = mined_triplet_loss(
      embeddings,
      labels,
      miner=miner,
      margin=margin,
      key=KEY,
      reduction="mean",
    )
    (loss, _), _ = evaluate(
      embeddings, labels, margin=margin, miner=miner, reduction="mean"
    )
    np.testing.assert_allclose(loss, eager, rtol=1e-5)
    sizes.append(compiled._cache_size())
  assert sizes == [1, 1]


@pytest.mark.parametrize(
  "backend", ["pmap", pytest.param("shard_map", marks=pytest.mark.slow)]
)
@pytest.mark.parametrize("miner", MOST_SLOW)
def test_four_devices_equal_one_in_value_gradient_and_counts(miner, backend):
  embeddings, labels = batches.random_batch(7)
  where = np.arange(12) != 5

  # Weights that the devices share stand for a network.
  def objective(weights, embeddings, labels, where, axis_name):
    loss, found = mined_triplet_loss(
      embeddings * weights,
      labels,
      where=where,
      miner=miner,
      margin=MARGIN,
      key=KEY,
      reduction="mean",
      axis_name=axis_name,
    )
    return loss, {name: found[name] for name in COUNTS}

  def value_and_gradient(*arguments):
    return jax.value_and_grad(objective, has_aux=True)(*arguments)

  def on_devices(weights, embeddings, labels, where):
    results, gradient = value_and_gradient(
      weights, embeddings, labels, where, parallel.AXIS
    )
    return results, jax.lax.pmean(gradient, parallel.AXIS)

  weights = jnp.ones((1, 5))
  arguments = (jnp.asarray(embeddings), labels, where)
  expected = jax.jit(lambda *x: value_and_gradient(*x, None))(
    weights, *arguments
  )
  run = parallel.data_parallel(
    on_devices,
    parallel.local_devices()[:4],
    replicated=(0,),
    backend=backend,
  )
  actual = run(weights, *parallel.shard(arguments, 4))
  for device in range(4):
    jax.tree.map(
      lambda a, b, d=device: np.testing.assert_allclose(
        a[d], b, rtol=1e-5, atol=1e-6
      ),
      actual,
      expected,
    )


@pytest.mark.parametrize("miner", MOST_SLOW)
def test_blocks_of_rows_equal_the_whole(miner, monkeypatch):
  embeddings, labels = batches.random_batch(8, count=21, classes=5)
  where = np.arange(21) != 3

  def value_and_gradient():
    def loss(x):
      value, found = mined_triplet_loss(
        x, labels, miner=miner, margin=MARGIN, key=KEY, where=where
      )
      return value, {name: found[name] for name in COUNTS}

    return jax.jit(jax.value_and_grad(loss, has_aux=True))(embeddings)

  whole = value_and_gradient()
  monkeypatch.setattr(rows, "WHOLE", 0)
  monkeypatch.setattr(rows, "BLOCKS", ((8, 2**20),))
  in_blocks = value_and_gradient()
  jax.tree.map(
    functools.partial(np.testing.assert_allclose, rtol=2e-5, atol=1e-6),
    in_blocks,
    whole,
  )


@pytest.mark.parametrize(
  "miner",
  [
    pytest.param("all", marks=pytest.mark.slow),
    pytest.param("batch_hard", marks=pytest.mark.slow),
    "random_semi_hard",
  ],
)
def test_blocks_under_vmap_and_on_devices_equal_the_whole(miner, monkeypatch):
  embeddings, labels = batches.random_batch(8, count=24, classes=5)
  margins = jnp.array([0.3, MARGIN])
  ones = jnp.ones((1, 5))

  def loss(weights, margin, x, y, axis_name=None):
    return mined_triplet_loss(
      x * weights,
      y,
      miner=miner,
      margin=margin,
      key=KEY,
      axis_name=axis_name,
    )[0]

  slopes = jax.value_and_grad(loss)
  whole = [slopes(ones, margin, embeddings, labels) for margin in margins]
  monkeypatch.setattr(rows, "WHOLE", 0)
  monkeypatch.setattr(rows, "BLOCKS", ((8, 2**20),))
  values, gradients = jax.jit(jax.vmap(slopes, (None, 0, None, None)))(
    ones, margins, embeddings, labels
  )
  value, gradient = jax.pmap(
    lambda w, x, y: slopes(w, MARGIN, x, y, "d"),
    axis_name="d",
    in_axes=(None, 0, 0),
  )(ones, embeddings.reshape(4, 6, 5), labels.reshape(4, 6))
  for i, (expected, slope) in enumerate(whole):
    np.testing.assert_allclose(values[i], expected, rtol=1e-5)
    np.testing.assert_allclose(gradients[i], slope, rtol=1e-4, atol=1e-5)
  np.testing.assert_allclose(value, [whole[1][0]] * 4, rtol=1e-5)
  np.testing.assert_allclose(
    gradient.mean(0), whole[1][1], rtol=1e-4, atol=1e-5
  )


@pytest.mark.parametrize("miner", KINDS)
def test_rows_against_given_references_add_up_to_the_whole(miner):
  embeddings, labels = batches.random_batch(8)
  ids = np.arange(12, dtype=np.int32)
  (whole, _), _ = evaluate(embeddings, labels, miner=miner, reduction="sum")

  @jax.jit
  def part(anchors, anchor_labels, anchor_ids):
    return mined_triplet_loss(
      anchors,
      anchor_labels,
      miner=miner,
      margin=MARGIN,
      reduction="sum",
      references=embeddings,
      reference_labels=labels,
      ids=anchor_ids,
      reference_ids=ids,
      key=KEY,
    )[0]

  parts = [
    part(embeddings[half], labels[half], ids[half])
    for half in (slice(0, 6), slice(6, 12))
  ]
  np.testing.assert_allclose(sum(parts), whole, rtol=1e-5)


@pytest.mark.parametrize(
  "miner", [m for m in MINERS if m not in ("angular", "distance_weighted")]
)
def test_precomputed_distances_give_the_same_loss(miner):
  if "_positive_" in miner and miner not in QUICK:
    miner = "batch_hard"
  embeddings, labels = batches.random_batch(8)
  (expected, _), _ = evaluate(embeddings, labels, miner=miner, reduction="sum")
  d = pairwise_distance(embeddings)
  (loss, _), gradient = evaluate(
    d, labels, miner=miner, reduction="sum", distance="precomputed"
  )
  np.testing.assert_allclose(loss, expected, rtol=1e-5)
  _, by_distance = reference.loss_and_gradient(
    np.asarray(d), listed(embeddings, labels, miner), MARGIN
  )
  np.testing.assert_allclose(gradient, by_distance, atol=1e-6)


def test_each_pair_once_takes_half_of_the_pairs():
  embeddings, labels = batches.random_batch(9)
  d = reference.squared_euclidean(embeddings, embeddings)
  positive, negative = reference.masks(labels)
  once = np.triu(positive)
  triplets = [t for (t,) in reference.all_triplets(d, once, negative, None)]
  values, _ = reference.loss_and_gradient(d, triplets, MARGIN)
  (loss, counts), _ = evaluate(
    embeddings, labels, miner="all", reduction="sum", each_pair_once=True
  )
  np.testing.assert_allclose(loss, values.sum(), rtol=1e-5)
  assert counts["valid_triplets"] == len(triplets)


def test_a_cap_and_a_curriculum_are_miners_of_the_loss():
  embeddings, _ = batches.random_batch(9)
  labels = np.arange(12, dtype=np.int32) // 3
  schedule = curriculum([capped(MINERS["all"], 2), MINERS["batch_hard"]], [5])

  @jax.jit
  def at(step):
    loss, found = mined_triplet_loss(
      embeddings,
      labels,
      miner=schedule(step),
      margin=MARGIN,
      key=KEY,
      reduction="sum",
    )
    return loss, found["selected_triplets"]

  assert at(4)[1] == 2 * 12
  (hard, _), _ = evaluate(
    embeddings, labels, miner="batch_hard", reduction="sum"
  )
  np.testing.assert_allclose(at(5)[0], hard, rtol=1e-5)
  together = jax.vmap(at)(jnp.array([4, 5]))
  np.testing.assert_allclose(together[0], [at(4)[0], at(5)[0]], rtol=1e-5)


@pytest.mark.parametrize("whole", [True, False])
def test_a_distance_with_weights_of_its_own_is_differentiated(
  whole, monkeypatch
):
  if not whole:
    monkeypatch.setattr(rows, "WHOLE", 0)
    monkeypatch.setattr(rows, "BLOCKS", ((8, 2**20),))
  embeddings, labels = batches.random_batch(9)

  def loss(scale):
    def scaled(x, y):
      return pairwise_distance(x * scale, y * scale)

    return mined_triplet_loss(
      embeddings, labels, miner="all", distance=scaled, margin=MARGIN
    )[0]

  def by_input(scale):
    return mined_triplet_loss(
      embeddings * scale, labels, miner="all", margin=MARGIN
    )[0]

  scale = jnp.full((1, 5), 1.1)
  np.testing.assert_allclose(
    jax.jit(jax.grad(loss))(scale), jax.grad(by_input)(scale), rtol=1e-5
  )


EMBEDDINGS, LABELS = batches.random_batch(0)


@pytest.mark.parametrize(
  ("keywords", "error", "message"),
  [
    ({"labels": LABELS[:-1]}, ValueError, r"labels of shape \[12\]"),
    ({"labels": LABELS * 1.0}, TypeError, "labels to be integer"),
    ({"embeddings": LABELS[:, None]}, TypeError, "embeddings to be floating"),
    ({"embeddings": EMBEDDINGS[0]}, ValueError, "embeddings of shape"),
    ({"miner": "hardest"}, ValueError, "all, all_hard, all_semi_hard"),
    ({"reduction": "median"}, ValueError, "none, sum, mean, mean_active"),
    ({"distance": "l3"}, ValueError, "squared_euclidean, euclidean, cosine"),
    ({"miner": "random_semi_hard"}, ValueError, "expected key"),
    ({"references": EMBEDDINGS}, ValueError, "only one of them"),
    (
      {"references": EMBEDDINGS[:, :2], "reference_labels": LABELS},
      ValueError,
      "references of shape",
    ),
    (
      {"references": EMBEDDINGS[:5], "reference_labels": LABELS},
      ValueError,
      "references of shape",
    ),
    ({"where": LABELS}, TypeError, "where to be boolean"),
    ({"ids": LABELS[:3]}, ValueError, "ids of shape"),
    ({"reference_ids": LABELS}, ValueError, "reference_labels beside"),
    ({"distance": "precomputed"}, ValueError, "expected reference_labels"),
    (
      {"distance": "precomputed", "reference_labels": LABELS},
      ValueError,
      "one for each column",
    ),
    (
      {
        "distance": "precomputed",
        "references": EMBEDDINGS,
        "reference_labels": LABELS,
      },
      ValueError,
      "expected no references",
    ),
    (
      {"distance": lambda x, y: x @ y.T, "precision": "highest"},
      ValueError,
      "precision with a named distance",
    ),
  ],
)
def test_bad_input_to_the_mined_loss(keywords, error, message):
  arguments = {"embeddings": EMBEDDINGS, "labels": LABELS} | keywords
  with pytest.raises(error, match=message):
    mined_triplet_loss(
      arguments.pop("embeddings"), arguments.pop("labels"), **arguments
    )
