"""A sweep's folder: made once, gone on with, never overwritten; its tables."""

import csv
import json
import runpy
from pathlib import Path

import pytest

from experiments.sweep_files import load_sweep
from tripletjax.errors import UserError
from tripletjax.sweeps import grid
from tripletjax.sweeps.cells import plan_cells
from tripletjax.sweeps.folder import (
  cell_folder,
  open_sweep,
  read_status,
  read_sweep,
  write_results,
  write_status,
  write_test,
)

ROOT = Path(__file__).parent.parent.parent
BASE = runpy.run_path(str(ROOT / "configs" / "glyphs.py"))["get_config"](
  "smoke"
).lock()
# 0.1 + 0.2 and a third: numbers that few digits don't give.
SUMMARY = {"steps": 20, "seconds": 3.84, "parameters": 17672, "devices": 1} | {
  "trained": {"map@r": 0.30000000000000004, "recall@1": 1 / 3, "eer": None}
}


def make(folder, *, margins=(0.1, 0.2), seeds=2, **fields):
  sweep = grid.sweep(
    config="configs/glyphs.py:smoke",
    cells=grid.product(
      grid.axis("loss.margin", margins), grid.axis("seed", range(seeds))
    ),
    **{"baseline": {"margin": margins[0]}, **fields},
  )._replace(name="small", file="configs/sweeps/small.py")
  planned = plan_cells(sweep, BASE)
  return open_sweep(folder, sweep, planned, base=BASE), planned


def contents(folder):
  return {
    str(path.relative_to(folder)): path.read_bytes()
    for path in sorted(folder.rglob("*"))
    if path.is_file()
  }


def finish(folder, name, summary=SUMMARY):
  path = cell_folder(folder, name)
  path.mkdir(parents=True, exist_ok=True)
  (path / "summary.json").write_text(json.dumps(summary))
  write_status(folder, name, "done")


def test_the_folder_says_what_the_sweep_is(tmp_path):
  held, planned = make(
    tmp_path / "s", metric="eer", test_split="armenian2", budget="64 examples"
  )
  about = json.loads((tmp_path / "s" / "sweep.json").read_text())
  versions = about.pop("versions")
  base = about.pop("base")
  assert about == {
    "name": "small",
    "file": "configs/sweeps/small.py",
    "axes": {"loss.margin": "margin", "seed": "seed"},
    "replicates": ["seed"],
    "baseline": "margin=0.1",
    "metric": "eer",
    "less_is_better": True,
    "test_split": "armenian2",
    "budget": "64 examples",
  }
  assert base["train"]["duration"] == "64 examples"
  assert set(versions) == {
    *("python", "jax", "flax", "optax", "numpy", "tripletjax")
  }
  assert held.cells == planned
  assert held.cells[0].config.is_locked
  assert held.cells[0].config.model.features == (8, 16)
  cells = json.loads((tmp_path / "s" / "cells.json").read_text())
  first = cells[0]
  assert first.pop("config") == json.loads(planned[0].config.to_json())
  assert first == {
    "cell": "margin=0.1,seed=0",
    "arm": "margin=0.1",
    "values": {"margin": "0.1", "seed": "0"},
    "fields": {"loss.margin": 0.1, "seed": 0},
    "group": 0,
  }


def test_the_same_sweep_goes_on_and_nothing_is_written(tmp_path):
  held, _ = make(tmp_path)
  finish(tmp_path, held.cells[0].name)
  before = contents(tmp_path)
  assert make(tmp_path)[0] == held
  assert contents(tmp_path) == before


def test_a_folder_that_was_only_begun_is_made(tmp_path):
  held, _ = make(tmp_path)
  (tmp_path / "sweep.json").unlink()
  assert make(tmp_path)[0] == held


@pytest.mark.parametrize(
  ("fields", "said"),
  [
    ({"margins": (0.1, 0.3)}, "it has no cell margin=0.3,seed=0"),
    ({"seeds": 1}, "it has a cell margin=0.1,seed=1"),
    (
      {"changes": {"model.dimension": 8}},
      "model.dimension = 16, not 8, in margin=0.1,seed=0",
    ),
    ({"metric": "eer"}, "metric = 'map@r', not 'eer'"),
    (
      {"baseline": {"margin": 0.2}},
      "baseline = 'margin=0.1', not 'margin=0.2'",
    ),
    ({"budget": "30 seconds"}, "budget = '', not '30 seconds'"),
  ],
)
def test_a_folder_of_another_sweep_is_left_as_it_is(tmp_path, fields, said):
  make(tmp_path)
  before = contents(tmp_path)
  with pytest.raises(UserError) as caught:
    make(tmp_path, **fields)
  assert str(caught.value) == (
    f"--workdir: {tmp_path} holds another sweep: {said}; choose another "
    "folder, or the same sweep"
  )
  assert contents(tmp_path) == before


