"""The suite `sweep`: what it says, and a tiny case from end to end."""

import jax
import pytest

from configs import digits, glyphs
from experiments.suites import SUITES, Options
from tripletjax.benchmark import sweep, sweep_tables
from tripletjax.errors import UserError
from tripletjax.training import parallel
from tripletjax.training.network import make_model

AUGMENTS = ("rotation", "scale", "shear", "translation")
TINY = sweep.Case(
  "tiny",
  {
    "model.features": (2,),
    "batch.identities": 2,
    "batch.images": 2,
    "loss.miner": "all",
    "optimizer.name": "sgd",
    **{f"augment.{name}": 0.0 for name in AUGMENTS},
  },
)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
  with jax.numpy_dtype_promotion("standard"):
    yield sweep.prepare_cells(
      digits.get_config("smoke"),
      TINY,
      2,
      data_dir=tmp_path_factory.mktemp("data"),
      devices=parallel.all_devices()[:1],
    )


def test_cells_differ_in_their_margin(runs):
  margins = [run.config.loss.margin for run in runs]
  assert margins == pytest.approx([0.1, 0.4])
  assert [run.config.loss.margin_end for run in runs] == margins
  assert {run.config.seed for run in runs} == {0}


@pytest.mark.slow
def test_a_tiny_case(runs):
  said = []
  with jax.numpy_dtype_promotion("standard"):
    (cells,) = sweep.measure_cells(runs, [2], repeats=3, say=said.append)
  assert len(said) == 3
  assert cells["members"] == 2
  # By the definition of the ways.
  assert cells["programs"] == {"together": 1, "in_turn": 1, "alone": 2}
  first = cells["first"]
  for way, samples in cells["samples"].items():
    assert len(samples) == 3
    assert sorted(samples)[1] == cells["seconds"][way] > 0
    # Nothing was compiled while it was timed.
    assert min(first[way], first["alone"]) > 5 * max(samples)
  assert cells["ratio"] == [
    one / other for one, other in zip(*cells["samples"].values(), strict=True)
  ]
  auto = cells["auto"]
  assert auto["planned"][auto["way"]] == min(auto["planned"].values())
  better = min(cells["seconds"].values())
  assert auto["ratio"] == cells["seconds"][auto["way"]] / better


def cells_of(members, *, together, in_turn, auto, ratio):
  return {
    "members": members,
    "samples": {"together": together, "in_turn": in_turn},
    "ratio": [2.0, 0.5, 1.0],
    "auto": {"way": auto, "ratio": ratio},
    "first": {"together": 4.0, "in_turn": 2.04, "alone": 16.0},
    "programs": {"together": 1, "in_turn": 1, "alone": members},
  }


def test_the_tables_mark_an_auto_that_chose_the_slower():
  times = {"together": [0.001, 0.003, 0.002], "in_turn": [0.1, 0.012, 0.01]}
  results = {
    "repeats": 3,
    "machine": {"cores": 2, "devices": "1 x cpu", "jax": "0", "load": 0.0},
    "seconds": 60.0,
    "results": [
      {
        "title": "net",
        "cells": [
          cells_of(4, **times, auto="together", ratio=1.0),
          cells_of(8, **times, auto="in_turn", ratio=6.0),
        ],
      }
    ],
  }
  report = sweep_tables.sweep_report(results)
  lines = [line for line in report.splitlines() if line.startswith("|")]
  rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines]
  spreads = ["2.00 (1.00-3.00)", "12.0 (10.0-100)", "1.00 (0.500-2.00)"]
  first = ["4.0", "2.0", "16.0"]
  assert rows[0] == list(sweep_tables.TIMES)
  assert rows[2:4] == [
    ["net", "4", *spreads, "together", "1.00 ≤ 1.15"],
    ["net", "8", *spreads, "in turn", "**6.00 > 1.15**"],
  ]
  assert rows[4][2:] == [
    *("together, s", "in turn, s", "alone, s each"),
    *("together, programs", "in turn, programs", "alone, programs"),
  ]
  assert rows[6:] == [
    ["net", "4", *first, "1", "1", "4"],
    ["net", "8", *first, "1", "1", "8"],
  ]
  assert report.endswith("\n1 outside of the limits.")


def test_every_case_is_a_config_that_can_be_run():
  for case in sweep.CASES.values():
    made = glyphs.get_config()
    made.update_from_flattened_dict(dict(case.fields))
    make_model(made, axis_name=None)


def test_unknown_cases_and_sizes():
  asked = Options([], ["digits"], False, 1, False)
  with pytest.raises(UserError, match="some of convnet, resnet, wide; got"):
    SUITES["sweep"](asked)
  for text in ("1", "4x2", "many"):
    with pytest.raises(UserError, match="--sizes: expected numbers of cells"):
      SUITES["sweep"](asked._replace(sizes=[text]))
