"""The pictures of an evaluation, drawn from files; a picture is a square."""

import numpy as np
import pytest
from PIL import Image

from tests.report.fakes import evaluation_arrays, squares
from tests.report.test_pictures import evaluation, near, pixels, texts
from tripletjax.errors import UserError
from tripletjax.report import rates, worst_pairs
from tripletjax.report.canvas import GREEN, INK, RED, is_ink, tile
from tripletjax.report.confusion import confusion, draw_confusion
from tripletjax.report.evaluation import draw_evaluation
from tripletjax.report.evaluation_files import (
  ImagePairs,
  WorstPairs,
  read_curves,
  read_worst_pairs,
)
from tripletjax.report.files import read_evaluation
from tripletjax.report.neighbours import draw_neighbours
from tripletjax.report.scores import format_score, scores_table

NAN = float("nan")


def curve_arrays(shift=0.0, **changes):
  """One representation whose curve goes through (.25, .75 + shift)."""
  return {
    "far": np.array([0.0, 0.25, 1.0]),
    "tar": np.array([0.0, 0.75 + shift, 1.0]),
    "edges": np.array([0.0, 1.0, 2.0]),
    "same": np.array([3, 1]),
    "different": np.array([2, 6]),
    "tar_at": np.array([[0.1, NAN], [0.25, 0.75 + shift]]),
    "recall_at": np.array([[1, 0.5 + shift], [2, 0.75 + shift]]),
    "threshold": np.array(1.25),
    "auc": np.array(0.8 + shift),
    "eer": np.array(0.25 - shift),
    "distance": np.array("squared_euclidean"),
  } | changes


def curves_arrays(**spaces):
  spaces = spaces or {"untrained": curve_arrays(), "trained": curve_arrays(0.1)}
  return {"drawn": np.array(12), "of": np.array(12)} | {
    f"{space}/{name}": array
    for space, arrays in spaces.items()
    for name, array in arrays.items()
  }


def worst_arrays(accepts=2, rejects=1):
  arrays = {"threshold": np.array(0.5)}
  for kind, count, distance in (
    ("accept", accepts, 0.25),
    ("reject", rejects, 0.75),
  ):
    names = np.array(["U+0561"] * count, "U6")
    arrays |= {
      f"{kind}_first": squares(count),
      f"{kind}_second": squares(count),
      f"{kind}_first_labels": names,
      f"{kind}_second_labels": np.array(["$x^{"] * count, "U6")
      if kind == "accept"
      else names,
      f"{kind}_distances": np.full(count, distance, np.float32),
    }
  return arrays


def write_all(folder):
  np.savez(folder / "evaluation.npz", **evaluation_arrays())
  np.savez(folder / "curves.npz", **curves_arrays())
  np.savez(folder / "worst_pairs.npz", **worst_arrays())


def curves_of(tmp_path, **spaces):
  np.savez(tmp_path / "curves.npz", **curves_arrays(**spaces))
  return read_curves(tmp_path / "curves.npz")


def test_all_pictures(tmp_path):
  write_all(tmp_path)
  drawn = draw_evaluation(tmp_path)
  assert [path.name for path in drawn] == [
    "roc.png",
    "distances.png",
    "recall.png",
    "confusion.png",
    "worst_pairs.png",
    "neighbours.png",
    "embedding.png",
  ]
  assert all(path.parent == tmp_path / "pictures" for path in drawn)
  with Image.open(drawn[0]) as image:
    assert image.size == (1100, 480)


def test_pictures_of_an_earlier_evaluation_go(tmp_path):
  write_all(tmp_path)
  (tmp_path / "evaluation.npz").unlink()
  (tmp_path / "pictures").mkdir()
  for name in ("recall", "neighbours", "embedding", "confusion"):
    (tmp_path / "pictures" / f"{name}.png").touch()
  unranked = curve_arrays(recall_at=np.zeros((0, 2)))
  np.savez(tmp_path / "curves.npz", **curves_arrays(trained=unranked))
  names = ["roc.png", "distances.png", "worst_pairs.png"]
  assert [path.name for path in draw_evaluation(tmp_path)] == names
  left = {path.name for path in (tmp_path / "pictures").iterdir()}
  assert left == set(names)
  with pytest.raises(UserError, match="expected a folder"):
    draw_evaluation(tmp_path / "nowhere")