@pytest.mark.parametrize(
  ("name", "said"), [("config.json", "a run"), ("thesis.tex", "thesis.tex")]
)
def test_a_folder_of_something_else_is_left_as_it_is(tmp_path, name, said):
  (tmp_path / name).write_text("mine")
  with pytest.raises(UserError, match=rf"holds {said} and no sweep"):
    make(tmp_path)
  assert contents(tmp_path) == {name: b"mine"}


def test_a_file_for_a_folder_is_refused(tmp_path):
  (tmp_path / "s").write_text("mine")
  with pytest.raises(UserError, match=r"s is a file; expected a folder"):
    make(tmp_path / "s")


def test_a_folder_without_a_sweep_is_told(tmp_path):
  with pytest.raises(UserError, match=r"^--workdir: no sweep in "):
    read_sweep(tmp_path)


@pytest.mark.parametrize("text", ["", "{", "[]", '[{"cell": 1}]', "[3]"])
@pytest.mark.parametrize("name", ["sweep.json", "cells.json"])
def test_broken_files_are_named(tmp_path, name, text):
  make(tmp_path)
  if (name, text) == ("cells.json", "[]"):
    text = "null"
  (tmp_path / name).write_text(text)
  with pytest.raises(UserError, match=rf"{name} can't be read"):
    read_sweep(tmp_path)


@pytest.mark.parametrize("name", ["../a", "/a", "..", "a/b", ""])
def test_a_cell_lies_in_its_sweep(tmp_path, name):
  make(tmp_path)
  cells = json.loads((tmp_path / "cells.json").read_text())
  cells[0]["cell"] = name
  (tmp_path / "cells.json").write_text(json.dumps(cells))
  with pytest.raises(UserError, match=r"expected a folder's name"):
    read_sweep(tmp_path)


def test_a_status_is_one_of_five(tmp_path):
  held, _ = make(tmp_path)
  name = held.cells[1].name
  assert read_status(tmp_path, name).state == "waiting"
  write_status(
    tmp_path, name, "failed", reason="two\nlines", tail=["a\x1b[31m", "b"]
  )
  found = read_status(tmp_path, name)
  assert found == ("failed", "two lines", ("a\\x1b[31m", "b"))
  with pytest.raises(ValueError, match=r"expected a state"):
    write_status(tmp_path, name, "finished")
  path = cell_folder(tmp_path, name) / "status.json"
  path.write_text('{"state": "finished"}')
  with pytest.raises(UserError, match=r"status.json: expected a state of"):
    read_status(tmp_path, name)


def test_results_are_exact_and_have_no_clock(tmp_path):
  held, _ = make(tmp_path)
  a, b, c, d = (cell.name for cell in held.cells)
  finish(tmp_path, a)
  write_status(tmp_path, b, "diverged", reason="nan")
  finish(tmp_path, c, {**SUMMARY, "seconds": 9.5})
  write_results(tmp_path)
  text = (tmp_path / "results.csv").read_text()
  # The smoke config's batch is 4 x 4, 20 steps of which are 320 images.
  numbers = "done,20,320,0.30000000000000004,0.3333333333333333,"
  assert text.splitlines() == [
    "cell,arm,margin,seed,state,steps,images,map@r,recall@1,eer",
    f'"{a}",margin=0.1,0.1,0,{numbers}',
    f'"{b}",margin=0.1,0.1,1,diverged,,,,,',
    f'"{c}",margin=0.2,0.2,0,{numbers}',
    f'"{d}",margin=0.2,0.2,1,waiting,,,,,',
  ]
  with (tmp_path / "results.csv").open(newline="") as file:
    rows = list(csv.DictReader(file))
  assert float(rows[0]["recall@1"]) == 1 / 3
  before = contents(tmp_path)
  write_results(tmp_path)
  assert contents(tmp_path) == before
  # What took longer is the same result.
  finish(tmp_path, a, {**SUMMARY, "seconds": 77.0})
  write_results(tmp_path)
  assert (tmp_path / "results.csv").read_text() == text


def test_costs_have_the_clock_and_the_way(tmp_path):
  held, _ = make(tmp_path)
  finish(tmp_path, held.cells[0].name)
  steps = [(0.5, 8.0), (0.125, 0.25), (0.25, 0.25), (0.25, 0.5)]
  lines = [{"seconds/input": a, "seconds/step": b} for a, b in steps]
  lines.insert(2, {"eval/map@r": 0.5})
  metrics = cell_folder(tmp_path, held.cells[0].name) / "metrics.jsonl"
  text = "".join(json.dumps(line) + "\n" for line in lines)
  metrics.write_text(text + '{"seconds/input": 9')
  (tmp_path / "plan.json").write_text(
    json.dumps({"groups": [{"group": 0, "way": "in_turn"}]})
  )
  write_results(tmp_path)
  # The median of 8.5, 0.375, 0.5 and 0.75: the first step compiles.
  table = (tmp_path / "costs.csv").read_text().splitlines()
  assert table[:3] == [
    "cell,arm,seconds,seconds_per_step,parameters,devices,way",
    '"margin=0.1,seed=0",margin=0.1,3.84,0.625,17672,1,in_turn',
    '"margin=0.1,seed=1",margin=0.1,,,,,in_turn',
  ]


