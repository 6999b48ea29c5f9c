"""Compiled programs are forgotten before there are too many."""

import sys

import jax
import pytest

from tripletjax.sweeps import conducting
from tripletjax.training.programs import forget_programs


@pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")
def test_beyond_so_many_maps_they_are_forgotten():
  double = jax.jit(lambda x: 2 * x)
  double(1.0)
  assert not forget_programs(most=10**9)
  assert double._cache_size() == 1
  assert forget_programs(most=0)
  assert double._cache_size() == 0
  assert double(2.0) == 4


def test_a_sweep_looks_after_each_group(tmp_path, monkeypatch):
  said = []
  monkeypatch.setattr(
    conducting, "run_group", lambda sweep, group, options, say: group
  )
  monkeypatch.setattr(
    conducting, "forget_programs", lambda: said.append("looked")
  )
  (tmp_path / "logs").mkdir()

  class Folder:
    path = tmp_path

  run = conducting._here(Folder, None, print)
  assert run("group3") == 3
  assert said == ["looked"]
