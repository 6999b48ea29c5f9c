"""Other libraries beside ours, each in a process of its own."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tripletjax.benchmark.data import Size

NOT_INSTALLED = "not installed"
OUT_OF_MEMORY = "out of memory"
# Address space of a peer's process, and how long it may take with its imports.
BYTES = 16 * 2**30
SECONDS = 300
WORKER = ("-m", "tripletjax.benchmark.worker")
# The worker in a Python that may lack JAX, which this package begins with: the
# package without its beginning.
BARE_WORKER = (
  "-c",
  f"""
import runpy, sys, types
package = types.ModuleType("tripletjax")
package.__path__ = [{str(Path(__file__).parents[1])!r}]
sys.modules["tripletjax"] = package
runpy.run_module("tripletjax.benchmark.worker", run_name="__main__")
""",
)


class Peer(NamedTuple):
  """A loss of another library.

  Attributes:
    name: what `worker.py` calls it.
    library: the module that has to be there.
    ours: the loss that it is compared with.
    faster: batch size -> how many times faster ours was asked to be.
    smaller: batch size -> how many times less memory.
  """

  name: str
  library: str
  ours: str
  faster: Mapping[int, float] = {}
  smaller: Mapping[int, float] = {}


_PML = "pytorch_metric_learning"
_ST = "sentence_transformers"
PEERS = (
  Peer("pml_all", _PML, "all", {1800: 100}, {1800: 40}),
  Peer("pml_semi_hard", _PML, "all_semi_hard"),
  Peer("pml_batch_hard", _PML, "batch_hard", {1800: 8}),
  Peer("pml_distance_weighted", _PML, "distance_weighted", {1800: 60}),
  Peer("pml_multi_similarity", _PML, "multi_similarity"),
  Peer("st_all", _ST, "all"),
  Peer("st_semi_hard", _ST, "semi_hard"),
  Peer("st_batch_hard", _ST, "batch_hard"),
  Peer("tfa_semi_hard", "tensorflow_addons", "semi_hard", {1024: 250}),
)


def measure_peer(
  peer: Peer,
  size: Size,
  *,
  repeats: int,
  program: Sequence[str] = (),
  seconds: float = SECONDS,
  other_python: str = "",
) -> dict[str, Any]:
  """Measures a peer: value and gradient of one batch.

  Args:
    peer: what to measure.
    size: the batch.
    repeats: number of samples, at most.
    program: what Python runs, the worker when empty; gets the peer's name, the
      size, the number of repeats and the limit of memory, and prints the
      results.
    seconds: the process is ended after so long.
    other_python: an interpreter that is asked where this one lacks the library;
      it needs NumPy beside the library.

  Returns:
    `samples` (seconds), `peak_bytes` and `value`, or only `failure`.
  """
  python, worker = sys.executable, WORKER
  if importlib.util.find_spec(peer.library) is None:
    if not other_python:
      return {"failure": NOT_INSTALLED}
    python, worker = other_python, BARE_WORKER
  arguments = (peer.name, size.name, str(repeats), str(BYTES))
  # The threads of a peer that spin while they wait take the cores from the
  # others, and make it look 200 times slower than it is.
  environment = {**os.environ, "OMP_WAIT_POLICY": "PASSIVE"}
  try:
    process = subprocess.run(
      [python, *(program or worker), *arguments],
      capture_output=True,
      text=True,
      env=environment,
      timeout=seconds,
    )
  except subprocess.TimeoutExpired:
    return {"failure": f"more than {seconds:.0f} s"}
  if process.returncode < 0:
    # Ended by a signal: the kernel's, or abort() where C++ has no memory.
    return {"failure": OUT_OF_MEMORY}
  lines = process.stdout.splitlines()
  if process.returncode or not lines:
    last = (process.stderr.splitlines() or ["no output"])[-1]
    if last == f"ModuleNotFoundError: No module named '{peer.library}'":
      return {"failure": NOT_INSTALLED}
    return {"failure": f"failed: {last}"}
  return json.loads(lines[-1])
