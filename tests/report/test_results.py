"""The results page's pictures and table, from files made here."""

import json
import math

import pytest
from matplotlib import colors

from tripletjax import UserError
from tripletjax.report import result_files, result_pictures
from tripletjax.statistics import Interval

BY_SEED = {"arm": "arm", "replicate": ("seed",)}
HEADER = "cell,arm,split_fold,seed,state,one_shot_error\n"


def write_ablation(path, rows):
  lines = [f"c{n},{','.join(map(str, row))}\n" for n, row in enumerate(rows)]
  path.write_text(HEADER + "".join(lines))
  return path


def ablation(tmp_path):
  path = write_ablation(
    tmp_path / "a.csv",
    [
      ("recipe", 0, 0, "done", 0.25),
      ("recipe", 1, 1, "done", 0.5),
      ("worse", 0, 0, "done", 0.5),
      ("worse", 1, 1, "done", 0.75),
      ("better", 0, 0, "done", 0.125),
      ("better", 1, 1, "failed", ""),
    ],
  )
  return result_files.read_ablation(
    path, arm="arm", baseline="recipe", replicate=("split_fold", "seed")
  )


def test_differences_are_of_cells_that_belong_together(tmp_path):
  found = ablation(tmp_path)
  assert found.means == {"recipe": 0.375, "worse": 0.625, "better": 0.125}
  assert list(found.paired) == ["better", "worse"]
  assert found.cells == (5, 6)
  worse, better = (found.paired[arm].difference for arm in ("worse", "better"))
  assert (worse.mean, worse.half, worse.n) == (0.25, 0.0, 2)
  assert (better.mean, better.n) == (-0.125, 1)
  table = result_files.ablation_table(found).splitlines()
  assert table[2] == "| recipe | 0.375 | | |"
  assert "| worse | 0.625 | +0.250 ± 0.000 (2) |" in table[4]
  # One pair has no interval.
  assert "| better | 0.125 | -0.125 (1) | - |" in table[3]


def test_the_ablations_picture_has_each_arm_where_its_difference_is(tmp_path):
  axes = result_pictures.draw_ablation(ablation(tmp_path)).axes[0]
  names = [label.get_text() for label in axes.get_yticklabels()]
  assert names == ["better", "worse"]
  drawn = {tuple(bars.lines[0].get_xydata()[0]) for bars in axes.containers}
  assert drawn == {(-0.125, 0), (0.25, 1)}


def write_one_shot(folder, *, committee):
  def of(*values):
    return {"one_shot_error": {"values": list(values)}}

  stored = {
    "config": {"data": {"train_split": "small9"}},
    "raw_pixels": of(0.5, 0.5),
    "untrained": of(0.25, 0.5),
    "trained": of(0.125, 0.125),
  }
  path = folder / "omniglot_small9.json"
  path.write_text(json.dumps(stored))
  if committee:
    ends = {"": 0.25, "_low": 0.125, "_high": 0.5}
    numbers = {f"one_shot_error{end}": value for end, value in ends.items()}
    (folder / "omniglot_small9_committee.json").write_text(
      json.dumps({"trained": numbers})
    )
  return path


@pytest.mark.parametrize("committee", [False, True])
def test_errors_of_one_shot_tasks(tmp_path, committee):
  path = write_one_shot(tmp_path, committee=committee)
  found = result_files.read_one_shot(path)
  assert found.name == "small9"
  assert found.errors["trained"] == Interval(0.125, 0.0, 0.0, 2, 0)
  assert found.errors["untrained"].mean == 0.375
  assert found.committee == ((0.25, 0.125, 0.5) if committee else None)
  axes = result_pictures.draw_one_shot([found]).axes[0]
  names = [label.get_text() for label in axes.get_yticklabels()]
  expected = ["raw pixels", "untrained network", "trained", "committee"]
  assert names == [f"small9: {n}" for n in expected[: 3 + committee]]
  values = [bars.lines[0].get_xdata()[0] for bars in axes.containers]
  assert values == [0.5, 0.375, 0.125, 0.25][: 3 + committee]


def test_what_was_trained_on_beside_is_named(tmp_path):
  path = write_one_shot(tmp_path, committee=True)
  stored = json.loads(path.read_text())
  stored["config"]["data"]["beside"] = "strokes"
  (tmp_path / "omniglot_small9_strokes.json").write_text(json.dumps(stored))
  found = result_files.read_one_shots(tmp_path)
  assert [each.name for each in found] == ["small9", "small9 and strokes"]
  assert [bool(each.committee) for each in found] == [True, False]
  assert result_files.read_one_shots(tmp_path / "none") == []


def training(cell, side, recalls):
  points = [
    {"seconds": 2.0 * n, "recall@1": value} for n, value in enumerate(recalls)
  ]
  return {
    "kind": "training",
    "cell": cell,
    "side": side,
    "end": 9.0,
    "evaluations": points,
  }


def test_a_panel_of_the_race_for_each_training(tmp_path):
  runs = [
    training("one", "ours", (0.1, 0.6)),
    training("one", "theirs", (0.2, 0.4)),
    training("two", "ours", (0.3, 0.5)),
    training("two", "theirs", (0.0, 0.9)) | {"failure": "out of memory"},
    {"kind": "steps", "cell": "one", "side": "ours"},
  ]
  path = tmp_path / "race.json"
  path.write_text(json.dumps({"runs": runs}))
  read = result_files.read_race(path)
  assert read == runs[:3]
  one, two = result_pictures.draw_race(read).axes
  assert (one.get_title(), two.get_title()) == ("one", "two")
  curves = {
    line.get_color(): line.get_ydata()
    for line in one.lines
    if line.get_marker() == "."
  }
  assert sorted(map(tuple, curves.values())) == [(0.1, 0.6), (0.2, 0.4)]
  assert all(map(colors.is_color_like, curves))
  assert len([line for line in two.lines if line.get_marker() == "."]) == 1


def test_errors(tmp_path):
  with pytest.raises(UserError, match=r"expected JSON in .*no\.json"):
    result_files.read_race(tmp_path / "no.json")
  (tmp_path / "list.json").write_text("[]")
  with pytest.raises(UserError, match="expected runs of the race"):
    result_files.read_race(tmp_path / "list.json")
  with pytest.raises(UserError, match="expected numbers of seeds"):
    result_files.read_one_shot(tmp_path / "list.json")
  path = write_ablation(tmp_path / "b.csv", [("one", 0, 0, "done", 0.5)])
  with pytest.raises(UserError, match="with the arm 'recipe' in "):
    result_files.read_ablation(
      path, arm="arm", baseline="recipe", replicate=("seed",)
    )
  with pytest.raises(UserError, match="expected a sweep's results"):
    result_files.read_ablation(
      path, arm="arm", baseline="one", replicate=("fold",)
    )
  assert math.isnan(
    result_files.read_ablation(
      write_ablation(tmp_path / "c.csv", [("one", 0, 0, "failed", "")]),
      arm="arm",
      baseline="one",
      replicate=("seed",),
    ).means["one"]
  )
