"""Grouping the images of a folder by who they show, without knowing."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import psutil

from tripletjax.data.entries import Entry, Folder
from tripletjax.errors import UserError
from tripletjax.inference.embedder import Embedder
from tripletjax.inference.folders import Embedded
from tripletjax.inference.fresh_folder import fresh_folder
from tripletjax.metrics import agreement
from tripletjax.metrics.clustering import METHODS, find_clusters

LINKAGES = ("average", "complete", "single")
WRITES = ("csv", "links")
CSV = "clusters.csv"
# Bytes that scikit-learn takes for a pair, indices and copies included.
_PER_PAIR = 24


class Clusters(NamedTuple):
  """Images and the cluster of each, the largest cluster first.

  Attributes:
    cluster: from 0, `[N]`; clusters of one size in the order of their first
      image.
    sizes: of the clusters, `[C]`, descending.
    agreement: `metrics.agreement` with the labels of the images; empty where
      any isn't known, or all are one.
  """

  cluster: np.ndarray
  sizes: np.ndarray
  agreement: dict[str, float]


def cluster_images(
  embedder: Embedder,
  embedded: Embedded,
  *,
  method: str = "agglomerative",
  clusters: int | None = None,
  threshold: float | None = None,
  linkage: str = "average",
  seed: int = 0,
) -> Clusters:
  """Groups embedded images by the run's distance.

  Args:
    embedder: the run.
    embedded: the images.
    method: `agglomerative` or `kmeans`, see `metrics.clustering`.
    clusters: how many.
    threshold: agglomerative, in place of `clusters`: clusters farther apart
      aren't merged.
    linkage: agglomerative: average, complete or single.
    seed: of k-means' start.

  Raises:
    UserError: an argument can't be right, or memory is too small for the pairs.
  """
  count = len(embedded.embeddings)
  _check(count, method, clusters, threshold, linkage)
  found = find_clusters(
    embedded.embeddings,
    distance=embedder.distance,
    method=method,
    clusters=clusters,
    threshold=threshold,
    linkage=linkage,
    seed=seed,
  )
  assert found is not None  # the embedder refuses what isn't finite
  _, first, codes, sizes = np.unique(
    found, return_index=True, return_inverse=True, return_counts=True
  )
  order = np.lexsort((first, -sizes))
  place = np.empty(len(order), np.int64)
  place[order] = np.arange(len(order))
  cluster = place[codes.reshape(-1)]
  scores = {}
  if all(embedded.labels) and len(set(embedded.labels)) > 1:
    _, truth = np.unique(embedded.labels, return_inverse=True)
    scores = agreement(truth.reshape(-1), cluster)
  return Clusters(cluster, sizes[order], scores)


def _check(
  count: int,
  method: str,
  clusters: int | None,
  threshold: float | None,
  linkage: str,
) -> None:
  if method not in METHODS:
    raise UserError(
      f"--method: expected one of {', '.join(METHODS)}, got {method!r}"
    )
  if linkage not in LINKAGES:
    raise UserError(
      f"--linkage: expected one of {', '.join(LINKAGES)}, got {linkage!r}"
    )
  if method == "kmeans" and (clusters is None or threshold is not None):
    raise UserError(
      "--clusters: expected their number for kmeans, which knows no threshold"
    )
  if (clusters is None) == (threshold is None):
    raise UserError("--clusters and --threshold: expected one of them")
  if clusters is not None and not 1 <= clusters <= count:
    raise UserError(
      f"--clusters: expected 1 to {count:,}, the number of images, got "
      f"{clusters:,}"
    )
  if threshold is not None and not 0 <= threshold < math.inf:
    raise UserError(
      f"--threshold: expected a distance from 0, got {threshold:g}; or choose "
      "--clusters"
    )
  free = psutil.virtual_memory().available
  if method == "agglomerative" and _PER_PAIR * count**2 // 2 > free:
    raise UserError(
      f"--method: agglomerative holds all pairs of {count:,} images, more than "
      "there is memory for; expected kmeans with --clusters"
    )


def write_clusters(
  output: str | Path,
  embedded: Embedded,
  found: Clusters,
  *,
  write: str = "csv",
  draw: Callable[[Path], object] | None = None,
) -> Path:
  """A folder with the clusters; whole, or not there.

  Args:
    output: a folder that isn't there yet, or is empty.
    embedded: the images.
    found: their clusters.
    write: `csv`: `clusters.csv` with the columns path, cluster and, where
      known, label; `links`: folders `0000`, `0001`, ... of links to the images,
      too.
    draw: is given the folder, before it gets its name.

  Raises:
    UserError: the folder isn't empty or can't be written, or the images lie in
      a zip and can't be linked to.
  """
  check_write(write, embedded.images)
  with fresh_folder(Path(output)) as folder:
    _write_csv(folder / CSV, embedded, found)
    if write == "links":
      _link(folder, embedded, found)
    if draw:
      draw(folder)
  return Path(output)


def check_write(write: str, images: Sequence[object]) -> None:
  """Raises a `UserError` unless that can be written of such images."""
  if write not in WRITES:
    raise UserError(
      f"--write: expected one of {', '.join(WRITES)}, got {write!r}"
    )
  if write == "links" and not all(map(_is_file, images)):
    raise UserError(
      "--write: expected csv for the images of a zip, which can't be linked to"
    )


def _is_file(image: object) -> bool:
  return isinstance(image, Entry) and isinstance(image.origin, Folder)


def _write_csv(path: Path, embedded: Embedded, found: Clusters) -> None:
  text = io.StringIO(newline="")
  rows = csv.writer(text, lineterminator="\n")
  known = any(embedded.labels)
  rows.writerow(["path", "cluster"] + ["label"] * known)
  for index in np.argsort(found.cluster, kind="stable").tolist():
    label = [embedded.labels[index]] * known
    rows.writerow([embedded.paths[index], found.cluster[index], *label])
  path.write_bytes(text.getvalue().encode())


def _link(folder: Path, embedded: Embedded, found: Clusters) -> None:
  """Links in folders of clusters; a name that is there gets a number."""
  digits = max(4, len(str(len(found.sizes) - 1)))
  taken: set[Path] = set()
  for path, cluster in zip(embedded.paths, found.cluster, strict=True):
    file = Path(path).absolute()
    place = folder / f"{cluster:0{digits}}"
    place.mkdir(exist_ok=True)
    link, number = place / file.name, 1
    while link in taken:
      number += 1
      link = place / f"{file.stem}-{number}{file.suffix}"
    taken.add(link)
    link.symlink_to(file)
