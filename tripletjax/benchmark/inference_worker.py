"""One search of a gallery: `python -m tripletjax.benchmark.inference_worker`.

Arguments and output are those of `worker.py`; the size is that of the gallery
and the number of queries.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Callable, Mapping

import numpy as np

from tripletjax.benchmark.data import parse_size
from tripletjax.benchmark.worker import Step, measure
from tripletjax.inference.gallery import Gallery, identify

DIMENSION = 128
K = 5


def make_rows(count: int, seed: int) -> np.ndarray:
  """Normalised embeddings, float32 `[count, 128]`."""
  rng = np.random.default_rng(seed)
  rows = rng.standard_normal((count, DIMENSION), np.float32)
  rows /= np.linalg.norm(rows, axis=1, keepdims=True)
  return rows


def block_step(gallery: np.ndarray, queries: np.ndarray) -> Step:
  """`identify` by blocks, one image a person."""
  people = Gallery(
    embeddings=gallery,
    names=np.arange(len(gallery)).astype("U8"),
    fingerprint="",
    distance="squared_euclidean",
    run="",
  )

  def step() -> float:
    found = identify(people, queries, k=K, threshold=1.0, search="blocks")
    return float(sum(sum(one.entries) for one in found))

  return step


def faiss_step(gallery: np.ndarray, queries: np.ndarray) -> Step:
  """FAISS's flat index, made each time."""
  import faiss

  def step() -> float:
    index = faiss.IndexFlatL2(DIMENSION)
    index.add(gallery)
    return float(index.search(queries, K)[1].sum())

  return step


def faiss_search_step(gallery: np.ndarray, queries: np.ndarray) -> Step:
  """FAISS's flat index, made before."""
  import faiss

  index = faiss.IndexFlatL2(DIMENSION)
  index.add(gallery)
  return lambda: float(index.search(queries, K)[1].sum())


STEPS: Mapping[str, Callable[[np.ndarray, np.ndarray], Step]] = {
  "blocks": block_step,
  "faiss": faiss_step,
  "faiss_search": faiss_search_step,
}


def main(name: str, size: str, repeats: str, limit: str) -> None:
  """Measures one search and prints the results."""
  count = parse_size(size)
  step = STEPS[name](make_rows(count.identities, 0), make_rows(count.images, 1))
  spent: list[float] = []

  def timed() -> float:
    start = time.process_time()
    value = step()
    spent.append(time.process_time() - start)
    return value

  resource.setrlimit(resource.RLIMIT_AS, (int(limit), int(limit)))
  found = measure(timed, repeats=int(repeats))
  # Of all cores; what neighbours take isn't in it. The first call compiles.
  print(json.dumps(found | {"cpu": spent[1:] or spent}))


if __name__ == "__main__":
  main(*sys.argv[1:])
