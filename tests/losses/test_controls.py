"""Laws of the losses of pairs and anchors, over every one in LOSSES."""

import functools
import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from tests import batches, reference
from tests.losses.controls_oracle import ORACLES, reduce
from tripletjax.losses import LOSSES, rows
from tripletjax.reductions import REDUCTIONS
from tripletjax.training import parallel

# Name of a case -> the loss, its hyperparameters, and the distance by default.
CASES = {
  "contrastive": (
    "contrastive",
    {"margin": 1.0, "positive_margin": 0.3},
    "euclidean",
  ),
  "margin": ("margin", {"margin": 0.2, "beta": 1.2}, "on the sphere"),
  "margin, of each identity": (
    "margin",
    {"margin": 0.2, "beta": np.linspace(0.9, 1.4, 12)},
    "on the sphere",
  ),
  "mined_margin": (
    "mined_margin",
    {"margin": 0.2, "beta": 1.2},
    "on the sphere",
  ),
  "lifted_structure": ("lifted_structure", {"margin": -2.0}, "euclidean"),
  "n_pair": ("n_pair", {}, "dot"),
  "multi_similarity": (
    "multi_similarity",
    {"alpha": 2.0, "beta": 9.0, "base": 0.4},
    "cosine",
  ),
  "multi_similarity, mined": (
    "multi_similarity",
    {"alpha": 2.0, "beta": 9.0, "base": 0.4, "epsilon": -0.2},
    "cosine",
  ),
  "nt_xent": ("nt_xent", {"temperature": 0.4}, "cosine"),
  "sup_con": ("sup_con", {"temperature": 0.4}, "cosine"),
  "circle": ("circle", {"margin": 0.25, "gamma": 8.0}, "cosine"),
}
# Every statistic takes time to compile, and has tests of its own: these are
# what a loss decides.
KEPT = (
  "selected_triplets",
  "active_triplets",
  "idle_anchors",
  "loss_at_margin",
  "positive_distance",
)


def parameters_of(case, scale=1.0):
  """Hyperparameters as arrays: traced, never compiled in."""
  values = CASES[case][1].items()
  return {
    name: jnp.asarray(value * scale, jnp.float32) for name, value in values
  }


def distances(case, embeddings):
  x = embeddings.astype(np.float64)
  name = CASES[case][2]
  if name == "on the sphere":
    x = x / np.linalg.norm(x, axis=1, keepdims=True)
    name = "euclidean"
  return reference.DISTANCES[name](x, x)


def oracle(case, embeddings, labels):
  """The terms, `(anchor, value)` each."""
  loss, hyperparameters, _ = CASES[case]
  hyperparameters = {
    name: value if np.ndim(value) == 0 else value[labels]
    for name, value in hyperparameters.items()
  }
  masks = reference.masks(labels)
  return ORACLES[loss](distances(case, embeddings), *masks, **hyperparameters)


def loss_fn(case, embeddings, labels, parameters, where=None, **keywords):
  loss, statistics = LOSSES[CASES[case][0]](
    embeddings, labels, where=where, **parameters, **keywords
  )
  return loss, {name: statistics[name] for name in KEPT}


@functools.cache
def jitted(case):
  """Value, statistics and gradients; one compilation for most tests."""
  return jax.jit(
    jax.value_and_grad(
      functools.partial(loss_fn, case), argnums=(0, 2), has_aux=True
    )
  )


def evaluate(case, embeddings, labels, where=None, scale=1.0):
  where = np.ones(len(labels), bool) if where is None else where
  (loss, statistics), gradients = jitted(case)(
    jnp.asarray(embeddings), labels, parameters_of(case, scale), where
  )
  return loss, statistics, gradients


def close(actual, expected, rtol=1e-5, atol=1e-6):
  jax.tree.map(
    functools.partial(np.testing.assert_allclose, rtol=rtol, atol=atol),
    actual,
    expected,
  )


