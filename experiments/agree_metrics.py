"""Each metric beside its references, on random data."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping
from typing import NamedTuple

from experiments import metric_libraries as libraries
from experiments import metric_loops as loops
from experiments.metric_data import DISTINCT, KINDS, TWICE, Data, data_sets


class Reference(NamedTuple):
  """Somebody who computes the same.

  Attributes:
    differences: from ours, by metric.
    kinds: of the data on which its rule of ties, if it has one, is ours.
    library: the module that has to be there.
  """

  differences: Callable[[Data], dict[str, float]]
  kinds: tuple[str, ...] = KINDS
  library: str = ""


REFERENCES: Mapping[str, Reference] = {
  # Its search says nothing of the order of images of two labels that tie.
  "pytorch-metric-learning": Reference(
    libraries.pml, (TWICE, DISTINCT), "faiss"
  ),
  # Its average precision gives tied matches the last one's rank.
  "scikit-learn, ranking": Reference(libraries.sklearn_ranking, (DISTINCT,)),
  "scikit-learn, pairs": Reference(libraries.sklearn_pairs),
  "loop over ranks": Reference(loops.retrieval),
  "loop over thresholds": Reference(loops.verification),
  "loop over identities": Reference(loops.identification),
  "loop over support": Reference(loops.one_shot),
  "loop over clusters": Reference(loops.clustering),
  "loop over neighbours": Reference(loops.hubness),
}


def metrics(
  *, identities: int, images: int, dimension: int, seed: int, peers: bool
) -> None:
  """Prints the table of metrics.

  Args:
    identities: of a set.
    images: of each identity, in the mean.
    dimension: of the embeddings.
    seed: of the sets.
    peers: libraries that aren't always there, too.
  """
  from tripletjax.benchmark.tables import table

  sizes = {"identities": identities, "images": images, "dimension": dimension}
  sets = list(data_sets(**sizes, seed=seed))
  rows, absent = [], []
  for name, reference in REFERENCES.items():
    if reference.library and not peers:
      continue
    if reference.library and not importlib.util.find_spec(reference.library):
      absent.append(["", name, "not installed", ""])
      continue
    worst: dict[str, float] = {}
    for data in sets:
      if data.kind in reference.kinds:
        for metric, difference in reference.differences(data).items():
          worst[metric] = max(worst.get(metric, 0.0), difference)
    for metric, difference in worst.items():
      kinds = ", ".join(reference.kinds)
      rows.append([metric, name, f"{difference:.1e}", kinds])
  print(
    f"{identities} identities of {images} images in the mean, 4 of one, "
    f"{dimension} dimensions, seed {seed}\n"
  )
  header = ["metric", "reference", "largest difference", "data"]
  print(table(header, rows + absent))
  if absent:
    print("\npeers: pip install 'tripletjax[peers]'")
