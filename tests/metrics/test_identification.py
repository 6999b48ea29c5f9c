import numpy as np
import pytest

from tests.metrics import oracles
from tests.metrics.test_retrieval import integer_data
from tripletjax.metrics import blocks, episodes, identification, one_shot

FPIR = (("1e-01", 0.1), ("0.25", 0.25), ("1e-03", 1e-3))


def matrix_of(query, gallery):
  return ((query[:, None] - gallery[None]) ** 2).sum(-1).astype(float)


@pytest.mark.parametrize("seed", range(3))
def test_equals_the_oracle(monkeypatch, seed):
  monkeypatch.setattr(blocks, "TILE", 64)
  points, labels = integer_data(seed, 240, 9)
  query, gallery = points[:100], points[100:]
  query_labels, gallery_labels = labels[:100].copy(), labels[100:]
  query_labels[:40] += 1000  # strangers
  want = oracles.identification(
    matrix_of(query, gallery),
    query_labels.tolist(),
    gallery_labels.tolist(),
    ranks=(1, 3),
    fpir=FPIR,
  )
  got = identification(
    gallery,
    gallery_labels,
    query,
    query_labels,
    ranks=(1, 3),
    fpir=[rate for _, rate in FPIR],
  )
  assert got == pytest.approx(want, nan_ok=True)


def test_within_a_set_a_single_image_is_a_stranger():
  points, labels = integer_data(4, 120, 9)
  labels[:20] = np.arange(500, 520)
  matrix = matrix_of(points, points)
  np.fill_diagonal(matrix, np.inf)
  want = oracles.identification(
    matrix, labels.tolist(), labels.tolist(), ranks=(1,), fpir=FPIR
  )
  got = identification(
    points, labels, ranks=(1,), fpir=[rate for _, rate in FPIR]
  )
  assert want["unknown_queries"] >= 20
  assert got == pytest.approx(want, nan_ok=True)


def test_by_hand():
  people = np.array([[0.0], [10.0], [20.0]])
  known, of_known = np.array([[1.0], [14.0], [16.0]]), np.array([0, 1, 1])
  strangers = np.array([[3.0], [12.0], [25.0], [22.5]])  # 3, 2, 5, 2.5
  got = identification(
    people,
    np.arange(3),
    np.concatenate([known, strangers]),
    np.concatenate([of_known, [7, 8, 9, 10]]),
    distance="euclidean",
    ranks=(1, 2),
    fpir=(0.25, 0.5, 0.75),
  )
  # 16 is 4 from the third person and 6 from its own, the second.
  assert (got["rank@1"], got["rank@2"]) == (2 / 3, 1)
  # One stranger of four accepted: thresholds below 2.5 accept the one at 1;
  # two: below 3; three: below 5 accept the one at 4 as well.
  assert got["tpir@fpir=0.25"] == pytest.approx(1 / 3)
  assert got["tpir@fpir=5e-01"] == pytest.approx(1 / 3)
  assert got["tpir@fpir=0.75"] == pytest.approx(2 / 3)
  assert (got["known_queries"], got["unknown_queries"]) == (3, 4)


def test_what_cannot_be_measured_is_nan():
  points = np.random.default_rng(0).normal(size=(20, 3))
  labels = np.arange(20) // 2
  got = identification(points, labels, resamples=50)
  assert np.isnan(got["tpir@fpir=1e-02"])  # no stranger
  assert got["rank@1_low"] <= got["rank@1"] <= got["rank@1_high"]
  strangers = identification(points, labels, points, labels + 100)
  assert np.isnan(strangers["rank@1"])
  points[3] = np.nan
  assert np.isnan(identification(points, labels)["rank@10"])


@pytest.mark.parametrize(
  ("match", "arguments"),
  [
    ("expected ranks from 1 to 3, the number of id", {"ranks": (4,)}),
    (r"expected fpir in \(0, 1\), got 1", {"fpir": (1.0,)}),
    ("together", {"query": np.zeros((3, 2), np.float32)}),
  ],
)
def test_errors(match, arguments):
  points = np.zeros((3, 2), np.float32)
  with pytest.raises(ValueError, match=match):
    identification(points, np.arange(3), **{"ranks": (1,)} | arguments)


@pytest.mark.parametrize("seed", range(3))
def test_one_shot_equals_the_oracle(seed):
  points, labels = integer_data(seed, 60, 6)
  support, query = slice(None, 20), slice(20, None)
  want = oracles.one_shot_error(
    matrix_of(points[query], points[support]),
    labels[query].tolist(),
    labels[support].tolist(),
  )
  got = one_shot(points[support], labels[support], points[query], labels[query])
  assert got["one_shot_error"] == pytest.approx(want)


def test_one_shot_of_nothing_or_nan_is_nan():
  points, labels = np.zeros((2, 2), np.float32), np.arange(2)
  empty = one_shot(points, labels, points[:0], labels[:0])
  assert np.isnan(empty["one_shot_error"])
  broken = one_shot(points, labels, points * np.nan, labels)
  assert np.isnan(broken["one_shot_error"])
  with pytest.raises(ValueError, match="support with 2 dimensions like query"):
    one_shot(points[:, :1], labels, points, labels)


def test_episodes_of_a_collapsed_space_are_guesses():
  got = episodes(np.zeros((40, 2), np.float32), np.arange(40) // 4, ways=5)
  assert got["one_shot_error"] == pytest.approx(4 / 5)
  assert got["one_shot_error_stderr"] == pytest.approx(0, abs=1e-12)


def test_episodes_are_drawn_as_they_say():
  # An image is its number; a distance that sees all that is compared.
  seen = []

  def distance(x, y):
    seen.append((x.shape[0], y.shape[0]))
    return abs(x - y.T)

  labels = np.arange(60) // 6
  points = np.arange(60, dtype=np.float32)[:, None]
  points += 100 * labels[:, None]
  got = episodes(
    points, labels, distance=distance,
    ways=4, shots=2, queries=3, episodes=5,
  )  # fmt: skip
  assert seen == [(4 * 3, 4 * 2)]  # one compilation
  assert got["one_shot_error"] == 0


def test_episodes_stay_within_a_group():
  # Between groups nothing is mistaken, within one everything is a guess.
  groups = np.arange(80) // 40
  labels = np.arange(80) // 4
  points = np.stack([groups * 9.0, np.zeros(80)], axis=1).astype(np.float32)
  got = episodes(points, labels, ways=10, groups=groups)
  assert got["one_shot_error"] == pytest.approx(9 / 10)
  mixed = episodes(points, labels, ways=10)
  assert mixed["one_shot_error"] < 9 / 10
  # 11 identities are in no group.
  none = episodes(points, labels, ways=11, groups=groups)
  assert np.isnan(list(none.values())).all()


def test_the_interval_of_episodes():
  rng = np.random.default_rng(0)
  points, labels = rng.normal(size=(100, 2)), np.arange(100) // 5
  got = episodes(points, labels, ways=5, episodes=200, seed=3)
  assert got == episodes(points, labels, ways=5, episodes=200, seed=3)
  assert got != episodes(points, labels, ways=5, episodes=200, seed=4)
  # Of five answers each, nearly all of them guesses.
  stderr = (0.8 * 0.2 / 5 / 200) ** 0.5
  assert got["one_shot_error_stderr"] == pytest.approx(stderr, rel=0.3)
  half = (got["one_shot_error_high"] - got["one_shot_error_low"]) / 2
  assert half == pytest.approx(1.96 * got["one_shot_error_stderr"])
  with pytest.raises(ValueError, match="expected ways of at least 2, got 1"):
    episodes(points, labels, ways=1)
