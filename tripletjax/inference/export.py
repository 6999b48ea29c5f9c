"""Exports the network of a finished run: a file, its metadata and its card."""

from __future__ import annotations

import importlib.metadata
import json
import platform
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from tripletjax.errors import UserError
from tripletjax.inference.embedder import Embedder
from tripletjax.inference.export_card import SPACES, model_card
from tripletjax.inference.export_folder import new_folder, write_metadata
from tripletjax.inference.export_formats import (
  FORMATS,
  ForwardFn,
  Shape,
  check_installed,
  make_forward,
)
from tripletjax.inference.thresholds import kept_thresholds
from tripletjax.npz_files import read_npz
from tripletjax.training.finished import FinishedRun
from tripletjax.training.splits import describe_part
from tripletjax.training.state import LOSS
from tripletjax.writers import write_json

# Batches over which a file is compared with the run.
BATCHES = (1, 4)
TOLERANCE = 1e-5  # of embeddings up to 1; of longer ones, times their largest
BFLOAT16 = 2e-2  # where the network computes in it
_VERSIONS = ("tripletjax", "jax", "flax", "numpy")


def export_run(
  workdir: str | Path,
  *,
  format: str,
  output: str | Path,
  checkpoint: str = "latest",
  say: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
  """Writes a folder with the network of a run in a format of `FORMATS`.

  The file is opened again and compared with the run before the folder gets its
  name: what isn't equal isn't left.

  Args:
    workdir: the run's folder.
    format: stablehlo, onnx or flax.
    output: the folder; an export that is there is replaced.
    checkpoint: latest, best (by the run's `checkpoint.best`), or a step.
    say: is given lines for people.

  Returns:
    What `metadata.json` holds.

  Raises:
    UserError: no run, no checkpoint, no such format; a package that is missing;
      the folder holds something else; the file isn't equal to the run.
  """
  if format not in FORMATS:
    raise UserError(
      f"--format: expected one of {', '.join(FORMATS)}, got {format!r}"
    )
  kind = FORMATS[format]
  check_installed(f"--format={format}", kind.writes_with, format)
  embedder = Embedder.load(workdir, checkpoint=checkpoint, say=say)
  image_shape = embedder.image_shape
  metadata = describe(embedder, format)
  run, said = _as_written(embedder.run, format)
  files = (*(f.file for f in FORMATS.values()), "config.json")
  with new_folder(Path(output), files) as folder:
    (folder / kind.file).write_bytes(kind.write(run, image_shape))
    if format == "flax":
      write_json(folder / "config.json", saved_config(run))
    difference, tolerance = compare(
      run, kind.open(folder, metadata), image_shape
    )
    if not difference <= tolerance:
      raise UserError(
        f"--format={format}: {kind.file} isn't equal to {run.workdir}: the "
        f"largest difference of an embedding is {difference:.1e}, expected at "
        f"most {tolerance:.0e}; nothing was written"
      )
    metadata["check"] = {
      "largest_difference": difference,
      "tolerance": tolerance,
      "batches": BATCHES,
      "said": said,
    }
    write_metadata(folder, metadata, model_card(metadata))
    size = (folder / kind.file).stat().st_size
  say(
    f"{kind.file}: {size:,} bytes; largest difference from the run "
    f"{difference:.1e} (at most {tolerance:.0e})"
  )
  return metadata


def compare(
  run: FinishedRun, forward: ForwardFn, image_shape: Shape
) -> tuple[float, float]:
  """The largest difference of an opened file from the run, and what's allowed.

  Over random images in batches of several sizes, and black and white ones.
  """
  rng = np.random.default_rng(0)
  expected_fn = jax.jit(make_forward(run))
  worst, largest = 0.0, 1.0
  for count in BATCHES:
    images = rng.integers(0, 256, (count, *image_shape), dtype=np.uint8)
    if count > 2:
      images[0], images[1] = 0, 255
    # What the file computes, an accelerator's default would round.
    with jax.default_matmul_precision("highest"):
      expected = np.asarray(expected_fn(images))
    found = forward(images)
    if found.shape != expected.shape or found.dtype != np.float32:
      return float("inf"), TOLERANCE
    # A NaN stays one, and isn't less than anything.
    worst = float(np.maximum(worst, np.max(np.abs(found - expected))))
    largest = max(largest, float(np.max(np.abs(expected))))
  is_wide = run.config.model.dtype == "float32"
  return worst, largest * (TOLERANCE if is_wide else BFLOAT16)


def _as_written(run: FinishedRun, kind: str) -> tuple[FinishedRun, str]:
  """The run as a format can hold it, and what differs, in words."""
  if kind != "onnx" or run.config.model.dtype == "float32":
    return run, ""
  config = run.config.copy_and_resolve_references()
  with config.unlocked():
    config.model.dtype = "float32"
  return run._replace(config=config), (
    f"The run computed in {run.config.model.dtype}; the file computes, and was "
    "compared, in float32."
  )


def describe(embedder: Embedder, kind: str) -> dict[str, Any]:
  """What a user of the file must know, but for how equal it is."""
  run, config = embedder.run, embedder.config
  height, width, channels = embedder.image_shape
  fields = saved_config(run)
  packages = _VERSIONS + FORMATS[kind].writes_with
  params = {name: tree for name, tree in run.params.items() if name != LOSS}
  return {
    "format": kind,
    "file": FORMATS[kind].file,
    "image": {
      "height": height,
      "width": width,
      "channels": channels,
      "dtype": "uint8",
      "layout": "NHWC",
      "inverted": bool(config.data.invert),
      "frame": config.data.frame,
      "ink": shows_ink(run.workdir),
      "resize": "bilinear, antialiased, aspect not kept",
    },
    "embedding": {
      "dimension": config.model.dimension,
      "dtype": "float32",
      "normalized": bool(config.model.normalize),
      "distance": config.loss.distance,
    },
    "threshold": find_threshold(embedder),
    "parameters": sum(int(x.size) for x in jax.tree.leaves(params)),
    "run": {"name": run.workdir.absolute().name, "step": run.step},
    "data": {
      "name": config.data.name,
      "train": describe_part(config, "train"),
      "eval": describe_part(config, "eval"),
      **_counts(run.workdir),
    },
    "model": fields["model"],
    "loss": fields["loss"],
    "scores": find_scores(run),
    "versions": {"python": platform.python_version()}
    | {name: importlib.metadata.version(name) for name in packages},
  }


def saved_config(run: FinishedRun) -> dict[str, Any]:
  """The run's config, without the folders of this machine."""
  fields = json.loads(run.config.to_json())
  for section, field in (("data", "split_file"), ("model", "pretrained")):
    if fields[section].get(field):
      fields[section][field] = Path(fields[section][field]).name
  return fields


def shows_ink(workdir: Path) -> bool:
  """Whether the images of a run are white ink on black; by those it measured.

  Images of the network: after an inversion, where there is one.
  """
  try:
    images = read_npz(workdir / "evaluation.npz")["images"][:100]
  except (UserError, KeyError):
    return False  # nothing was measured
  if images.ndim != 4 or images.shape[-1] != 1 or not images.size:
    return False
  rims = images[:, 0], images[:, -1], images[:, :, 0], images[:, :, -1]
  dark = [np.median(rim, axis=(1, 2)) < 16 for rim in rims]
  return bool(np.mean(dark) > 0.9)


def find_threshold(embedder: Embedder) -> dict[str, Any] | None:
  """Up to which distance two images are one identity; None if not measured.

  The one that `experiments.verify` chose for this network; else that of the
  latest measurement.
  """
  for kept in kept_thresholds(embedder):
    return {"value": kept.value, "said": kept.describe()}
  for summary, said in _summaries(embedder.run):
    value = _scores_of(summary, "trained").get("threshold")
    if isinstance(value, int | float):
      return {
        "value": float(value),
        "said": f"most accurate on as many same as different pairs of {said}",
      }
  return None


def find_scores(run: FinishedRun) -> dict[str, Any] | None:
  """Scores by representation of the latest measurement; None if there is none.

  That of `experiments.evaluate`, or that of the end of the training.
  """
  for summary, said in _summaries(run):
    spaces = {name: _scores_of(summary, name) for name in SPACES}
    spaces = {name: scores for name, scores in spaces.items() if scores}
    if "trained" in spaces:
      return {"split": said, "spaces": spaces}
  return None


def _summaries(run: FinishedRun) -> list[tuple[Mapping[str, Any], str]]:
  """What was measured of this very step, and on which split."""
  evaluated = describe_part(run.config, "eval")
  found = []
  for name, step in (
    ("evaluation/summary.json", "step"),
    ("summary.json", "steps"),
  ):
    try:
      summary = json.loads((run.workdir / name).read_text())
      if summary[step] == run.step:
        found.append((summary, str(summary.get("split", evaluated))))
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
      continue  # none, or a broken one: the card says that there is none
  return found


def _scores_of(summary: Mapping[str, Any], space: str) -> dict[str, Any]:
  scores = summary.get(space)
  if not isinstance(scores, Mapping):
    return {}
  return {
    name: value
    for name, value in scores.items()
    if value is None or isinstance(value, int | float)
  }


def _counts(workdir: Path) -> dict[str, int]:
  """Images and identities that it was trained on, where the run says so."""
  try:
    data = json.loads((workdir / "data.json").read_text())
    return {name: int(data[name]) for name in ("images", "identities")}
  except (OSError, ValueError, KeyError, TypeError):
    return {}
