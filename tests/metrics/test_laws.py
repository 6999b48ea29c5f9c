"""What holds for every entry of METRICS."""

import numpy as np
import pytest

from tripletjax.metrics import METRICS

# Keywords with which any small set can be measured, and the optimum.
KEYWORDS = {
  "retrieval": {"ks": (1,)},
  "verification": {"folds": 3, "far": (0.05,), "resamples": 20},
  "identification": {"ranks": (1, 2), "fpir": (0.1,)},
  "one_shot": {"ways": 3, "episodes": 30},
  # k-means begins where the order of the images says.
  "clustering": {"method": "agglomerative"},
  "space": {},
}
BEST = {
  "retrieval": {
    "recall@1": 1, "precision@1": 1, "r_precision": 1, "map@r": 1, "map": 1,
    "map_trapezoid": 1, "mrr": 1, "ndcg": 1, "queries_without_match": 2,
  },
  "verification": {"accuracy": 1, "auc": 1, "eer": 0, "tar@far=5e-02": 1},
  "identification": {"rank@1": 1, "rank@2": 1, "unknown_queries": 2},
  "one_shot": {"one_shot_error": 0, "one_shot_error_stderr": 0},
  "clustering": {
    "nmi": 1, "ami": 1, "ari": 1, "bcubed_f": 1, "pairwise_f": 1,
  },
  "space": {"overlap": 0},
}  # fmt: skip
# Drawn, so that they are the same in distribution only.
DRAWN = ("one_shot", "accuracy", "threshold", "_low", "_high", "_stderr")


def example(spread=1.0):
  """Five identities of six images, two of one: blobs far from each other."""
  rng = np.random.default_rng(0)
  labels = np.concatenate([np.repeat(np.arange(5), 6), [7, 9]])
  centres = 30 * np.eye(12)[:, :8] + 9 * rng.normal(size=(12, 8))
  points = centres[labels] + spread * rng.normal(size=(32, 8))
  return points.astype(np.float32), labels.astype(np.int32)


def measured(name, points, labels, **keywords):
  return METRICS[name](points, labels, **{**KEYWORDS[name], **keywords})


def certain(scores):
  return {
    key: value
    for key, value in scores.items()
    if not any(part in key for part in DRAWN)
  }


def test_all_entries_are_tested():
  assert KEYWORDS.keys() == BEST.keys() == METRICS.keys()


@pytest.mark.parametrize("name", METRICS)
def test_perfect_clusters_score_the_optimum(name):
  points, labels = example(spread=0.1)
  # The two single images are alone: they lie at their own centres.
  scores = measured(name, points, labels)
  for key, value in BEST[name].items():
    assert scores[key] == pytest.approx(value, abs=1e-9), key
  assert all(type(value) is float for value in scores.values())


@pytest.mark.parametrize("name", METRICS)
@pytest.mark.parametrize(
  "law", ["permutation", "relabelling", "isometry", "NumPy or JAX"]
)
def test_invariance(name, law):
  points, labels = example(spread=14)
  want = measured(name, points, labels)
  rng = np.random.default_rng(1)
  if law == "permutation":
    order = rng.permutation(len(labels))
    got = measured(name, points[order], labels[order])
  elif law == "relabelling":
    got = measured(name, points, (37 - 3 * labels.astype(np.int64)) * 2**40)
  elif law == "NumPy or JAX":
    import jax.numpy as jnp

    assert measured(name, jnp.asarray(points), labels) == pytest.approx(
      want, nan_ok=True
    )
    return
  else:
    turn, _ = np.linalg.qr(rng.normal(size=(8, 8)))
    got = measured(name, (points @ turn).astype(np.float32), labels)
  assert list(got) == list(want)
  assert certain(got) == pytest.approx(certain(want), rel=1e-4, nan_ok=True)
  for key in want.keys() - certain(want).keys():
    # Draws of another order of the same set.
    if key in ("accuracy", "one_shot_error"):
      assert abs(got[key] - want[key]) < 0.2, key


@pytest.mark.parametrize("name", METRICS)
def test_a_nan_is_never_hidden(name):
  points, labels = example()
  points[3, 2] = np.nan
  scores = measured(name, points, labels)
  counts = ("queries", "pairs", "clusters")
  for key, value in scores.items():
    if not any(part in key for part in counts) and name != "one_shot":
      assert np.isnan(value), key
  if name == "one_shot":
    # An episode that draws the image is nan, and with it the mean.
    scores = measured(name, points, labels, episodes=200)
    assert np.isnan(scores["one_shot_error"])


@pytest.mark.parametrize("name", METRICS)
def test_one_class_and_no_positive_pairs(name):
  points, _ = example()
  for labels in (np.zeros(32, int), np.arange(32)):
    keywords = {"ranks": (1,)} if name == "identification" else {}
    scores = measured(name, points, labels, **keywords)
    assert all(type(value) is float for value in scores.values())
    for key, value in scores.items():
      # Not a number, or one that is defined; never an infinity.
      assert not np.isinf(value), key
  none = {
    "retrieval": ("recall@1", "map@r", "map", "ndcg"),
    "verification": ("accuracy", "auc", "eer", "tar@far=5e-02"),
    "identification": ("rank@1", "tpir@fpir=1e-01"),
    "one_shot": ("one_shot_error",),
    "clustering": ("pairwise_f",),
    "space": ("alignment", "overlap"),
  }
  for key in none[name]:
    assert np.isnan(scores[key]), key


@pytest.mark.parametrize("name", METRICS)
def test_more_than_there_is(name):
  points, labels = example()
  too_many = {
    "retrieval": {"ks": (32,)},
    "identification": {"ranks": (8,)},
    "clustering": {"clusters": 33},
  }
  if name in too_many:
    with pytest.raises(ValueError, match=r"expected \w+ from 1 to \d+"):
      measured(name, points, labels, **too_many[name])
  fine = {
    "verification": {"folds": 1000},
    "one_shot": {"ways": 20},
    "space": {"neighbours": 1000},
  }
  if name in fine:
    measured(name, points, labels, **fine[name])


@pytest.mark.parametrize("name", METRICS)
@pytest.mark.parametrize(
  ("error", "points", "labels"),
  [
    (TypeError, np.zeros((4, 2), int), np.arange(4)),
    (ValueError, np.zeros(4, np.float32), np.arange(4)),
    (TypeError, np.zeros((4, 2), np.float32), np.arange(4.0)),
    (ValueError, np.zeros((4, 2), np.float32), np.arange(3)),
  ],
  ids=["integer", "flat", "floating labels", "fewer labels"],
)
def test_bad_input(name, error, points, labels):
  with pytest.raises(error, match=r"^expected .*, got "):
    measured(name, points, labels)


@pytest.mark.parametrize("name", METRICS)
def test_an_unknown_distance(name):
  with pytest.raises(ValueError, match="expected distance to be one of"):
    measured(name, *example(), distance="hamming")
