import json
import subprocess
import sys

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from PIL import Image

from tests.report.fakes import evaluation_arrays, squares, triplet_arrays
from tripletjax.errors import UserError
from tripletjax.report import draw_pictures, embedding, neighbours, triplets
from tripletjax.report.canvas import (
  GREEN,
  INK,
  RED,
  blank,
  class_colors,
  ink_of,
  paste_ink,
)
from tripletjax.report.curves import draw_curves
from tripletjax.report.files import Evaluation, MinedTriplets

ALL = ["curves.png", "embedding.png", "neighbours.png", "triplets.png"]


def pixels(figure):
  """What the figure shows, `[H, W, 3]` uint8."""
  canvas = FigureCanvasAgg(figure)
  canvas.draw()
  return np.asarray(canvas.buffer_rgba())[:, :, :3]


def near(pixel, color):
  return np.abs(pixel / 255 - np.asarray(color)).max() < 0.02


def evaluation(**changes):
  return Evaluation(**{"groups": None} | evaluation_arrays() | changes)


def mined(count=5, **changes):
  arrays = triplet_arrays(count) | {"margin": 0.25, "miner": "batch_hard"}
  return MinedTriplets(**arrays | changes)


def texts(figure):
  found = [text.get_text() for text in figure.texts]
  for axes in figure.axes:
    found += [text.get_text() for text in axes.texts]
  return "\n".join(found)


def write_run(workdir):
  with (workdir / "metrics.jsonl").open("w") as file:
    for step in range(60):
      row = {"step": step, "loss": 1 / (step + 1), "active_share": 0.5}
      file.write(json.dumps(row) + "\n")
    row = {"step": 59, "eval/recall@1": 0.5, "eval/map@r": 0.25}
    file.write(json.dumps(row) + "\n")
  np.savez(workdir / "evaluation.npz", **evaluation_arrays())
  np.savez(workdir / "triplets.npz", **triplet_arrays())


def test_a_full_run_gives_all_pictures_twice_the_same(tmp_path):
  write_run(tmp_path)
  drawn = draw_pictures(tmp_path)
  assert drawn == [tmp_path / "pictures" / name for name in ALL]
  first = [path.read_bytes() for path in drawn]
  assert max(map(len, first)) < 400_000
  assert [path.read_bytes() for path in draw_pictures(str(tmp_path))] == first
  with Image.open(drawn[1]) as image:
    assert image.size[0] == embedding.SIDE
    assert image.convert("RGB").getpixel((0, 0)) == (255, 255, 255)
  with Image.open(drawn[0]) as image:
    assert image.size == (1320, 360)


def test_missing_files_skip_their_pictures(tmp_path):
  assert draw_pictures(tmp_path) == []
  assert not (tmp_path / "pictures").exists()
  np.savez(tmp_path / "triplets.npz", **triplet_arrays())
  assert draw_pictures(tmp_path) == [tmp_path / "pictures" / "triplets.png"]
  with pytest.raises(UserError, match="workdir: expected a folder"):
    draw_pictures(tmp_path / "nowhere")


@pytest.mark.parametrize(
  "name", ["metrics.jsonl", "evaluation.npz", "triplets.npz"]
)
def test_a_broken_file_is_named(tmp_path, name):
  (tmp_path / name).write_text("broken")
  with pytest.raises(UserError, match=name):
    draw_pictures(tmp_path)


def test_a_picture_that_cannot_be_written_is_a_line_and_leaves_nothing(
  tmp_path,
):
  # A full disk, as the system says it: files may grow to 100 bytes.
  code = (
    "import resource, sys\n"
    "from matplotlib.figure import Figure\n"
    "from tripletjax.report.canvas import save_figure\n"
    "from tripletjax.errors import UserError\n"
    "import pathlib, signal\n"
    "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
    "resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))\n"
    "try: save_figure(Figure(), pathlib.Path(sys.argv[1]))\n"
    "except UserError as error: print(error)"
  )
  path = tmp_path / "pictures" / "curves.png"
  done = subprocess.run(
    [sys.executable, "-c", code, str(path)], capture_output=True, text=True
  )
  assert done.stdout == f"can't write {path}: File too large\n", done.stderr
  assert list(path.parent.iterdir()) == []


def test_no_global_state_of_matplotlib_changes(tmp_path):
  before = dict(mpl.rcParams)
  np.savez(tmp_path / "triplets.npz", **triplet_arrays())
  draw_pictures(tmp_path)
  assert dict(mpl.rcParams) == before


