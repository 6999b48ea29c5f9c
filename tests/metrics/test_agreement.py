"""The metrics beside other libraries, and the command that says so."""

import importlib.util

import pytest

from experiments.agree_metrics import REFERENCES
from experiments.metric_data import KINDS, compare, data_sets
from tests.test_commands import command

# What they warn of when they are imported is not ours.
pytestmark = pytest.mark.filterwarnings("ignore")
SIZES = {"identities": 6, "images": 4, "dimension": 3}


@pytest.mark.parametrize("name", REFERENCES)
def test_every_reference_agrees(name):
  reference = REFERENCES[name]
  if reference.library and not importlib.util.find_spec(reference.library):
    pytest.skip(f"{name} isn't installed: pip install 'tripletjax[peers]'")
  found = [
    reference.differences(data)
    for data in data_sets(**SIZES, seed=1)
    if data.kind in reference.kinds
  ]
  assert len(found) >= 2
  for differences in found:
    assert differences
    assert differences == pytest.approx(dict.fromkeys(differences, 0), abs=1e-6)


def test_a_difference_is_seen():
  nan = float("nan")
  theirs = {"a": 1.0, "b": nan, "c": nan, "d": 0.5}
  mine = {"a": 0.75, "b": nan, "c": 1.0, "d": nan, "e": 7.0}
  infinite = float("inf")
  want = {"a": 0.25, "b": 0.0, "c": infinite, "d": infinite}
  assert compare(theirs, mine) == want


def test_the_data_are_what_they_say():
  kinds = [data.kind for data in data_sets(**SIZES, seed=0)]
  assert set(kinds) == set(KINDS)


def test_the_command_prints_every_metric():
  result = command(
    "agreement",
    "--suite=metrics",
    "--identities=5",
    "--images=3",
    "--dimension=2",
    "--nopeers",
  )
  assert result.returncode == 0, result.stderr
  for metric in (
    "recall@1", "map@r", "map_trapezoid", "mrr", "ndcg", "auc", "eer", "rank@1",
    "tar@far=1e-02", "tpir@fpir=0.25", "one_shot_error", "nmi", "bcubed_f",
  ):  # fmt: skip
    assert f"| {metric} " in result.stdout, metric
  assert "pytorch-metric-learning" not in result.stdout
