"""What holds for every registry: names, docstrings and extension by a line."""

import inspect

import pytest

import tripletjax
from tripletjax.metrics import METRICS
from tripletjax.models import MODELS
from tripletjax.training.objective import CHOICES

REGISTRIES = {
  "DISTANCES": tripletjax.DISTANCES,
  "MINERS": tripletjax.MINERS,
  "REDUCTIONS": tripletjax.REDUCTIONS,
  "LOSSES": tripletjax.LOSSES,
  "METRICS": METRICS,
  "MODELS": MODELS,
}
ENTRIES = [
  pytest.param(entry, id=f"{name}-{key}")
  for name, registry in REGISTRIES.items()
  for key, entry in registry.items()
]


@pytest.mark.parametrize("entry", ENTRIES)
def test_every_entry_is_documented(entry):
  assert inspect.getdoc(entry)


def test_all_public_names_exist_and_are_documented():
  for name in tripletjax.__all__:
    assert inspect.getdoc(getattr(tripletjax, name)), name


def test_config_choices_are_the_registries_themselves():
  assert CHOICES["loss.name"] is tripletjax.LOSSES
  assert CHOICES["loss.miner"] is tripletjax.MINERS
  assert CHOICES["loss.distance"] is tripletjax.DISTANCES
  assert CHOICES["loss.reduction"] is tripletjax.REDUCTIONS
  assert CHOICES["model.name"] is MODELS