def test_every_loss_has_a_case_and_an_oracle():
  controls = set(LOSSES) - {"triplet"}
  assert {loss for loss, _, _ in CASES.values()} == controls == set(ORACLES)


@pytest.mark.parametrize("case", CASES)
def test_equals_the_slow_oracle_by_every_reduction(case):
  embeddings, labels = batches.random_batch(0)
  # The last two are alone: anchors without a positive.
  labels[-2:] = 8, 9
  terms = oracle(case, embeddings, labels)

  @jax.jit
  def every_reduction(embeddings, parameters):
    results = [
      loss_fn(case, embeddings, labels, parameters, reduction=reduction)
      for reduction in (*REDUCTIONS, "none")
    ]
    return [value for value, _ in results], results[0][1]

  losses, statistics = every_reduction(embeddings, parameters_of(case))
  for value, reduction in zip(losses, REDUCTIONS, strict=False):
    pairs = reference.masks(labels)[0].sum()
    expected = reduce(terms, reduction, pairs=pairs, anchors=12)
    np.testing.assert_allclose(value, expected, rtol=1e-5)
  each_anchor = [
    sum(value for anchor, value in terms if anchor == a) for a in range(12)
  ]
  np.testing.assert_allclose(losses[-1], each_anchor, rtol=1e-5, atol=1e-6)
  assert int(statistics["selected_triplets"]) == len(terms)
  assert int(statistics["active_triplets"]) == sum(v > 0 for _, v in terms)
  idle = set(range(12)) - {anchor for anchor, _ in terms}
  np.testing.assert_allclose(
    statistics["idle_anchors"], len(idle) / 12, rtol=1e-6
  )


# The gradient of the circle loss isn't that of its value: see the next test.
@pytest.mark.parametrize("case", [case for case in CASES if case != "circle"])
def test_gradients_equal_finite_differences(case):
  embeddings, labels = batches.random_batch(2)
  with jax.enable_x64(True):
    parameters = {
      k: jnp.asarray(v, jnp.float64) for k, v in CASES[case][1].items()
    }
    # Small steps, so that no term becomes active.
    check_grads(
      jax.jit(lambda x, parameters: loss_fn(case, x, labels, parameters)[0]),
      (jnp.asarray(embeddings, jnp.float64), parameters),
      order=1,
      modes=["rev"],
      eps=1e-6,
      atol=1e-4,
      rtol=1e-4,
    )


def test_the_weights_of_the_circle_loss_are_constants_to_its_gradient():
  embeddings, labels = batches.random_batch(2)
  _, _, (by_embeddings, by_parameters) = evaluate("circle", embeddings, labels)
  masks = reference.masks(labels)
  margin, gamma = CASES["circle"][1].values()
  weights_of = distances("circle", embeddings), margin

  def mean(x, margin=margin, gamma=gamma):
    d = distances("circle", x)
    terms = ORACLES["circle"](
      d, *masks, margin=margin, gamma=gamma, weights_of=weights_of
    )
    return np.mean([value for _, value in terms])

  def slope(function):
    return (function(1e-6) - function(-1e-6)) / 2e-6

  for place in np.ndindex(3, 5):
    one = np.zeros((12, 5))
    one[place] = 1
    expected = slope(lambda step, one=one: mean(embeddings + step * one))
    np.testing.assert_allclose(by_embeddings[place], expected, rtol=1e-4)
  expected = {
    "margin": slope(lambda step: mean(embeddings, margin=margin + step)),
    "gamma": slope(lambda step: mean(embeddings, gamma=gamma + step)),
  }
  close(by_parameters, expected, rtol=1e-4)


