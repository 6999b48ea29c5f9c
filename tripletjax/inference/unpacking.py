"""A split of a prepared set as a folder of images."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict
from PIL import Image

from tripletjax.data.sources import Source
from tripletjax.data.splits import gallery_and_query
from tripletjax.inference.folders import OpenBar
from tripletjax.inference.fresh_folder import fresh_folder
from tripletjax.training.splits import describe_part, open_part


def unpack_split(
  config: ConfigDict,
  output: str | Path,
  *,
  data_dir: str | Path = "data",
  split: str = "eval",
  gallery_images: int | None = None,
  open_bar: OpenBar | None = None,
) -> str:
  """Writes the images of a split as PNG files, a folder for each identity.

  Of the size and channels that the run trained on, not inverted, not framed.

  Args:
    config: of a run, or of `configs/`.
    output: a folder that isn't there yet, or is empty.
    data_dir: folder of the prepared data sets.
    split: "eval" or "train", the config's, or a split expression.
    gallery_images: so many of each identity go to `output/gallery`, all others
      to `output/query`, drawn by the run's seed; None makes no difference.
    open_bar: makes a progress bar of the number of images.

  Returns:
    What was written, in words.

  Raises:
    UserError: there is no such split, or the folder isn't empty or can't be
      written.
  """
  config = config.copy_and_resolve_references()
  with config.unlocked():
    config.data.invert = False  # whoever reads them inverts them,
    config.data.frame = ""  # and frames them
  source = open_part(config, Path(data_dir), split, field="--split")
  parts = {"": np.arange(len(source))}
  if gallery_images is not None:
    gallery, query = gallery_and_query(
      source.labels,
      images=gallery_images,
      seed=config.seed,
      field="--gallery_images",
    )
    parts = {"gallery": gallery, "query": query}
  bar: Any = open_bar(len(source), 0) if open_bar else None
  try:
    with fresh_folder(Path(output)) as folder:
      for name, ids in parts.items():
        _write(source, ids, folder / name, bar)
  finally:
    if bar:
      bar.close()
  return (
    f"{len(source):,} images of {len(source.label_names):,} identities of "
    f"{config.data.name} {describe_part(config, split)}"
  )


def _write(source: Source, ids: np.ndarray, root: Path, bar: Any) -> None:
  folders = folder_names(source.label_names)
  number = dict.fromkeys(folders, 0)
  for index in ids.tolist():
    folder = folders[source.labels[index]]
    pixels = source[index]
    path = root / folder / f"{number[folder]:04}.png"
    number[folder] += 1
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels).save(
      path
    )
    if bar:
      bar.update(1)


def folder_names(labels: Sequence[str]) -> list[str]:
  """A folder for each identity, all different, that stays below the root.

  >>> folder_names(["Greek/alpha", "../x", ".x", "..x", ""])
  ['Greek/alpha', '_/x', '_x', '_x-2', '_']
  """
  found: list[str] = []
  taken: set[str] = set()
  for label in labels:
    parts = []
    for part in label.split("/"):
      part = re.sub(r'[\x00-\x1f\x7f\\:*?"<>|]', "_", part)[:80]
      parts.append(re.sub(r"^\.+", "_", part) or "_")
    name, number = "/".join(parts), 1
    while name.lower() in taken:
      number += 1
      name = f"{'/'.join(parts)}-{number}"
    taken.add(name.lower())
    found.append(name)
  return found
