"""Laws of the losses, over every miner, distance and reduction."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from tests import batches, reference
from tripletjax import (
  DISTANCES,
  MINERS,
  REDUCTIONS,
  GapBand,
  mined_triplet_loss,
  pair_masks,
  pairwise_distance,
  triplet_loss,
)
from tripletjax.losses import selection_totals

KEY = jax.random.key(3)
MARGIN = 0.8
# A miner sees distances and doesn't know where they are from: every miner with
# one distance and every distance with one miner are all there is to test.
PAIRS = [(miner, "squared_euclidean") for miner in MINERS] + [
  ("all", distance) for distance in DISTANCES if distance != "squared_euclidean"
]


@functools.cache
def jitted(**keywords):
  """Value, statistics and gradient; one compilation for all tests."""

  def loss(embeddings, labels, margin, key, where):
    return mined_triplet_loss(
      embeddings, labels, margin=margin, key=key, where=where, **keywords
    )

  return jax.jit(jax.value_and_grad(loss, has_aux=True))


def evaluate(embeddings, labels, *, margin=MARGIN, where=None, **keywords):
  where = np.ones(len(labels), bool) if where is None else where
  return jitted(**keywords)(
    jnp.asarray(embeddings), labels, jnp.float32(margin), KEY, where
  )


def oracle(embeddings, labels, *, miner, distance, soft=False):
  """The losses of the triplets of a miner that doesn't draw; float64."""
  d = reference.DISTANCES[distance](*[embeddings.astype(np.float64)] * 2)
  groups = reference.MINERS[miner](d, *reference.masks(labels), MARGIN)
  triplets = [triplet for group in groups for triplet in group]
  return reference.loss_and_gradient(d, triplets, MARGIN, soft)[0]


def drawn(embeddings, labels, *, miner, distance):
  """The losses of the triplets a miner draws; the draw has its own test."""
  d = pairwise_distance(embeddings, distance=distance)
  positive, negative = reference.masks(labels)
  selection = MINERS[miner](
    d,
    jnp.asarray(positive),
    jnp.asarray(negative),
    margin=MARGIN,
    key=jax.vmap(jax.random.fold_in, (None, 0))(KEY, np.arange(len(labels))),
  )
  triplets = [
    (a, p, int(selection.negative[a, p]))
    for a, p in np.argwhere(np.asarray(selection.where))
  ]
  return reference.loss_and_gradient(np.asarray(d), triplets, MARGIN)[0]


@functools.partial(jax.jit, static_argnames=("miner", "distance", "soft"))
def every_reduction(embeddings, labels, **keywords):
  """Losses `[reductions]` and statistics, in one compilation."""
  results = [
    mined_triplet_loss(
      embeddings, labels, reduction=reduction, margin=MARGIN, **keywords
    )
    for reduction in REDUCTIONS
  ]
  return jnp.stack([loss for loss, _ in results]), results[0][1]


@pytest.mark.parametrize(("miner", "distance"), PAIRS)
def test_equals_the_slow_oracle_by_every_reduction(miner, distance):
  embeddings, labels = batches.random_batch(0)
  expected = drawn if miner.startswith("random") else oracle
  values = expected(embeddings, labels, miner=miner, distance=distance)
  losses, statistics = every_reduction(
    jnp.asarray(embeddings), labels, miner=miner, distance=distance, key=KEY
  )
  for loss, reduction in zip(losses, REDUCTIONS, strict=True):
    np.testing.assert_allclose(
      loss, reference.reduce(values, reduction), rtol=1e-5
    )
  assert statistics["selected_triplets"] == len(values)
  assert int(statistics["active_triplets"]) == sum(values > 0)


@pytest.mark.parametrize(
  "miner", ["all", "all_hard", "batch_hard", "semi_hard"]
)
def test_the_soft_margin_equals_the_slow_oracle(miner):
  embeddings, labels = batches.random_batch(0)
  values = oracle(
    embeddings, labels, miner=miner, distance="euclidean", soft=True
  )
  losses, statistics = every_reduction(
    jnp.asarray(embeddings),
    labels,
    miner=miner,
    distance="euclidean",
    soft=True,
  )
  for loss, reduction in zip(losses, REDUCTIONS, strict=True):
    np.testing.assert_allclose(
      loss, reference.reduce(values, reduction), rtol=1e-5
    )
  assert statistics["active_share"] == 1


