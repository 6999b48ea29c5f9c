"""The race: what is asked of both sides, and what its tables say."""

import json

import jax
import numpy as np
import pytest

from configs import digits
from tripletjax.benchmark import (
  race,
  race_cells,
  race_layers,
  race_loop,
  race_side,
)
from tripletjax.benchmark.data import Size
from tripletjax.benchmark.race_cells import Cell
from tripletjax.benchmark.race_tables import race_report, seconds_to
from tripletjax.errors import UserError
from tripletjax.metrics import retrieval

SMALL = Cell("glyphs", Size(32, 8), "facenet")


def test_recall_is_that_of_the_metrics():
  rng = np.random.default_rng(0)
  labels = rng.integers(0, 9, 40)
  embeddings = rng.normal(size=(40, 5)).astype("f4")
  expected = retrieval(embeddings, labels.astype("i4"), ks=(1,))["recall@1"]
  alone = np.bincount(labels, minlength=9)[labels] == 1
  assert not alone.any()  # the metric leaves such queries out
  assert race_loop.recall_at_1(embeddings, labels) == pytest.approx(expected)


def test_sides_take_turns_and_each_is_first_as_often():
  jobs = race.make_jobs([SMALL, SMALL], [(Size(4, 3), "all")], seeds=4)
  steps = [job for job in jobs if job.kind == "steps"]
  assert [job.side for job in steps] == ["ours", "theirs", "theirs", "ours"]
  trainings = [job for job in jobs if job.kind == "training"]
  assert len(trainings) == 2 * 4 * 2
  first = [one.side for one in trainings[::2]]
  assert first.count("ours") == first.count("theirs") == 4
  for one, other in zip(trainings[::2], trainings[1::2], strict=True):
    assert one.number == other.number
    assert {one.side, other.side} == {"ours", "theirs"}


def test_batches_are_of_identities_with_images_enough():
  labels = np.repeat(np.arange(6), [3, 1, 4, 4, 2, 5])
  batches = race.draw_batches(labels, Size(3, 4), 5, seed=0)
  assert batches.shape == (5, 12)
  for batch in batches:
    assert sorted(set(labels[batch])) == [2, 3, 5]
    assert len(set(batch.tolist())) == 12
  with pytest.raises(UserError, match="expected at most 3, the identities"):
    race.draw_batches(labels, Size(4, 4), 5, seed=0)


@pytest.mark.parametrize(
  "text", ["glyphs", "glyphs/1x8/all", "faces/4x4/all", "glyphs/4x4/no"]
)
def test_a_cell_that_is_none_is_named(text):
  with pytest.raises(UserError, match="--only: expected data/identities x"):
    race_cells.parse_cell(text)


def test_what_was_asked_for():
  asked = race_cells.faster_limit
  for batch in (Size(64, 16), Size(45, 40), Size(100, 18)):
    assert asked(batch, "all") == asked(batch, "facenet") == 3
    assert asked(batch, "batch_hard") is None
  assert asked(Size(32, 8), "batch_hard") == 1
  assert race_cells.FACENET.batch == 1800
  assert {size.batch for size in race_cells.LARGE.values()} == {1800}
  assert race_cells.LARGE.keys() == race_cells.DATA.keys()


def test_what_cannot_be_drawn_is_said_before_the_first_run(
  tmp_path, monkeypatch
):
  ran = []
  monkeypatch.setattr(race, "PEERS", ())
  monkeypatch.setattr(race, "run_job", lambda *asked: ran.append(asked))
  jobs = race.make_jobs(
    [Cell("glyphs", Size(2, 2), "all"), Cell("glyphs", Size(999, 2), "all")],
    (),
    seeds=1,
  )
  configs = {"glyphs": digits.get_config("smoke")}
  with pytest.raises(UserError, match=r"expected at most .* got 999"):
    race.measure_race(configs, jobs, data_dir=tmp_path, say=ran.append)
  assert not ran


@pytest.mark.parametrize("loss", race_cells.LOSSES)
def test_our_side_learns(loss):
  made = digits.get_config("smoke").copy_and_resolve_references()
  made.update_from_flattened_dict(
    {**race_cells.SHARED, **race_cells.LOSSES[loss], "model.features": (4,)}
  )
  rng = np.random.default_rng(0)
  patterns = rng.integers(0, 256, (6, 8, 8, 1))
  labels = np.repeat(np.arange(6, dtype=np.int32), 4)
  images = np.clip(
    patterns[labels] + rng.integers(0, 32, (24, 8, 8, 1)), 0, 255
  )
  images = images.astype(np.uint8)
  batches = np.broadcast_to(np.arange(24, dtype=np.int32), (12, 24))
  arrays = {
    "images": images,
    "eval_images": images,
    "eval_labels": labels,
    "batches": batches,
    "labels": np.broadcast_to(labels, (12, 24)),
  }
  asked = {
    "config": json.loads(made.to_json()),
    "seed": 0,
    "steps": 12,
    "warmup": 2,
    "evaluate": [6, 12],
    "spawned": 0.0,
    "devices": 8,
  }
  with jax.numpy_dtype_promotion("standard"):
    racer = race_side.SIDES["ours"](asked, arrays)
    outcome = race_loop.run_race(racer, asked, arrays)
  assert len(outcome["steps"]) == 12
  assert [e["step"] for e in outcome["evaluations"]] == [6, 12]
  assert outcome["evaluations"][-1]["recall@1"] > 0.9
  assert outcome["evaluations"][0]["seconds"] < outcome["end"]
  assert outcome["peak_bytes"] > 10**7
  # 3 x 3 x 1 x 4, two of BatchNorm; 64 x 16, and 16.
  assert outcome["parameters"] == 36 + 8 + 1024 + 16


