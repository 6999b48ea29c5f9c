"""One side of the race in this process.

Arguments: the side, and a JSON file of `config`, `arrays` (a file of images,
batches and labels), `seed`, `steps`, `warmup`, `evaluate` (after which steps),
`spawned` (when the process was started), `devices` and `threads`. Prints a line
of JSON.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tripletjax.benchmark.race_loop import Arrays, Racer, run_race
from tripletjax.heap import keep_freed


def _ours(asked: Mapping[str, Any], arrays: Arrays) -> Racer:
  import jax

  from tripletjax.benchmark.race_ours import make_racer

  jax.config.update("jax_num_cpu_devices", asked["devices"])
  return make_racer(asked, arrays)


def _theirs(asked: Mapping[str, Any], arrays: Arrays) -> Racer:
  from tripletjax.benchmark.race_theirs import make_racer

  return make_racer(asked, arrays)


SIDES: Mapping[str, Callable[[Mapping[str, Any], Arrays], Racer]] = {
  "ours": _ours,
  "theirs": _theirs,
}


def main(side: str, path: str) -> None:
  """Runs what the file asks for and prints the outcome."""
  keep_freed()
  asked = json.loads(Path(path).read_text())
  with np.load(asked["arrays"], allow_pickle=False) as file:
    arrays = {name: file[name] for name in file.files}
  print(json.dumps(run_race(SIDES[side](asked, arrays), asked, arrays)))


if __name__ == "__main__":
  main(*sys.argv[1:])
