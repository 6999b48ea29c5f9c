"""All ways in which ranks are counted give the ranks of the slow loop."""

import numpy as np
import pytest
from sklearn import metrics as sklearn_metrics

from tests.metrics import oracles
from tests.metrics.test_retrieval import KS, close, ids, integer_data
from tripletjax.distances import DISTANCES
from tripletjax.metrics import blocks, intervals, ranks, retrieval

NAMED = "squared_euclidean"


def plain(x, y):
  """Not known to be symmetric: each pair is computed twice."""
  return DISTANCES[NAMED](x, y)


FORMS = {
  "each pair once": (NAMED, {}),
  "row by row": (plain, {}),
  "few own entries": (plain, {"OWN_ENTRIES": 64}),
  "sorted": (NAMED, {"COUNTED": 0}),
  "sorted in parts": (plain, {"COUNTED": 0, "SORTED_ENTRIES": 64 * 64}),
}


@pytest.fixture(params=list(FORMS), ids=str)
def distance(request, monkeypatch):
  distance, settings = FORMS[request.param]
  monkeypatch.setattr(blocks, "TILE", 64)
  for name, value in settings.items():
    monkeypatch.setattr(ranks, name, value)
  return distance


@pytest.mark.parametrize("seed", range(2))
def test_ties_duplicates_lone_queries_and_unbalanced_classes(distance, seed):
  points, labels = integer_data(seed, 200, 5)
  labels[1:30] = np.arange(100, 129)
  matrix = ((points[:, None] - points[None]) ** 2).sum(-1)
  want = oracles.retrieval(matrix, labels, labels, ks=KS, itself=True)
  assert want["queries_without_match"] >= 30
  close(retrieval(points, labels, ks=KS, distance=distance), want)


def test_query_and_gallery_with_cameras_and_ids(distance):
  points, labels = integer_data(7, 260, 6)
  rng = np.random.default_rng(7)
  cameras, images = rng.integers(0, 3, 260), np.arange(260)
  images[:90] = np.arange(90, 180)  # each query stands in the gallery too
  labels[:90] = labels[90:180]
  q, g = slice(None, 90), slice(90, None)
  matrix = ((points[q, None] - points[None, g]) ** 2).sum(-1)

  def excluded(i, j):
    same = labels[q][i] == labels[g][j]
    return same and (
      cameras[q][i] == cameras[g][j] or images[q][i] == images[g][j]
    )

  want = oracles.retrieval(
    matrix, labels[q], labels[g], ks=KS, excluded=excluded
  )
  got = retrieval(
    points[q],
    labels[q],
    points[g],
    labels[g],
    ks=KS,
    distance=distance,
    query_cameras=cameras[q],
    gallery_cameras=cameras[g],
    query_ids=images[q],
    gallery_ids=images[g],
  )
  close(got, want)


def test_a_collapsed_space_ranks_by_index(distance):
  labels = np.arange(150) % 10
  points = np.ones((150, 2), np.float32)
  want = oracles.retrieval(
    np.zeros((150, 150)), labels, labels, ks=KS, itself=True
  )
  close(retrieval(points, labels, ks=KS, distance=distance), want)


def test_a_nan_is_found_wherever_it_is(distance):
  points, labels = integer_data(0, 150, 4)
  labels[7] = 55  # nobody's match
  points[7] = np.nan
  got = retrieval(points, labels, ks=(1,), distance=distance)
  assert np.isnan([got["recall@1"], got["map"], got["ndcg"]]).all()


@pytest.mark.parametrize("scores", [["recall"], ["mrr", "precision@1"]])
@pytest.mark.parametrize("identities", [5, 2])  # 2: larger than a block
def test_the_first_match_alone(distance, scores, identities):
  points, labels = integer_data(3, 150, identities)
  whole = retrieval(points, labels, ks=KS, distance=distance)
  part = retrieval(points, labels, ks=KS, distance=distance, scores=scores)
  assert part == {name: whole[name] for name in part}
  assert {name.partition("@")[0] for name in part} >= {
    name.partition("@")[0] for name in scores
  }
  assert "map" not in part


@pytest.mark.parametrize("within", [(1,), (2, 70)], ids=str)
def test_scores_that_end_at_r_and_k(distance, within):
  points, labels = integer_data(4, 200, 5)
  labels[1:30] = np.arange(100, 129)
  scores = ["recall", "r_precision", "map@r"]
  whole = retrieval(points, labels, ks=within, distance=distance)
  part = retrieval(points, labels, ks=within, distance=distance, scores=scores)
  assert part == {name: whole[name] for name in part}
  assert "mrr" not in part
  points[150] = np.nan
  broken = retrieval(
    points, labels, ks=within, distance=distance, scores=scores
  )
  assert np.isnan([broken[f"recall@{within[0]}"], broken["map@r"]]).all()


