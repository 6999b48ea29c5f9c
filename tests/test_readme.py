"""The README says what the code does."""

import re
from pathlib import Path

import pytest

import tripletjax
from tripletjax import models
from tripletjax.training.optimizer import OPTIMIZERS, SCHEDULES

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def test_the_example_runs():
  (code,) = re.findall(r"```python\n(.*?)```", README, re.S)
  names = {}
  exec(code, names)
  assert names["loss"] > 0
  assert not names["stats"]["collapsed"]


@pytest.mark.parametrize(
  "registry", ["MINERS", "DISTANCES", "REDUCTIONS", "LOSSES"]
)
def test_every_name_of_a_registry_is_named(registry):
  for name in getattr(tripletjax, registry):
    assert f"`{name}`" in README


@pytest.mark.parametrize(
  "registry",
  [models.MODELS, models.NORMS, models.DTYPES, OPTIMIZERS, SCHEDULES],
  ids=["MODELS", "NORMS", "DTYPES", "OPTIMIZERS", "SCHEDULES"],
)
def test_every_choice_of_a_config_is_named(registry):
  for name in registry:
    assert f"`{name}`" in README


def test_every_dialect_is_in_the_table_of_agreement():
  for name in tripletjax.DIALECTS:
    assert f"| {name} " in README


def test_files_that_are_linked_exist():
  links = re.findall(r"\]\(([^)#]+)\)", README)
  assert len(links) >= 6
  for link in links:
    assert (ROOT / link).exists(), link


def test_commands_name_modules_that_exist():
  modules = set(re.findall(r"python -m (experiments\.\w+)", README))
  assert modules >= {"experiments.train", "experiments.seeds"}
  for module in modules:
    assert (ROOT / (module.replace(".", "/") + ".py")).exists()