def test_a_cell_that_is_done_has_its_summary(tmp_path):
  held, _ = make(tmp_path)
  write_status(tmp_path, held.cells[0].name, "done")
  with pytest.raises(UserError, match=r"summary.json is missing"):
    write_results(tmp_path)
  finish(tmp_path, held.cells[0].name, {"steps": 3})
  with pytest.raises(UserError, match=r"summary.json: expected the numbers"):
    write_results(tmp_path)


def test_the_test_is_written_once(tmp_path):
  rows = [
    {"arm": "a", "cell": "a,seed=0", "seed": 0, "map@r": 0.1},
    {"arm": "b", "cell": "b,seed=0", "seed": 0, "map@r": float("nan")},
  ]
  path = write_test(tmp_path, rows)
  before = contents(tmp_path)
  assert path.read_text().splitlines() == [
    "arm,cell,seed,map@r",
    'a,"a,seed=0",0,0.1',
    'b,"b,seed=0",0,',
  ]
  with pytest.raises(UserError, match=r"already looked at"):
    write_test(tmp_path, [{**rows[0], "map@r": 0.9}])
  assert contents(tmp_path) == before
  assert list(before) == ["test.csv"]


SMOKE = "configs/sweeps/margin_by_miner.py:smoke"


def test_overrides_change_all_cells_by_the_base_s_kinds():
  sweep, base = load_sweep(
    SMOKE,
    {
      "model.features": "4,8",
      "model.normalize": "false",
      "optimizer.learning_rate": "1",
      "data.split_names": "a, b",
      "train.duration": "3 steps",
      "evaluation.ks": "(1, 2)",
    },
  )
  for cell in plan_cells(sweep, base):
    config = cell.config
    assert config.model.features == (4, 8)
    assert config.model.normalize is False
    assert config.optimizer.learning_rate == 1.0
    assert config.data.split_names == ("a", "b")
    assert config.train.duration == "3 steps"
    assert config.evaluation.ks == (1, 2)
    assert config.data.eval_split == "cyrillic"


@pytest.mark.parametrize(
  ("name", "overrides", "said"),
  [
    (
      "configs/sweeps/none.py",
      {},
      "--sweep: there is no file 'configs/sweeps/none.py'; there are ",
    ),
    (f"{SMOKE}r", {}, f"--sweep: {SMOKE}r: ValueError: expected variant "),
    (
      "configs/glyphs.py",
      {},
      "--sweep: configs/glyphs.py: expected a function get_sweep, no ",
    ),
    (
      SMOKE,
      {"loss.margn": "1"},
      "--set: no field 'loss.margn', did you mean 'loss.margin'?",
    ),
    (SMOKE, {"loss.margin": "1"}, "--set loss.margin: the grid of "),
    (
      SMOKE,
      {"model.dimension": "many"},
      "--set: model.dimension: expected a whole number, got 'many'",
    ),
    (
      SMOKE,
      {"model.normalize": "1"},
      "--set: model.normalize: expected true or false, got '1'",
    ),
    (
      SMOKE,
      {"evaluation.ks": "(1, x)"},
      "--set: evaluation.ks: expected values such as (1, 2, 4, 8), got ",
    ),
  ],
)
def test_mistakes_with_a_sweep_file_are_lines(name, overrides, said):
  with pytest.raises(UserError) as caught:
    load_sweep(name, overrides)
  assert str(caught.value).startswith(said)


FILES = {
  "return 3": "get_sweep: expected a grid.sweep(...), got 3",
  "return grid.zip(grid.axis('seed', []))": "axis seed: expected at least one "
  "value, got none",
  "return grid.table()": "AttributeError: module 'tripletjax.sweeps.grid' has "
  "no attribute 'table'",
  "return grid.sweep(config='configs/no.py', cells=grid.axis('seed', [0]))": (
    "config: there is no file 'configs/no.py'; there are configs/digits.py"
  ),
  "return grid.sweep(cells=grid.axis('seed', [0]))": "TypeError: sweep() "
  "missing 1 required keyword-only argument: 'config'",
}


@pytest.mark.parametrize("body", FILES)
def test_mistakes_in_a_sweep_file_are_lines(tmp_path, body):
  file = tmp_path / "mine.py"
  file.write_text(f"def get_sweep(grid, variant=''):\n  {body}\n")
  with pytest.raises(UserError) as caught:
    load_sweep(str(file))
  assert str(caught.value).startswith(f"--sweep: {file}: {FILES[body]}")
