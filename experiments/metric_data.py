"""Random data that the metrics and their references are compared on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np

# Of each kind of data: how many sets.
SETS = 2
# Integers with equal distances in plenty; floats with some images twice, under
# one label; floats all of whose distances differ.
TIES, TWICE, DISTINCT = KINDS = ("ties", "images twice", "distinct")


class Data(NamedTuple):
  """Embeddings `[N, D]`, labels `[N]`, and which of `KINDS` they are."""

  embeddings: np.ndarray
  labels: np.ndarray
  kind: str


def data_sets(
  *, identities: int, images: int, dimension: int, seed: int
) -> Iterator[Data]:
  """Sets of each kind, with identities of many images and of one."""
  for number in range(SETS * len(KINDS)):
    kind = KINDS[number % len(KINDS)]
    rng = np.random.default_rng([seed, number])
    weight = 1 / np.arange(1, identities + 1)
    labels = rng.choice(identities, identities * images, p=weight / sum(weight))
    # The last four are alone.
    labels = np.concatenate([labels, identities + np.arange(4)])
    centres = rng.normal(size=(identities + 4, dimension))
    points = centres[labels] + rng.normal(size=(len(labels), dimension))
    if kind == TIES:
      points = np.round(points)
    if kind != DISTINCT:
      again = rng.integers(0, len(labels) - 4, len(labels) // 5)
      labels = np.concatenate([labels, labels[again]])
      points = np.concatenate([points, points[again]])
    order = rng.permutation(len(labels))
    yield Data(points[order].astype(np.float32), labels[order], kind)


def compare(
  theirs: Mapping[str, float], mine: Mapping[str, float]
) -> dict[str, float]:
  """Differences by metric; nan agrees with nan, and with nothing else."""
  found = {}
  for name, value in theirs.items():
    difference = abs(value - mine[name])
    if np.isnan(difference):
      difference = 0.0 if np.isnan([value, mine[name]]).all() else np.inf
    found[name] = float(difference)
  return found


def distances_of(data: Data) -> np.ndarray:
  """Squared Euclidean distances in float64, `[N, N]`."""
  x = data.embeddings.astype(np.float64)
  return ((x[:, None] - x[None]) ** 2).sum(axis=2)


def pairs_of(data: Data) -> tuple[np.ndarray, np.ndarray]:
  """Distance and sameness of all unordered pairs, `[P]`."""
  i, j = np.triu_indices(len(data.labels), 1)
  return distances_of(data)[i, j], data.labels[i] == data.labels[j]