def test_a_collapsed_embedding_costs_ln_2_by_the_soft_margin_without_one():
  labels = np.arange(12, dtype=np.int32) // 3
  (loss, _), _ = evaluate(
    np.zeros((12, 4), np.float32), labels, miner="all", margin=0, soft=True
  )
  np.testing.assert_allclose(loss, np.log(2), rtol=1e-6)


@pytest.mark.parametrize("miner", MINERS)
def test_statistics_equal_their_definitions(miner):
  embeddings, labels = batches.random_batch(1)
  (_, statistics), _ = evaluate(embeddings, labels, miner=miner)
  d = reference.squared_euclidean(embeddings, embeddings)
  positive, negative = reference.masks(labels)
  triplets = reference.all_triplets(d, positive, negative, MARGIN)
  assert statistics["valid_triplets"] == len(triplets)
  np.testing.assert_allclose(
    statistics["positive_distance"], d[positive].mean(), rtol=1e-5
  )
  np.testing.assert_allclose(
    statistics["negative_distance"], d[negative].mean(), rtol=1e-5
  )
  np.testing.assert_allclose(
    statistics["active_share"],
    statistics["active_triplets"] / statistics["selected_triplets"],
  )
  assert not statistics["collapsed"]


@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize(
  ("low", "high"),
  [(-np.inf, np.inf), (-np.inf, 0.0), (0.0, MARGIN), (0.2, 0.5), (1.0, np.inf)],
)
def test_bands_are_exact_in_value_gradient_and_counts(seed, low, high, soft):
  embeddings, labels = batches.random_batch(seed)
  d = np.asarray(pairwise_distance(embeddings))
  positive, negative = reference.masks(labels)
  triplets = [
    (a, p, n)
    for ((a, p, n),) in reference.all_triplets(d, positive, negative, None)
    if low < d[a, n] - d[a, p] <= high
  ]
  values, gradient = reference.loss_and_gradient(d, triplets, MARGIN, soft)

  def loss(d, margin):
    totals = selection_totals(
      d, pair_masks(labels), GapBand(low, high), margin=margin, soft=soft
    )
    return totals.loss, totals

  (value, totals), (by_d, by_margin) = jax.value_and_grad(
    loss, argnums=(0, 1), has_aux=True
  )(jnp.asarray(d), jnp.float32(MARGIN))
  np.testing.assert_allclose(value, values.sum(), rtol=1e-5)
  np.testing.assert_allclose(by_d, gradient, rtol=1e-5, atol=1e-6)
  # Every triplet adds its slope at its positive; so does the margin.
  slopes = gradient[positive].sum()
  np.testing.assert_allclose(by_margin, slopes, rtol=1e-5)
  assert totals.selected == len(triplets)
  assert int(totals.active) == (values > 0).sum()


@pytest.mark.parametrize("miner", MINERS)
def test_gradient_equals_finite_differences(miner):
  embeddings, labels = batches.random_batch(2)

  # Small steps, so that no triplet becomes active or is chosen anew.
  with jax.enable_x64(True):
    check_grads(
      lambda x: every_reduction(x, labels, miner=miner, key=KEY)[0],
      (jnp.asarray(embeddings, jnp.float64),),
      order=1,
      modes=["rev"],
      eps=1e-6,
      atol=1e-4,
      rtol=1e-4,
    )


@pytest.mark.parametrize(("miner", "distance"), PAIRS)
@pytest.mark.parametrize("case", list(batches.awkward_batches()))
def test_awkward_batches_have_a_finite_loss_and_gradient(miner, distance, case):
  embeddings, labels = batches.awkward_batches()[case]
  (loss, statistics), gradient = evaluate(
    embeddings, labels, miner=miner, distance=distance
  )
  assert np.isfinite(loss)
  assert np.isfinite(gradient).all()
  if case in ("one identity", "one image each"):
    assert loss == 0
    assert not gradient.any()
    assert statistics["valid_triplets"] == 0
    assert not statistics["collapsed"]