@pytest.mark.parametrize("batch", list(batches.awkward_batches()))
@pytest.mark.parametrize("case", CASES)
def test_awkward_batches_have_a_finite_loss_and_gradient(case, batch):
  embeddings, labels = batches.awkward_batches()[batch]
  loss, statistics, gradients = evaluate(case, embeddings, labels)
  assert np.isfinite(loss)
  assert all(np.isfinite(g).all() for g in jax.tree.leaves(gradients))
  assert not statistics["loss_at_margin"]
  needs_both = case not in (
    "contrastive",
    "margin",
    "margin, of each identity",
    "multi_similarity",
    "sup_con",
  )
  alone = batch == "one image each" and case == "sup_con"
  if alone or (needs_both and batch in ("one identity", "one image each")):
    assert loss == statistics["selected_triplets"] == 0
    assert not any(np.any(g) for g in jax.tree.leaves(gradients))


@pytest.mark.parametrize("case", CASES)
def test_an_empty_batch_costs_nothing(case):
  embeddings, labels = batches.random_batch(3)
  loss, statistics, gradients = evaluate(
    case, embeddings, labels, where=np.zeros(12, bool)
  )
  assert loss == statistics["selected_triplets"] == 0
  assert not any(np.any(g) for g in jax.tree.leaves(gradients))


@pytest.mark.parametrize("case", CASES)
def test_masking_equals_deletion_even_where_padding_is_nan(case):
  embeddings, labels = batches.random_batch(3)
  padded = embeddings.copy()
  padded[9:] = np.nan
  loss, statistics, gradients = evaluate(
    case, padded, labels, where=np.arange(12) < 9
  )
  expected = evaluate(case, embeddings[:9], labels[:9])
  by_embeddings, by_parameters = gradients
  close((loss, statistics), expected[:2])
  close((by_embeddings[:9], by_parameters), expected[2])
  assert not by_embeddings[9:].any()


@pytest.mark.parametrize("case", CASES)
def test_the_order_of_the_examples_does_not_matter(case):
  embeddings, labels = batches.random_batch(4)
  order = np.random.default_rng(0).permutation(12)
  loss, statistics, gradients = evaluate(case, embeddings, labels)
  moved = evaluate(case, embeddings[order], labels[order])
  close(moved[:2], (loss, statistics))
  close(moved[2], (gradients[0][order], gradients[1]))


@pytest.mark.parametrize("alone", [False, True])
@pytest.mark.parametrize("case", CASES)
def test_a_nan_that_is_not_padding_is_never_hidden(case, alone):
  embeddings, labels = batches.random_batch(3)
  embeddings[4] = np.nan
  if alone:
    # An anchor with no positive: in some losses it is in no term of its own.
    labels[4] = 9
  loss, _, gradients = evaluate(case, embeddings, labels)
  assert np.isnan(loss)
  assert np.isnan(gradients[0]).any()


@pytest.mark.parametrize("case", CASES)
def test_bfloat16_embeddings_are_compared_in_float32(case):
  embeddings, labels = batches.random_batch(5)
  rough = jnp.asarray(embeddings).astype(jnp.bfloat16)
  arguments = rough, labels, parameters_of(case)
  loss = jax.jit(lambda *arguments: loss_fn(case, *arguments)[0])(*arguments)
  expected, _, _ = evaluate(case, rough.astype(jnp.float32), labels)
  assert loss.dtype == jnp.float32
  np.testing.assert_allclose(loss, expected, rtol=1e-6)
  _, gradients = jax.eval_shape(jitted(case), *arguments)
  assert gradients[0].dtype == jnp.bfloat16
  assert all(g.dtype == jnp.float32 for g in gradients[1].values())


@pytest.mark.parametrize("case", CASES)
def test_vmap_equals_a_loop_over_batches_and_hyperparameters(case):
  scales = np.array([0.8, 1.0, 1.2], np.float32)
  # No positives at all in the last: a mask that is empty in one of the lanes.
  some = [batches.random_batch(i) for i in range(3)]
  some[2] = (some[2][0], np.arange(12, dtype=np.int32))
  loss = functools.partial(loss_fn, case)
  together = jax.jit(
    jax.vmap(
      jax.value_and_grad(
        lambda x, labels, parameters: loss(x, labels, parameters)[0], (0, 2)
      )
    )
  )(
    jnp.stack([x for x, _ in some]),
    jnp.stack([labels for _, labels in some]),
    jax.tree.map(
      lambda *values: jnp.stack(values),
      *(parameters_of(case, scale) for scale in scales),
    ),
  )
  for i, (embeddings, labels) in enumerate(some):
    alone = evaluate(case, embeddings, labels, scale=scales[i])
    close(jax.tree.map(lambda x, i=i: x[i], together), (alone[0], alone[2]))


