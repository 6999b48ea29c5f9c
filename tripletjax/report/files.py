"""The files a report reads, checked; a broken one is named in one line."""

from __future__ import annotations

import json
import pathlib
from typing import Any, NamedTuple

import numpy as np

from tripletjax.errors import UserError
from tripletjax.npz_files import read_npz, take


class Evaluation(NamedTuple):
  """What `evaluation.npz` holds: one embedded set.

  Attributes:
    embeddings: `[N, D]`, floating, finite.
    labels: `[N]`, integer, index into `label_names`.
    label_names: `[C]`, str, such as "U+0561" or "3".
    images: `[N, H, W, C]`, uint8, ink high.
    groups: `[N]`, str, such as the script, or None.
    queries: `[Q]`, integer, index of the images that ask and have a match;
      None is all.
    nearest: `[Q, K]`, integer, index of what is nearest to each query; None
      where nobody has looked.
    nearest_distances: `[Q, K]`, floating, or None.
    distance: the name of the distance by which these were found.
  """

  embeddings: np.ndarray
  labels: np.ndarray
  label_names: np.ndarray
  images: np.ndarray
  groups: np.ndarray | None
  queries: np.ndarray | None = None
  nearest: np.ndarray | None = None
  nearest_distances: np.ndarray | None = None
  distance: str = "euclidean"


class MinedTriplets(NamedTuple):
  """What `triplets.npz` holds: T triplets that a miner chose.

  Attributes:
    anchors, positives, negatives: `[T, H, W, C]`, uint8, ink high.
    distance_ap, distance_an: `[T]`, floating.
    anchor_labels, negative_labels: `[T]`, str.
    margin: the margin of the loss.
    miner: the miner's name.
  """

  anchors: np.ndarray
  positives: np.ndarray
  negatives: np.ndarray
  distance_ap: np.ndarray
  distance_an: np.ndarray
  anchor_labels: np.ndarray
  negative_labels: np.ndarray
  margin: float
  miner: str


def read_series(path: pathlib.Path) -> dict[str, tuple[np.ndarray, np.ndarray]]:
  """Each number of a JSONL file as (steps `[S]`, values `[S]`), by step.

  A step written twice, as after a restart, counts as written last. A null
  value is a NaN.

  Raises:
    UserError: a line is not a JSON object with an integer "step".
  """
  series: dict[str, dict[int, float]] = {}
  for number, line in enumerate(_read_lines(path), start=1):
    if not line.strip():
      continue
    try:
      row = json.loads(line)
    except (ValueError, RecursionError):
      row = None
    step = row.get("step") if isinstance(row, dict) else None
    if row is None or type(step) is not int or not 0 <= step < 2**62:
      raise UserError(
        f'{path}: expected an object with an integer "step" on each line, '
        f"got {line[:60]!r} on line {number}"
      )
    for name, value in row.items():
      if value is None or isinstance(value, int | float):
        series.setdefault(name, {})[step] = _number(value)
  if not series:
    raise UserError(f"{path}: expected at least one line, got none")
  return {
    name: (np.array(sorted(rows)), np.array([rows[s] for s in sorted(rows)]))
    for name, rows in series.items()
  }


def _number(value: float | None) -> float:
  try:
    return float("nan") if value is None else float(value)
  except OverflowError:  # an integer of hundreds of digits
    return float("inf")


def read_evaluation(path: pathlib.Path) -> Evaluation:
  """Reads and checks `evaluation.npz`.

  Raises:
    UserError: the file can't be read or an array is missing or misshapen.
  """
  data = read_npz(path)
  embeddings = take(data, path, "embeddings", "f", (None, None))
  count = len(embeddings)
  labels = take(data, path, "labels", "iu", (count,))
  names = take(data, path, "label_names", "U", (None,))
  images = take(data, path, "images", "B", (count, None, None, None))
  groups = None
  if "groups" in data:
    groups = take(data, path, "groups", "U", (count,))
  if not count:
    raise UserError(f"{path}: expected at least one embedding, got none")
  if not np.isfinite(embeddings).all():
    raise UserError(f"{path}: expected finite embeddings, got NaN or infinity")
  if not ((labels >= 0) & (labels < len(names))).all():
    raise UserError(
      f"{path}: expected labels in 0..{len(names) - 1} like label_names, "
      f"got {labels.min()}..{labels.max()}"
    )
  found: dict[str, Any] = {}
  if "nearest" in data:
    queries = take(data, path, "queries", "iu", (None,))
    nearest = take(data, path, "nearest", "iu", (len(queries), None))
    found = {
      "queries": queries,
      "nearest": nearest,
      "nearest_distances": take(
        data, path, "nearest_distances", "f", nearest.shape
      ),
      "distance": str(take(data, path, "distance", "U", ())),
    }
  return Evaluation(
    embeddings.astype(np.float32), labels, names, images, groups, **found
  )


def read_triplets(path: pathlib.Path) -> MinedTriplets:
  """Reads and checks `triplets.npz`; T may be 0.

  Raises:
    UserError: the file can't be read or an array is missing or misshapen.
  """
  data = read_npz(path)
  anchors = take(data, path, "anchors", "B", (None, None, None, None))
  count = len(anchors)
  positives, negatives = (
    take(data, path, name, "B", anchors.shape)
    for name in ("positives", "negatives")
  )
  distance_ap, distance_an = (
    take(data, path, name, "f", (count,))
    for name in ("distance_ap", "distance_an")
  )
  # An empty list saved by NumPy is float64: its kind says nothing.
  text = "U" if count else "Uf"
  anchor_labels, negative_labels = (
    take(data, path, name, text, (count,))
    for name in ("anchor_labels", "negative_labels")
  )
  return MinedTriplets(
    anchors=anchors,
    positives=positives,
    negatives=negatives,
    distance_ap=distance_ap,
    distance_an=distance_an,
    anchor_labels=anchor_labels,
    negative_labels=negative_labels,
    margin=float(take(data, path, "margin", "fiu", ())),
    miner=str(take(data, path, "miner", "U", ())),
  )


def _read_lines(path: pathlib.Path) -> list[str]:
  try:
    return path.read_text(encoding="utf-8").splitlines()
  except (OSError, UnicodeDecodeError) as error:
    raise UserError(f"{path}: expected lines of JSON, got {error}") from error