@pytest.mark.parametrize("miner", ["all", "batch_hard"])
@pytest.mark.parametrize("distance", DISTANCES)
def test_a_collapsed_embedding_costs_the_margin_and_is_reported(
  miner, distance
):
  labels = np.arange(12, dtype=np.int32) // 3
  (loss, statistics), _ = evaluate(
    np.ones((12, 4), np.float32), labels, miner=miner, distance=distance
  )
  np.testing.assert_allclose(loss, MARGIN, rtol=1e-5)
  assert statistics["collapsed"]


@pytest.mark.parametrize("miner", ["semi_hard", "random_semi_hard"])
def test_a_semi_hard_miner_is_silent_on_a_collapse_but_reports_it(miner):
  # No negative is beyond its positive: by definition there is no triplet.
  labels = np.arange(12, dtype=np.int32) // 3
  (loss, statistics), _ = evaluate(
    np.zeros((12, 4), np.float32), labels, miner=miner
  )
  assert loss == statistics["selected_triplets"] == 0
  assert statistics["collapsed"]


def test_without_a_margin_zero_embeddings_are_a_solution():
  labels = np.arange(12, dtype=np.int32) // 3
  (loss, _), _ = evaluate(
    np.zeros((12, 4), np.float32), labels, miner="all", margin=0
  )
  assert loss == 0


@pytest.mark.parametrize("miner", MINERS)
def test_masking_equals_deletion_even_where_padding_is_nan(miner):
  embeddings, labels = batches.random_batch(3)
  kept = np.arange(9)
  padded = embeddings.copy()
  padded[9:] = np.nan
  (masked, statistics), gradient = evaluate(
    padded, labels, miner=miner, where=np.arange(12) < 9
  )
  (deleted, expected), kept_gradient = evaluate(
    embeddings[kept], labels[kept], miner=miner
  )
  np.testing.assert_allclose(masked, deleted, rtol=1e-6)
  np.testing.assert_allclose(gradient[:9], kept_gradient, rtol=1e-5, atol=1e-7)
  assert not gradient[9:].any()
  for name, value in expected.items():
    np.testing.assert_allclose(statistics[name], value, rtol=1e-5)


@pytest.mark.parametrize("miner", MINERS)
def test_a_nan_that_is_not_padding_is_never_hidden(miner):
  embeddings, labels = batches.random_batch(3)
  embeddings[4] = np.nan
  (loss, _), gradient = evaluate(embeddings, labels, miner=miner)
  assert np.isnan(loss)
  assert np.isnan(gradient).any()


@pytest.mark.parametrize("miner", MINERS)
def test_rotating_and_moving_the_embeddings_changes_nothing(miner):
  embeddings, labels = batches.random_batch(4)
  rotation = np.linalg.qr(np.random.default_rng(0).normal(size=(5, 5)))[0]
  moved = embeddings @ rotation.astype(np.float32) + np.float32(0.5)
  (loss, _), _ = evaluate(embeddings, labels, miner=miner)
  (moved_loss, _), _ = evaluate(moved, labels, miner=miner)
  np.testing.assert_allclose(moved_loss, loss, rtol=1e-4)


@pytest.mark.parametrize("miner", MINERS)
def test_bfloat16_embeddings_are_compared_in_float32(miner):
  embeddings, labels = batches.random_batch(5)
  rough = jnp.asarray(embeddings).astype(jnp.bfloat16)
  (loss, _), gradient = evaluate(rough, labels, miner=miner)
  (expected, _), _ = evaluate(rough.astype(jnp.float32), labels, miner=miner)
  assert loss.dtype == jnp.float32
  assert gradient.dtype == jnp.bfloat16
  np.testing.assert_allclose(loss, expected, rtol=1e-6)


@pytest.mark.parametrize("miner", MINERS)
def test_vmap_equals_a_loop_over_batches_margins_and_keys(miner):
  function = functools.partial(loss_of_one, miner)
  cases = [
    (*batches.random_batch(i), np.float32(0.3 * i), jax.random.key(i))
    for i in range(1, 4)
  ]
  together = jax.jit(jax.vmap(function))(
    *(
      jnp.stack([jnp.asarray(x) for x in column])
      for column in zip(*cases, strict=True)
    )
  )
  alone = [jax.jit(function)(*case) for case in cases]
  np.testing.assert_allclose(together, alone, rtol=1e-5)


def loss_of_one(miner, embeddings, labels, margin, key):
  return mined_triplet_loss(
    embeddings, labels, miner=miner, margin=margin, key=key
  )[0]