@pytest.mark.parametrize(
  ("name", "arrays", "match"),
  [
    ("curves", {"drawn": np.array(1)}, "array 'of'"),
    ("curves", {"drawn": np.array(1), "of": np.array(1)}, "got none"),
    (
      "curves",
      curves_arrays(trained=curve_arrays(tar=np.zeros(2))),
      r"trained/tar of dtype float and shape \(3\)",
    ),
    ("worst_pairs", worst_arrays() | {"threshold": np.array("x")}, "threshold"),
    (
      "worst_pairs",
      worst_arrays() | {"reject_distances": np.zeros(5)},
      r"reject_distances .* shape \(1\)",
    ),
    (
      "evaluation",
      evaluation_arrays() | {"nearest": np.zeros((12, 2), int)},
      "array 'queries'",
    ),
  ],
)
def test_a_broken_file_is_named(tmp_path, name, arrays, match):
  write_all(tmp_path)
  np.savez(tmp_path / f"{name}.npz", **arrays)
  with pytest.raises(UserError, match=f"{name}.npz: .*{match}") as caught:
    draw_evaluation(tmp_path)
  assert "\n" not in str(caught.value)


def legend(axes):
  return [text.get_text() for text in axes.get_legend().get_texts()]


def test_the_roc_goes_through_its_operating_points(tmp_path):
  figure = rates.draw_roc(curves_of(tmp_path))
  roc, det = figure.axes
  assert roc.get_xscale() == "log"
  assert legend(roc) == [
    "chance",
    "untrained, AUC 0.800",
    "trained, AUC 0.900",
  ]
  assert legend(det) == ["untrained, EER 25.0%", "trained, EER 15.0%"]
  dots = [line for line in roc.lines if line.get_marker() == "o"]
  # The rate that couldn't be measured has no dot.
  assert [line.get_xydata().tolist() for line in dots] == [
    [[0.25, 0.75]],
    [[0.25, 0.85]],
  ]
  assert "0.850" in texts(figure)
  curve = det.lines[0].get_xydata()
  np.testing.assert_allclose(curve, [[0.25, 0.25]])


def test_histograms_sum_to_one_and_show_the_threshold(tmp_path):
  figure = rates.draw_distances(curves_of(tmp_path))
  assert [axes.get_title() for axes in figure.axes] == ["untrained", "trained"]
  axes = figure.axes[0]
  assert axes.get_xlabel() == "distance (squared euclidean)"
  assert legend(axes) == [
    "same, 4 pairs",
    "different, 8 pairs",
    "threshold 1.25",
  ]
  shares = [patch.get_data().values.tolist() for patch in axes.patches]
  assert shares == [[0.75, 0.25], [0.25, 0.75]]


def test_recall_over_k(tmp_path):
  axes = rates.draw_recall(curves_of(tmp_path)).axes[0]
  assert [line.get_xydata().tolist() for line in axes.lines] == [
    [[1, 0.5], [2, 0.75]],
    [[1, 0.6], [2, 0.85]],
  ]
  assert legend(axes)[1] == "trained, recall@1 0.600"


def test_what_was_not_measured_leaves_no_curve(tmp_path):
  nothing = curve_arrays(
    far=np.zeros(0),
    tar=np.zeros(0),
    same=np.zeros(2, int),
    tar_at=np.zeros((0, 2)),
    recall_at=np.array([[1, NAN]]),
    **{name: np.array(NAN) for name in ("threshold", "auc", "eer")},
  )
  curves = curves_of(tmp_path, trained=nothing)
  for draw in (rates.draw_roc, rates.draw_distances, rates.draw_recall):
    assert pixels(draw(curves)).ndim == 3


def test_curves_of_a_part_say_so(tmp_path):
  part = {"drawn": np.array(10), "of": np.array(1200)}
  np.savez(tmp_path / "curves.npz", **curves_arrays() | part)
  figure = rates.draw_roc(read_curves(tmp_path / "curves.npz"))
  assert "10 images drawn from 1,200" in figure.get_supxlabel()


def test_confusion_counts_shares_of_the_queries():
  # Nearest: 0 and 8 are each other's; the other eleven are right. So of the
  # four queries of class 0, and of class 2, one is taken for the other.
  shares, chosen = confusion(evaluation())
  assert chosen.tolist() == [0, 2]
  np.testing.assert_allclose(shares, [[0.75, 0.25], [0.25, 0.75]])
  figure = draw_confusion(evaluation())
  assert texts(figure).count("25") == 2
  assert pixels(figure).ndim == 3


def test_no_confusion_says_so():
  data = evaluation()
  apart = (data.labels[:, None] == np.arange(3)).astype(np.float32)
  figure = draw_confusion(data._replace(embeddings=apart))
  assert "no query's nearest is of another identity" in texts(figure)