def test_duplicates_of_floats_tie_exactly(monkeypatch):
  # The same two images have the same distance in whichever tile they meet.
  monkeypatch.setattr(blocks, "TILE", 64)
  rng = np.random.default_rng(0)
  half = rng.normal(size=(100, 9)).astype(np.float32)
  points = np.concatenate([half, half])
  labels = np.concatenate([np.arange(100) // 5, rng.integers(0, 20, 100)])
  matrix = ((half.astype(float)[:, None] - half[None]) ** 2).sum(-1)
  want = oracles.retrieval(
    np.tile(matrix, (2, 2)), labels, labels, ks=KS, itself=True
  )
  for distance in (NAMED, plain):
    close(retrieval(points, labels, ks=KS, distance=distance), want)


def test_scikit_learn_says_the_same():
  rng = np.random.default_rng(0)
  points = rng.normal(size=(60, 5)).astype(np.float32)
  labels = rng.integers(0, 6, 60)
  matrix = oracles.squared_euclidean(points, points)
  average, gain = [], []
  for i in range(60):
    others = np.arange(60) != i
    match = labels[others] == labels[i]
    score = -matrix[i][others]
    average.append(sklearn_metrics.average_precision_score(match, score))
    gain.append(sklearn_metrics.ndcg_score([match], [score]))
  got = retrieval(points, labels)
  assert got["map"] == pytest.approx(np.mean(average), rel=1e-9)
  assert got["ndcg"] == pytest.approx(np.mean(gain), rel=1e-9)


def test_a_gallery_on_disk_goes_by_blocks(tmp_path, monkeypatch):
  monkeypatch.setattr(blocks, "TILE", 64)
  points, labels = integer_data(2, 300, 9)
  np.save(tmp_path / "gallery.npy", points)
  gallery = np.load(tmp_path / "gallery.npy", mmap_mode="r")
  got = retrieval(points[:20], labels[:20], gallery, labels, ks=(1,))
  want = retrieval(points[:20], labels[:20], points, labels, ks=(1,))
  assert got == want


def test_intervals_are_over_identities():
  rng = np.random.default_rng(0)
  points = rng.normal(size=(120, 3)).astype(np.float32)
  labels = np.arange(120) // 6
  got = retrieval(points, labels, ks=(1,), resamples=500)
  again = retrieval(points, labels, ks=(1,), resamples=500)
  assert got == again
  for name in ("recall@1", "map@r", "ndcg"):
    assert got[f"{name}_low"] < got[name] < got[f"{name}_high"]


def test_an_interval_of_groups_is_as_wide_as_they_are_few():
  # Forty identities, right or wrong with all five images: forty draws.
  right = np.random.default_rng(0).random(40) < 0.5
  got = intervals.resampled_means(
    ["share"],
    np.repeat(right, 5)[:, None].astype(float),
    np.repeat(np.arange(40), 5),
    resamples=4000,
    seed=0,
  )
  share = right.mean()
  width = 2 * 1.96 * (share * (1 - share) / 40) ** 0.5
  assert got["share_high"] - got["share_low"] == pytest.approx(width, rel=0.1)
  assert got["share_low"] + got["share_high"] == pytest.approx(2 * share, 0.05)


@pytest.mark.parametrize(
  ("error", "match", "arguments"),
  [
    (ValueError, "expected scores of recall,", {"scores": ["map@5"]}),
    (TypeError, "query_cameras to be int", {"query_cameras": np.zeros(3)}),
    (ValueError, "query_ids of shape", {"query_ids": ids(0, 1)}),
    (ValueError, "expected gallery_ids where", {"gallery_ids": ids(0, 1, 2)}),
  ],
)
def test_errors(error, match, arguments):
  base = {
    "query": np.zeros((3, 2), np.float32), "query_labels": ids(0, 1, 1),
    "ks": (1,),
  }  # fmt: skip
  with pytest.raises(error, match=match):
    retrieval(**base | arguments)


@pytest.mark.slow
@pytest.mark.parametrize("images", [2, 7])
def test_tiles_as_large_as_they_are(images):
  # Three blocks of 1,024 and tiles of 256; a duplicate under another label
  # stands in each tile. Ranks by sorting whole rows, as `plain` counts them.
  rng = np.random.default_rng(images)
  half = rng.normal(size=(1200, 33)).astype(np.float32)
  points = np.concatenate([half, half, half[:300] + 1])
  labels = rng.permutation(len(points)) // images
  scores = ["recall", "map@r", "map", "mrr"]
  found = retrieval(points, labels, ks=KS, scores=scores)
  assert found == pytest.approx(
    retrieval(points, labels, ks=KS, scores=scores, distance=plain), abs=1e-12
  )
  first = retrieval(points, labels, ks=KS, scores=["recall", "mrr"])
  assert first == {name: found[name] for name in first}


def test_numbers_that_overflow_are_not_counted_blindly():
  points, labels = integer_data(1, 150, 5)
  points = points * np.float32(1e19)
  got = retrieval(points, labels, ks=KS)
  assert got == pytest.approx(
    retrieval(points, labels, ks=KS, distance=plain), nan_ok=True
  )