@pytest.mark.parametrize("miner", MINERS)
def test_jit_equals_eager(miner):
  embeddings, labels = batches.random_batch(6)
  eager = loss_of_one(miner, embeddings, labels, MARGIN, KEY)
  (loss, _), _ = evaluate(embeddings, labels, miner=miner)
  np.testing.assert_allclose(loss, eager, rtol=1e-6)


@pytest.mark.parametrize("miner", MINERS)
def test_one_compilation_serves_every_margin_and_key(miner):
  compiled = jax.jit(functools.partial(loss_of_one, miner))
  embeddings, labels = batches.random_batch(6)
  for i in range(2):
    compiled(embeddings, labels, jnp.float32(i), jax.random.key(i))
  assert compiled._cache_size() == 1


@pytest.mark.parametrize("devices", [2, 4])
@pytest.mark.parametrize("miner", MINERS)
def test_devices_equal_one_device_in_value_gradient_and_statistics(
  miner, devices
):
  embeddings, labels = batches.random_batch(7)
  where = np.arange(12) != 5

  # Weights that the devices share stand for a network.
  def objective(weights, embeddings, labels, where, axis_name):
    losses, statistics = every_reduction.__wrapped__(
      embeddings * weights,
      labels,
      where=where,
      miner=miner,
      key=KEY,
      axis_name=axis_name,
    )
    return losses, (losses, statistics)

  def one_device(*arguments):
    gradients, results = jax.jacrev(objective, has_aux=True)(*arguments, None)
    return gradients, results

  def on_devices(*arguments):
    gradients, results = jax.jacrev(objective, has_aux=True)(*arguments, "d")
    return jax.lax.pmean(gradients, "d"), results

  weights = jnp.ones((1, 5))
  arguments = (jnp.asarray(embeddings), labels, where)
  expected = jax.jit(one_device)(weights, *arguments)
  actual = jax.pmap(on_devices, axis_name="d", in_axes=(None, 0, 0, 0))(
    weights, *(x.reshape(devices, -1, *x.shape[1:]) for x in arguments)
  )
  for device in range(devices):
    jax.tree.map(
      lambda a, b, d=device: np.testing.assert_allclose(
        a[d], b, rtol=1e-5, atol=1e-6
      ),
      actual,
      expected,
    )


@pytest.mark.parametrize("miner", MINERS)
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
    part(embeddings[rows], labels[rows], ids[rows])
    for rows in (slice(0, 6), slice(6, 12))
  ]
  np.testing.assert_allclose(sum(parts), whole, rtol=1e-5)


# By hand, on a line, squared: d(A, P) = 1, d(A, N) = 4 and 0.25.
ANCHORS = np.array([[0.0], [0.0]], np.float32)
POSITIVES = np.array([[1.0], [1.0]], np.float32)
NEGATIVES = np.array([[2.0], [0.5]], np.float32)


@pytest.mark.parametrize(
  ("reduction", "expected"),
  # Margin 2: max(1 - 4 + 2, 0) = 0 and 1 - 0.25 + 2 = 2.75.
  [("none", [0, 2.75]), ("sum", 2.75), ("mean", 1.375), ("mean_active", 2.75)],
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


EMBEDDINGS, LABELS = batches.random_batch(0)


@pytest.mark.parametrize(
  ("keywords", "error", "message"),
  [
    ({"labels": LABELS[:-1]}, ValueError, r"labels of shape \[12\]"),
    ({"labels": LABELS * 1.0}, TypeError, "labels to be integer"),
    ({"embeddings": LABELS[:, None]}, TypeError, "embeddings to be floating"),
    ({"embeddings": EMBEDDINGS[0]}, ValueError, "embeddings of shape"),
    ({"miner": "hardest"}, ValueError, "all, all_hard, all_semi_hard"),
    ({"reduction": "median"}, ValueError, "sum, mean, mean_active"),
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
  ],
)
def test_bad_input_to_the_mined_loss(keywords, error, message):
  arguments = {"embeddings": EMBEDDINGS, "labels": LABELS} | keywords
  with pytest.raises(error, match=message):
    mined_triplet_loss(
      arguments.pop("embeddings"), arguments.pop("labels"), **arguments
    )


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
