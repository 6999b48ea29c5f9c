"""The dialects beside the libraries themselves, on random batches."""

import sys

import numpy as np
import pytest

from experiments import peers
from tests.test_dialects import LABELS, ours
from tripletjax import DIALECTS

MODULES = {
  peers.PML: "pytorch_metric_learning.losses",
  peers.ST: "sentence_transformers.sentence_transformer.losses",
}
# What they warn of when they are imported is not ours.
pytestmark = pytest.mark.filterwarnings("ignore")


def batch(number):
  """Overlapping identities; of one size, or of several and with singles."""
  rng = np.random.default_rng(100 + number)
  labels = LABELS[number % len(LABELS)].astype(np.int32)
  centres = rng.normal(size=(5, 5))
  x = centres[labels] + rng.normal(size=(len(labels), 5))
  return x.astype(np.float32), labels


def test_what_draws_and_what_has_a_peer_are_dialects():
  assert {*peers.PEERS, *peers.DRAWS} <= {*DIALECTS}


@pytest.mark.parametrize("name", peers.PEERS)
def test_value_and_gradient_are_the_peer_s(name):
  library = peers.PEERS[name][0]
  pytest.importorskip(
    MODULES[library],
    reason=f"{library} isn't installed: pip install 'tripletjax[peers]'",
  )
  for number in range(5):
    x, labels = batch(number)
    (value, _), gradient = ours(name, x, labels)
    theirs = peers.value_and_gradient(name, x, labels, DIALECTS[name]["margin"])
    np.testing.assert_allclose(value, theirs[0], rtol=0, atol=1e-5)
    np.testing.assert_allclose(gradient, theirs[1], rtol=0, atol=1e-4)


def test_a_peer_that_is_not_installed_is_an_import_error(monkeypatch):
  for name in list(sys.modules):
    if name.startswith("pytorch_metric_learning"):
      monkeypatch.delitem(sys.modules, name)
  monkeypatch.setitem(sys.modules, "pytorch_metric_learning", None)
  x, labels = batch(0)
  with pytest.raises(ImportError):
    peers.value_and_gradient("pml_all", x, labels, 0.2)