def test_ink_lands_where_it_is_pasted():
  raster = blank(20, 30)
  paste_ink(raster, np.array([[1, 0.5], [0, 1]]), 3, 7, (1, 0, 0))
  np.testing.assert_allclose(raster[3, 7], [1, 0, 0])
  np.testing.assert_allclose(raster[3, 8], [1, 0.5, 0.5])
  np.testing.assert_allclose(raster[4, 7], [1, 1, 1])
  raster[3:5, 7:9] = 1
  assert (raster == 1).all()


def test_ink_of_keeps_place_and_averages_colours():
  image = np.zeros((4, 2, 3), np.uint8)
  image[:, :, 0] = 255
  ink = ink_of(image, 4)
  # 4 high and 2 wide: centred, with an empty column on each side
  np.testing.assert_allclose(ink[:, [0, 3]], 0, atol=0.02)
  np.testing.assert_allclose(ink[:, [1, 2]], 85 / 255, atol=0.02)


def test_glyphs_lie_at_their_points_in_their_colour():
  points = np.array([[0.0, 0.0], [1.0, 1.0], [0.5, 0.5]])
  colors = np.array([[0.8, 0, 0], [0, 0.6, 0], [0, 0, 0.9]])
  raster = embedding.place_glyphs(squares(3), points, colors, glyph=40)
  side = embedding.SIDE
  # x to the right, y up; the middle of a picture is filled
  places = [(side - 36, 36), (36, side - 36), (side // 2, side // 2)]
  for (y, x), color in zip(places, colors, strict=True):
    np.testing.assert_allclose(raster[y, x], color, atol=1e-6)
  inked = (raster < 0.99).any(axis=2).sum()
  assert 3 * 20**2 * 0.9 < inked < 3 * 20**2 * 1.5


def test_spread_parts_duplicates_and_leaves_the_rest():
  points = np.array([[0.5, 0.5], [0.5, 0.5], [0.1, 0.9]])
  moved = embedding.spread(points, gap=0.1)
  np.testing.assert_array_equal(moved[2], points[2])
  assert np.linalg.norm(moved[0] - moved[1]) > 0.09
  np.testing.assert_allclose(moved[:2].mean(axis=0), [0.5, 0.5])


def test_projection_keeps_clusters_together():
  rng = np.random.default_rng(0)
  labels = np.arange(90) // 30
  points = rng.normal(size=(90, 5)).astype(np.float32)
  points[:, 0] += 40 * labels
  flat = embedding.project(points, seed=0)
  assert flat.min() == 0
  assert flat.max() == 1
  distance = np.linalg.norm(flat[:, None] - flat[None], axis=2)
  np.fill_diagonal(distance, np.inf)
  assert (labels[distance.argmin(axis=1)] == labels).all()


@pytest.mark.parametrize(
  "points",
  [
    np.zeros((30, 4), np.float32),
    np.ones((1, 3), np.float32),
    np.eye(3, dtype=np.float32),
    np.arange(20, dtype=np.float32)[:, None],
  ],
  ids=["collapsed", "one", "three", "one_dimension"],
)
def test_projection_of_odd_sets_is_finite(points):
  flat = embedding.project(points, seed=0)
  assert flat.shape == (len(points), 2)
  assert np.isfinite(flat).all()
  assert flat.min() >= 0
  assert flat.max() <= 1


def test_a_large_set_is_drawn_from(monkeypatch):
  monkeypatch.setattr(embedding, "_CAP", 6)
  said = texts(embedding.draw_embedding(evaluation()))
  assert "6 pictures drawn from 12" in said
  groups = np.array(["Armenian"] * 6 + ["Georgian"] * 6)
  monkeypatch.undo()
  said = texts(embedding.draw_embedding(evaluation(groups=groups)))
  assert "12 pictures of 3 classes in 2 groups" in said


def test_colours_are_legible():
  colors = class_colors(40)
  assert colors.min() >= 0
  luma = colors @ np.array([0.299, 0.587, 0.114])
  assert luma.max() < 0.45
  assert np.abs(np.diff(colors, axis=0)).max(axis=1).min() > 0.25


def test_nearest_others_equals_loop():
  rng = np.random.default_rng(1)
  points = rng.integers(0, 3, (40, 3)).astype(np.float32)
  nearest, distance = neighbours.nearest_others(points, 5)
  for i in range(40):
    others = sorted(
      (sum((points[i] - points[j]) ** 2), j) for j in range(40) if j != i
    )[:5]
    assert nearest[i].tolist() == [j for _, j in others]
    np.testing.assert_allclose(distance[i] ** 2, [d for d, _ in others])


def test_chosen_queries():
  data = evaluation()
  nearest, distance = neighbours.nearest_others(data.embeddings, 8)
  right, wrong = neighbours.choose_queries(data.labels, nearest, distance)
  # 0 and 8 are each other's nearest and of two classes: one mistake
  assert wrong == [0]
  assert [data.labels[i] for i in right] == [0, 1, 2]
  assert all(data.labels[nearest[i, 0]] == data.labels[i] for i in right)


def test_frames_are_green_for_right_and_red_for_wrong():
  figure = neighbours.draw_neighbours(evaluation())
  image = pixels(figure)
  top = neighbours.TOP + neighbours.HEADING
  left = neighbours.FIRST_LEFT
  half = neighbours.TILE // 2
  assert near(image[top + 1, left + half], GREEN)
  assert near(image[top + half, left + 1], GREEN)
  assert near(image[top + half, left + half], INK)
  # after three right rows and a heading, the mistake
  row = neighbours.TILE + 46
  top += 3 * row + neighbours.HEADING
  assert near(image[top + 1, left + half], RED)
  said = texts(figure)
  assert "ARMENIAN SMALL LETTER" in said
  # 0 and 8 are wrong, ten of twelve are right
  assert "83.3% of all queries" in said


def test_neighbours_without_mistakes_or_others():
  data = evaluation()
  separate = data.labels[:, None] == np.arange(3)
  clean = data._replace(embeddings=separate.astype(np.float32))
  assert "none" in texts(neighbours.draw_neighbours(clean))
  one = Evaluation(*(a if a is None else a[:1] for a in data))
  assert pixels(neighbours.draw_neighbours(one)).ndim == 3


def test_triplets_are_sorted_by_loss():
  figure = triplets.draw_triplets(mined())
  said = texts(figure)
  # losses max(ap - 0.3 + 0.25, 0) of ap = 0.5, 0.4, 0.3, 0.2, 0.1
  losses = ["0.450", "0.350", "0.250", "0.150", "0.050"]
  at = [said.index(f"loss {value}") for value in losses]
  assert at == sorted(at)
  assert "batch_hard, margin 0.25" in said
  image = pixels(figure)
  step, half = triplets.TILE + 4, triplets.TILE // 2
  for part, color in ((1, GREEN), (2, RED)):
    x = triplets.LEFT + part * step + half
    assert near(image[triplets.TOP + 1, x], color)
    assert near(image[triplets.TOP + half, x], INK)


def test_at_most_24_triplets():
  said = texts(triplets.draw_triplets(mined(40)))
  assert said.count("loss 0.") == 24
  assert "the 24 with the largest loss of 40" in said


def test_no_triplets_says_so(tmp_path):
  arrays = triplet_arrays(0)
  arrays |= {"anchor_labels": np.array([]), "negative_labels": np.array([])}
  np.savez(tmp_path / "triplets.npz", **arrays)
  assert len(draw_pictures(tmp_path)) == 1
  figure = triplets.draw_triplets(mined(0))
  assert "no triplets were selected" in texts(figure)


def test_long_and_odd_labels_are_harmless():
  labels = np.array(["$x^{ a very long label"] * 5)
  said = texts(triplets.draw_triplets(mined(anchor_labels=labels)))
  assert "$x^{ a very lon…" in said
  names = np.array(["$x^{", "U+zz", "U+D800"])
  figure = neighbours.draw_neighbours(evaluation(label_names=names))
  assert pixels(figure).ndim == 3


@pytest.mark.parametrize(
  ("names", "panels"),
  [
    (["loss"], 1),
    (["loss", "active_triplets"], 2),
    (["loss", "active_share", "active_triplets", "eval/map@r"], 3),
    (["eval/recall@1"], 1),
    (["other"], 0),
  ],
)
def test_curves_have_the_panels_that_were_logged(names, panels):
  steps = np.arange(3)
  figure = draw_curves({name: (steps, steps / 3) for name in names})
  assert len(figure.axes) == panels
  image = pixels(figure)
  assert image.shape == (360, 440 * max(panels, 1), 3)
  if not panels:
    assert "no loss or score" in texts(figure)


@pytest.mark.parametrize("count", [1, 100])
def test_curves_of_nan(count):
  steps = np.arange(count)
  nan = (steps, np.full(count, np.nan))
  figure = draw_curves({"loss": nan, "eval/recall@1": nan})
  assert pixels(figure).ndim == 3


def test_the_mean_curve_is_not_pulled_down_at_its_ends():
  steps = np.arange(100)
  figure = draw_curves({"loss": (steps, np.full(100, 0.5))})
  _, mean = figure.axes[0].lines
  np.testing.assert_allclose(mean.get_ydata(), 0.5)
