"""Up to which distance two images are the same, by a run's validation split."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tripletjax.errors import UserError
from tripletjax.inference.embedder import Embedder
from tripletjax.inference.folders import OpenBar
from tripletjax.metrics import threshold_at
from tripletjax.training.splits import describe_part, open_part
from tripletjax.writers import write_json

FILE = "threshold.json"
FAR = 1e-2


class Threshold(NamedTuple):
  """A distance, and what was accepted up to it where it was chosen.

  Attributes:
    value: images at this distance or a smaller one are the same.
    asked: the false-accept rate that was asked for.
    far: the share of different pairs that it accepts, at most `asked`.
    tar: the share of same pairs; NaN where there were none.
    same_pairs, different_pairs: how many there were.
    split: "eval", "train" or a split expression.
    data: the data set and the split in words.
    images, identities: how many there were.
  """

  value: float
  asked: float
  far: float
  tar: float
  same_pairs: int
  different_pairs: int
  split: str
  data: str
  images: int
  identities: int

  def describe(self) -> str:
    """In words, for people."""
    accepted = round(self.far * self.different_pairs)
    said = (
      f"false-accept rate {self.far:.2g} ({accepted:,} of "
      f"{self.different_pairs:,} different pairs)"
    )
    if not math.isnan(self.tar):
      said += f", true-accept rate {self.tar:.3g} of {self.same_pairs:,}"
    return f"{said}, on {self.data}"


def choose_threshold(
  embedder: Embedder,
  *,
  far: float = FAR,
  split: str = "eval",
  data_dir: str | Path = "data",
  open_bar: OpenBar | None = None,
  say: Callable[[str], object] = print,
) -> Threshold:
  """The largest threshold whose false-accept rate on a split is at most `far`.

  By exact counting over all pairs of the split: see `metrics.threshold_at`. It
  is kept in the run's `threshold.json`, by network, split and rate, so that the
  split is embedded once; the data needn't be there after that.

  Args:
    embedder: the run.
    far: the false-accept rate, in (0, 1).
    split: "eval" (validation) or "train", the config's, or a TFDS split
      expression of the run's data set.
    data_dir: folder of the prepared data sets.
    open_bar: makes a progress bar of the number of images.
    say: is told where the result can't be kept.

  Raises:
    UserError: the rate isn't one, or too small to be measured; there is no such
      split, or its images are of another shape.
  """
  if not 0 < far < 1:
    raise UserError(f"--far: expected a rate between 0 and 1, got {far:g}")
  path = embedder.workdir / FILE
  kept = _read(path)
  asked = {"fingerprint": embedder.fingerprint, "split": split, "asked": far}
  for entry in kept:
    if asked.items() <= entry.items():
      return _threshold(entry)
  found = _measure(embedder, far, split, Path(data_dir), open_bar)
  entry = {**asked, "step": embedder.step, **found._asdict()}
  try:
    write_json(path, {"thresholds": [*kept, entry]})
  except OSError as error:
    say(f"{path} can't be written: {error.strerror}; chosen again next time")
  return found


def kept_thresholds(embedder: Embedder) -> list[Threshold]:
  """Those that were chosen before for this very network; nothing is measured.

  The one of the evaluation split and the usual rate stands first, if any.
  """
  kept = [
    _threshold(entry)
    for entry in _read(embedder.workdir / FILE)
    if entry["fingerprint"] == embedder.fingerprint
  ]
  return sorted(kept, key=lambda t: (t.split != "eval", t.asked != FAR))


def _measure(
  embedder: Embedder,
  far: float,
  split: str,
  data_dir: Path,
  open_bar: OpenBar | None,
) -> Threshold:
  config = embedder.config
  source = open_part(config, data_dir, split, field="--split")
  data = f"{config.data.name} {describe_part(config, split)}"
  if source.image_shape != embedder.image_shape:
    shapes = [
      " x ".join(map(str, shape))
      for shape in (embedder.image_shape, source.image_shape)
    ]
    raise UserError(
      f"--split: expected images of {shapes[0]} as {embedder.workdir} was "
      f"trained on, got {shapes[1]} of {data}"
    )
  bar: Any = open_bar(len(source), 0) if open_bar else None
  try:
    embeddings = embedder.embed_read(
      source.images,
      count=len(source),
      progress=bar.update if bar else None,
    )
  finally:
    if bar:
      bar.close()
  scores = threshold_at(
    embeddings, source.labels, distance=embedder.distance, far=far
  )
  different = int(scores["different_pairs"])
  if math.isnan(scores["threshold"]):
    least = f"at least {1 / different:.2g}" if different else "another --split"
    raise UserError(
      f"--far: {far:g} can't be measured with the {different:,} different "
      f"pairs of {data}: expected {least}"
    )
  return Threshold(
    value=scores["threshold"],
    asked=far,
    far=scores["far"],
    tar=scores["tar"],
    same_pairs=int(scores["same_pairs"]),
    different_pairs=different,
    split=split,
    data=data,
    images=len(source),
    identities=len(np.unique(source.labels)),
  )


def _threshold(entry: dict[str, Any]) -> Threshold:
  tar = float("nan") if entry["tar"] is None else entry["tar"]
  fields = {name: entry[name] for name in Threshold._fields}
  return Threshold(**fields | {"tar": tar})


def _read(path: Path) -> list[dict[str, Any]]:
  """What was kept; whatever isn't whole is chosen again, and so replaced."""
  try:
    entries = json.loads(path.read_text())["thresholds"]
    return [entry for entry in entries if _is_whole(entry)]
  except (OSError, ValueError, TypeError, KeyError, RecursionError):
    return []


def _is_whole(entry: Any) -> bool:
  if not isinstance(entry, dict) or not {*Threshold._fields} <= entry.keys():
    return False
  numbers = ("value", "asked", "far", "tar", "same_pairs", "different_pairs")
  texts = ("fingerprint", "split", "data")
  return (
    all(isinstance(entry[name], str) for name in texts if name in entry)
    and "fingerprint" in entry
    and all(
      isinstance(entry[name], int | float) and math.isfinite(entry[name])
      for name in numbers
      if not (name == "tar" and entry[name] is None)
    )
  )