@pytest.mark.parametrize("case", CASES)
def test_one_compilation_serves_every_value_of_the_hyperparameters(case):
  embeddings, labels = batches.random_batch(6)
  first, _, _ = evaluate(case, embeddings, labels)
  compiled = jitted(case)._cache_size()
  second, _, _ = evaluate(case, embeddings, labels, scale=1.5)
  assert jitted(case)._cache_size() == compiled
  assert first != second or case == "n_pair"


@pytest.mark.parametrize(
  "backend", ["pmap", pytest.param("shard_map", marks=pytest.mark.slow)]
)
@pytest.mark.parametrize("case", CASES)
def test_four_devices_equal_one_in_value_gradient_and_statistics(case, backend):
  embeddings, labels = batches.random_batch(7)
  where = np.arange(12) != 5
  expected = evaluate(case, embeddings, labels, where)

  def share(parameters, embeddings, labels, where):
    def loss(x, parameters):
      return loss_fn(
        case, x, labels, parameters, where, axis_name=parallel.AXIS
      )

    value, gradients = jax.value_and_grad(loss, (0, 1), has_aux=True)(
      embeddings, parameters
    )
    return *value, (gradients[0], jax.lax.psum(gradients[1], parallel.AXIS))

  run = parallel.data_parallel(
    share, parallel.local_devices()[:4], replicated=(0,), backend=backend
  )
  loss, statistics, gradients = run(
    parameters_of(case), *parallel.shard((embeddings, labels, where), 4)
  )
  for device in range(4):
    here = jax.tree.map(
      lambda x, i=device: x[i], (loss, statistics, gradients[1])
    )
    # A parameter that the devices share: its gradient is their mean.
    mean = jax.tree.map(lambda x: x / 4, here[2])
    close((*here[:2], mean), (*expected[:2], expected[2][1]))
  # Every device holds the loss of all, so that an example's gradient is 4-fold.
  close(gradients[0].reshape(12, 5) / 4, expected[2][0])


@pytest.mark.parametrize("case", CASES)
def test_blocks_of_rows_equal_the_whole(case, monkeypatch):
  embeddings, labels = batches.random_batch(8, count=24)
  where = np.arange(24) != 5
  whole = evaluate(case, embeddings, labels, where)
  monkeypatch.setattr(rows, "WHOLE", 0)
  monkeypatch.setattr(rows, "BLOCKS", ((8, 2**20),))
  assert rows.block_rows(24, 24) == 8
  # Not the cached function, which holds what was compiled for the whole.
  (loss, statistics), gradients = jax.jit(jitted(case).__wrapped__)(
    jnp.asarray(embeddings), labels, parameters_of(case), where
  )
  close((loss, statistics, gradients), whole)


@pytest.mark.parametrize("case", CASES)
def test_rows_against_given_references_add_up_to_the_whole(case):
  embeddings, labels = batches.random_batch(8)
  ids = np.arange(12, dtype=np.int32)

  @jax.jit
  def part(anchors, anchor_labels, anchor_ids):
    return loss_fn(
      case,
      anchors,
      anchor_labels,
      parameters_of(case),
      reduction="sum",
      references=embeddings,
      reference_labels=labels,
      ids=anchor_ids,
      reference_ids=ids,
    )[0]

  parts = [
    part(embeddings[half], labels[half], ids[half])
    for half in (slice(0, 6), slice(6, 12))
  ]
  whole = sum(value for _, value in oracle(case, embeddings, labels))
  np.testing.assert_allclose(sum(parts), whole, rtol=1e-5)