def run(side, number, *, end, recalls, cell=SMALL, kind="training", step=0.1):
  marks = [20 * (n + 1) for n in range(len(recalls))]
  return {
    "kind": kind,
    "cell": cell.name,
    "side": side,
    "number": number,
    "load": 0.5,
    "ready": 2.0,
    "end": end,
    "steps": [1.0, *[step] * 9],
    "work": [2.0, *[1.5 * step] * 9],
    "evaluations": [
      {"step": mark, "seconds": end * mark / marks[-1], "recall@1": recall}
      for mark, recall in zip(marks, recalls, strict=True)
    ],
    "evaluating": 1.0,
    "peak_bytes": 10**9,
    "versions": {"jax" if side == "ours" else "torch": "1"},
  }


def cells_of(report):
  lines = [line for line in report.splitlines() if line.startswith("|")]
  rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines]
  return [row for row in rows if row[0] and not set(row[0]) <= {"-"}]


def test_the_tables_compare_seed_by_seed():
  large = Cell("glyphs", Size(45, 40), "all")
  runs = [
    run("ours", 0, end=1.0, recalls=[], cell=large, kind="steps", step=0.2),
    run("theirs", 1, end=1.0, recalls=[], cell=large, kind="steps", step=0.5),
    run("ours", 0, end=10.0, recalls=[0.5, 0.95]),
    run("theirs", 0, end=20.0, recalls=[0.9, 0.93]),
    run("ours", 1, end=12.0, recalls=[0.8, 0.97]),
    run("theirs", 1, end=12.0, recalls=[0.7, 0.97]),
  ]
  results = {"machine": {"cores": 2, "devices": 1}, "runs": runs}
  report = race_report(results)
  _, steps, _, training, _, reach = cells_of(report)
  assert steps == [
    "1,800 (45x40)", "all", "200", "500", "**2.50 < 3**", "300", "750",
    "1.00", "1.00",
  ]  # fmt: skip
  # t of one degree of freedom is 12.706; half of .02 is the standard error.
  assert training == [
    SMALL.name, "10", "2", "0.960 ± 0.127", "0.950 ± 0.254", "+0.010 ± 0.127",
    "11.0", "16.0", "1.50 ≥ 1",
  ]  # fmt: skip
  assert reach[:5] == [SMALL.name, "0.9", "11.0", "11.0", "1.00"]
  assert "\n1 outside of what was asked for." in report
  assert "jax 1, torch 1" in report


def test_a_run_that_failed_is_said_and_one_that_never_gets_there():
  failed = {
    "kind": "training", "cell": SMALL.name, "side": "theirs", "number": 0,
    "load": 0.0, "failure": "ended by signal 9",
  }  # fmt: skip
  ours = run("ours", 0, end=10.0, recalls=[0.1, 0.2])
  results = {"machine": {"cores": 2, "devices": 1}, "runs": [ours, failed]}
  assert "| theirs: ended by signal 9 |" in race_report(results)
  assert seconds_to(ours, 0.9) == float("inf")
  assert seconds_to(ours, 0.2) == 10.0


def test_the_profile_of_our_convolutions(monkeypatch):
  monkeypatch.setattr(race_layers, "LAYERS", ((4, 1, 2), (4, 2, 3)))
  monkeypatch.setattr(race_layers, "SAMPLES", 1)
  monkeypatch.setattr(race_layers, "SAMPLE", 1e-4)
  found = race_layers.measure_calls(race_layers.our_calls(2))
  assert list(found) == [
    "4 x 4, 1 to 2, forward",
    "4 x 4, 1 to 2, by kernel",
    "4 x 4, 2 to 3, forward",
    "4 x 4, 2 to 3, by kernel",
    "4 x 4, 2 to 3, by images",
  ]
  assert all(of["seconds"] > 0 for of in found.values())
  runs = [
    {"side": "ours", "calls": {"4 x 4, 1 to 2, forward": {"work": 0.002}}},
    {"side": "theirs", "calls": {"4 x 4, 1 to 2, forward": {"work": 0.004}}},
    {"side": "ours", "calls": {"4 x 4, 1 to 2, forward": {"work": 0.003}}},
  ]
  assert race_layers.layers_table(runs).splitlines()[2:] == [
    "| 4 x 4, 1 to 2 | forward | 2.0                   | 4.0    |",
    "| all           |         | 2.0                   | 4.0    |",
  ]
