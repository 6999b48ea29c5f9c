"""The other libraries beside ours: each a process, which may fail."""

import inspect
import sys

import jax
import numpy as np
import pytest

from tripletjax.benchmark import cases, peers
from tripletjax.benchmark.data import Size, balanced_labels, make_embeddings

PEER = peers.Peer("any", "numpy", "all")


@pytest.mark.parametrize(
  ("program", "expected"),
  [
    ("print('chatter'); print('{\"samples\": [1.0]}')", {"samples": [1.0]}),
    (
      "import sys, json; print(json.dumps({'got': sys.argv[1:]}))",
      {"got": ["any", "4x3", "3", str(peers.BYTES)]},
    ),
    (
      "import os, json; print(json.dumps(os.environ['OMP_WAIT_POLICY']))",
      "PASSIVE",
    ),
    (
      "import os, signal; os.kill(os.getpid(), signal.SIGKILL)",
      {"failure": "out of memory"},
    ),
    ("raise ValueError('no')", {"failure": "failed: ValueError: no"}),
    ("import time; time.sleep(60)", {"failure": "more than 2 s"}),
  ],
)
def test_a_peer_is_a_process_that_may_fail(program, expected):
  found = peers.measure_peer(
    PEER, Size(4, 3), repeats=3, program=("-c", program), seconds=2
  )
  assert found == expected


def test_a_peer_that_is_not_installed():
  peer = PEER._replace(library="no_such_library")
  found = peers.measure_peer(peer, Size(4, 3), repeats=3)
  assert found == {"failure": "not installed"}


def test_another_python_is_asked_for_what_this_one_lacks(tmp_path):
  other = tmp_path / "python"
  other.write_text(f'#!/bin/sh\nOTHER=yes exec {sys.executable} "$@"\n')
  other.chmod(0o755)
  peer = PEER._replace(library="no_such_library")
  found = peers.measure_peer(
    peer,
    Size(4, 3),
    repeats=3,
    program=("-c", "import json, os; print(json.dumps(os.environ['OTHER']))"),
    other_python=str(other),
  )
  assert found == "yes"
  found = peers.measure_peer(
    peer,
    Size(4, 3),
    repeats=3,
    program=("-c", "import no_such_library"),
    other_python=str(other),
  )
  assert found == {"failure": "not installed"}


def test_another_python_needn_t_have_jax(tmp_path):
  library = tmp_path / "library"
  library.mkdir()
  error = "raise ModuleNotFoundError(\"No module named '{name}'\")"
  for name in ("jax", "tensorflow_addons"):
    (library / f"{name}.py").write_text(error.format(name=name))
  (library / "tensorflow.py").touch()
  other = tmp_path / "python"
  other.write_text(
    f'#!/bin/sh\nPYTHONPATH={library} exec {sys.executable} "$@"\n'
  )
  other.chmod(0o755)
  peer = next(peer for peer in peers.PEERS if peer.name == "tfa_semi_hard")
  found = peers.measure_peer(
    peer._replace(library="no_such_library"),
    Size(4, 3),
    repeats=3,
    other_python=str(other),
  )
  # Its own imports are done, and it asks for the library.
  assert found == {
    "failure": "failed: ModuleNotFoundError: No module named "
    "'tensorflow_addons'"
  }


# In a process of its own: what it does to the limits and the peak stays there.
WORKER = inspect.cleandoc("""
  import json, resource, sys
  import numpy as np
  from tripletjax.benchmark import worker
  class Exhausted(Exception):
    pass
  def step():
    {step}
  worker.STEPS = {{"any": lambda embeddings, labels: step}}
  worker.main("any", "4x3", "3", str(4 * 2**30))
""")
TAKES = "return float(np.ones({megabytes} * 2**17).sum())"


def test_a_worker_measures_the_memory_that_the_calls_add():
  found = peers.measure_peer(
    PEER,
    Size(4, 3),
    repeats=3,
    program=("-c", WORKER.format(step=TAKES.format(megabytes=200))),
    seconds=60,
  )
  assert 199e6 < found["peak_bytes"] < 230e6
  assert len(found["samples"]) == 3
  assert found["value"] == 200 * 2**17


@pytest.mark.parametrize(
  "step",
  [
    TAKES.format(megabytes=5000),
    # A library's own error.
    "raise Exhausted('Out of memory while trying to allocate 9 bytes.')",
  ],
)
def test_a_worker_that_has_no_memory_says_so(step):
  found = peers.measure_peer(
    PEER,
    Size(4, 3),
    repeats=3,
    program=("-c", WORKER.format(step=step)),
    seconds=60,
  )
  assert found == {"failure": "out of memory"}


def test_a_peer_computes_what_ours_computes():
  (peer,) = (peer for peer in peers.PEERS if peer.name == "pml_all")
  found = peers.measure_peer(peer, Size(4, 3), repeats=1)
  if found.get("failure") == "not installed":
    pytest.skip(f"{peer.library} is not installed")
  labels = balanced_labels(Size(4, 3))
  (case,) = cases.make_cases([peer.ours])
  loss_fn = jax.jit(case.loss_fn)
  ours = loss_fn(make_embeddings(labels), labels, jax.random.key(0))
  np.testing.assert_allclose(found["value"], ours, 1e-4)
