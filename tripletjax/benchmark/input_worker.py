"""What the suite `input` measures in a process of its own.

    python -m tripletjax.benchmark.input_worker loader FOLDER SIDE ...

prints JSON.
"""

from __future__ import annotations

import json
import re
import resource
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np


def loader_rate(
  folder: str,
  ending: str,
  side: int,
  mode: str,
  identities: int,
  images: int,
  batches: int,
  workers: int,
) -> dict[str, Any]:
  """Images per second of a plain PyTorch DataLoader, m images per class.

  Args:
    folder: of `<identity>/<file>`.
    ending: of the files.
    side: to resize to.
    mode: Pillow's.
    identities: P.
    images: K, the m of the sampler.
    batches: number of batches that are timed.
    workers: processes that load; 0 loads in this one.
  """
  import torch
  from PIL import Image
  from pytorch_metric_learning.samplers import MPerClassSampler

  paths = sorted(Path(folder).glob(f"*/*{ending}"))
  labels = [int(path.parent.name) for path in paths]

  class Files(torch.utils.data.Dataset):
    def __len__(self) -> int:
      return len(paths)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
      image = Image.open(paths[index]).convert(mode)
      if image.size != (side, side):
        image = image.resize((side, side), Image.Resampling.BILINEAR)
      return torch.from_numpy(np.array(image)), labels[index]

  warm = 4 + 2 * workers  # the workers have started, and are ahead
  size = identities * images
  sampler = MPerClassSampler(
    labels,
    m=images,
    batch_size=size,
    length_before_new_iter=(warm + batches) * size,
  )
  loader = iter(
    torch.utils.data.DataLoader(
      Files(), batch_size=size, sampler=sampler, num_workers=workers
    )
  )
  for _ in range(warm):
    next(loader)
  start = time.perf_counter()
  for _ in range(batches):
    next(loader)
  return {"rate": batches * size / (time.perf_counter() - start)}


def index_numbers(identities: int, each: int) -> dict[str, Any]:
  """Seconds and bytes of a sampler's index, and seconds of a batch of 512.

  Args:
    identities: number of identities.
    each: images of each, in random order.
  """
  from tripletjax.data.sampling import pk_sampler

  labels = np.repeat(np.arange(identities, dtype=np.int32), each)
  np.random.default_rng(0).shuffle(labels)
  before = _peak()
  start = time.perf_counter()
  sampler = pk_sampler(labels, identities=64, images=8, seed=0)
  built = time.perf_counter() - start
  peak = _peak() - before
  start = time.perf_counter()
  sampler[0]
  first = time.perf_counter() - start
  seconds = []
  for number in range(1, 101):
    start = time.perf_counter()
    sampler[number]
    seconds.append(time.perf_counter() - start)
  return {
    "seconds": built,
    "bytes": sampler.nbytes,
    "peak_bytes": peak,
    "first_batch_seconds": first,
    "batch_seconds": statistics.median(seconds),
  }


def _peak() -> int:
  """The most memory that this process has had, bytes."""
  # Not getrusage's, in which a process inherits what its parent had.
  status = Path("/proc/self/status")
  if status.exists():
    (kilobytes,) = re.findall(r"VmHWM:\s*(\d+) kB", status.read_text())
    return 1024 * int(kilobytes)
  return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def main(arguments: list[str]) -> None:
  """Runs `loader` or `index`; numbers are converted."""
  what, *rest = arguments
  values: list[Any] = [int(x) if x.isdigit() else x for x in rest]
  run = loader_rate if what == "loader" else index_numbers
  print(json.dumps(run(*values)))


if __name__ == "__main__":
  main(sys.argv[1:])