@pytest.mark.parametrize("case", CASES)
def test_precomputed_distances_cost_what_their_embeddings_do(case):
  embeddings, labels = batches.random_batch(9)
  where = np.arange(12) < 9
  expected, _, (_, by_parameters) = evaluate(case, embeddings, labels, where)
  given = distances(case, embeddings).astype(np.float32)
  # Columns of padding may hold anything.
  given[:, 9:] = np.nan

  @jax.jit
  def value_and_gradients(given, parameters):
    return jax.value_and_grad(
      lambda d, parameters: loss_fn(
        case, d, labels, parameters, where, distance="precomputed"
      )[0],
      argnums=(0, 1),
    )(given, parameters)

  loss, gradients = value_and_gradients(given, parameters_of(case))
  np.testing.assert_allclose(loss, expected, rtol=1e-5)
  close(gradients[1], by_parameters)
  assert np.isfinite(gradients[0]).all()


@pytest.mark.parametrize("name", [name for name in LOSSES if name != "triplet"])
def test_every_argument_beside_the_arrays_is_a_keyword_with_a_default(name):
  signature = inspect.signature(LOSSES[name])
  kinds = [parameter.kind for parameter in signature.parameters.values()]
  assert kinds[:2] == [inspect.Parameter.POSITIONAL_OR_KEYWORD] * 2
  assert kinds[-1] == inspect.Parameter.VAR_KEYWORD
  assert set(kinds[2:-1]) == {inspect.Parameter.KEYWORD_ONLY}
  embeddings, labels = batches.random_batch(0)
  key = jax.random.key(0)
  loss, _ = jax.eval_shape(lambda: LOSSES[name](embeddings, labels, key=key))
  assert loss.shape == ()


EMBEDDINGS, LABELS = batches.random_batch(0)


@pytest.mark.parametrize("name", [name for name in LOSSES if name != "triplet"])
@pytest.mark.parametrize(
  ("keywords", "error", "message"),
  [
    ({"labels": LABELS[:-1]}, ValueError, r"labels of shape \[12\]"),
    ({"embeddings": LABELS[:, None]}, TypeError, "embeddings to be floating"),
    ({"reduction": "median"}, ValueError, "sum, mean, mean_active"),
    ({"distance": "l3"}, ValueError, "squared_euclidean, euclidean, cosine"),
    ({"references": EMBEDDINGS}, ValueError, "only one of them"),
    ({"where": LABELS}, TypeError, "where to be boolean"),
    ({"wher": LABELS > 0}, TypeError, "unexpected keyword argument 'wher'"),
    ({"each_pair_once": True}, TypeError, "'each_pair_once'"),
    ({"at_margin": abs}, TypeError, "'at_margin'"),
  ],
)
def test_bad_input(name, keywords, error, message):
  arguments = {"embeddings": EMBEDDINGS, "labels": LABELS} | keywords
  with pytest.raises(error, match=message):
    jax.eval_shape(lambda: LOSSES[name](**arguments))


@pytest.mark.parametrize(
  ("name", "hyperparameter"),
  sorted({(loss, key) for loss, keys, _ in CASES.values() for key in keys}),
)
def test_a_hyperparameter_that_is_no_scalar_is_named(name, hyperparameter):
  with pytest.raises(ValueError, match=f"{hyperparameter} to be a scalar"):
    LOSSES[name](EMBEDDINGS, LABELS, **{hyperparameter: np.ones((3, 1))})


@pytest.mark.parametrize(
  ("name", "keywords"), [("margin", {}), ("mined_margin", {"miner": "all"})]
)
@pytest.mark.parametrize("label", [-1, 5])
def test_a_label_without_a_beta_is_never_hidden(label, name, keywords):
  labels = np.where(LABELS == 2, np.int32(label), LABELS)
  loss, _ = LOSSES[name](EMBEDDINGS, labels, beta=jnp.ones(5), **keywords)
  assert np.isnan(loss)