def test_at_most_16_identities_are_shown():
  rng = np.random.default_rng(0)
  labels = np.arange(200, dtype=np.int32) % 40
  data = evaluation(
    embeddings=rng.normal(size=(200, 2)).astype(np.float32),
    labels=labels,
    label_names=np.array([str(i) for i in range(40)]),
    images=squares(200),
  )
  shares, chosen = confusion(data)
  assert 15 <= len(chosen) <= 16
  assert len(set(chosen)) == len(chosen)
  assert shares.sum(axis=1).max() <= 1 + 1e-9


def test_neighbours_in_a_gallery_are_those_of_the_file(tmp_path):
  # Only 0 and 5 ask, in a gallery of 8 and 9; 0 finds 8 of class 2: wrong.
  found = {
    "queries": np.array([0, 5]),
    "nearest": np.array([[8, 9], [9, 8]]),
    "nearest_distances": np.array([[0.125, 2.0], [3.0, 4.0]]),
    "distance": np.array("cosine"),
  }
  np.savez(tmp_path / "evaluation.npz", **evaluation_arrays() | found)
  data = read_evaluation(tmp_path / "evaluation.npz")
  said = texts(draw_neighbours(data))
  assert "(0.0% of the queries that have a match)" in said
  assert "cosine distance below" in said
  assert "0.125" in said
  assert confusion(data)[1].tolist() == [0, 2, 1]


def test_worst_pairs_are_framed_by_the_threshold(tmp_path):
  np.savez(tmp_path / "worst_pairs.npz", **worst_arrays())
  data = read_worst_pairs(tmp_path / "worst_pairs.npz")
  figure = worst_pairs.draw_worst_pairs(data)
  image, half = pixels(figure), worst_pairs.TILE // 2
  top = worst_pairs.TOP + worst_pairs.HEADING
  left = worst_pairs.LEFT
  assert near(image[top + 1, left + half], RED)
  assert near(image[top + half, left + half], INK)
  # A same pair at .75 is rejected by .5, but not by 1.
  row = top + worst_pairs.TILE + 52 + worst_pairs.HEADING
  assert near(image[row + 1, left + half], RED)
  right = worst_pairs.draw_worst_pairs(data._replace(threshold=1.0))
  assert near(pixels(right)[row + 1, left + half], GREEN)
  said = texts(figure)
  assert "U+0561 / $x^{" in said
  assert "0.250" in said
  assert "accepted up to the threshold of 0.500" in said


def test_no_worst_pairs_say_none():
  nothing = ImagePairs(
    *(squares(0), squares(0), *2 * [np.zeros(0, "U1")], np.zeros(0))
  )
  figure = worst_pairs.draw_worst_pairs(WorstPairs(nothing, nothing, NAN))
  assert texts(figure).count("none") == 2


def test_ink_is_black_on_white_and_a_photograph_is_itself():
  ink = squares(1)[0]
  assert is_ink(ink)
  shown = tile(ink, 8)
  np.testing.assert_allclose(shown[0, 0], 1)
  assert near(255 * shown[4, 4], INK)
  gray = np.full((8, 8, 1), 153, np.uint8)
  color = np.zeros((8, 8, 3), np.uint8)
  color[:, :, 2] = 51
  assert not is_ink(gray)
  assert not is_ink(color)
  np.testing.assert_allclose(tile(gray, 6), 0.6, atol=1e-6)
  np.testing.assert_allclose(tile(color, 6)[3, 3], [0, 0, 0.2], atol=1e-6)


def test_the_table_has_intervals_and_reasons():
  trained = {
    "map": 0.5, "map_low": 0.25, "map_high": 0.75,
    "accuracy": 0.875, "accuracy_stderr": 0.0625,
    "tar@far=1e-06": None, "queries": 1234.0,
  }  # fmt: skip
  summary = {
    "raw_pixels": trained | {"accuracy": NAN, "recall@1": 1.0},
    "trained": trained,
    "not_measurable": {"tar@far=1e-06": "not measurable with 9 pairs"},
  }
  rows = [
    [cell.strip() for cell in line.split("|")[1:-1]]
    for line in scores_table(summary).splitlines()
    if line.startswith("|")
  ]
  assert [rows[0], *rows[2:]] == [
    ["", "raw pixels", "trained"],
    ["map", *2 * ["0.500 [0.250, 0.750]"]],
    ["accuracy", "-", "0.875 ± 0.062"],
    ["tar@far=1e-06", "-", "-"],
    ["queries", "1,234", "1,234"],
    ["recall@1", "1.000", "-"],
  ]
  assert scores_table(summary).endswith(
    "\ntar@far=1e-06: not measurable with 9 pairs"
  )
  assert format_score({"same_pairs": 10.0}, "same_pairs") == "10"
  assert format_score({"ari": -1e-9}, "ari") == "0.000"
