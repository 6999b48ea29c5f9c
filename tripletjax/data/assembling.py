"""Finished parts put together as a set that TFDS opens."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import tensorflow_datasets as tfds

from tripletjax.data.shards import Part, features, write_whole

VERSION = "1.0.0"
FINDINGS = "findings.json"
_TEMPLATE = "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}"


def assemble(
  staging: Path,
  name: str,
  sidecars: Sequence[tuple[Part, Mapping[str, Any]]],
  found: Mapping[str, Any],
  draw: Callable[[Path], Any] | None,
) -> Path:
  """Links the shards into a folder and adds what TFDS reads.

  Args:
    staging: where the parts lie.
    name: of the set.
    sidecars: the parts and what `write_part` said of them.
    found: the findings, stored as `findings.json`.
    draw: called with the path of the findings.

  Returns:
    The folder, to be renamed.

  Raises:
    OSError: the folder can't be written.
  """
  # So deep that nobody who looks for sets takes it for one.
  folder = staging / "set" / name / VERSION
  shutil.rmtree(folder, ignore_errors=True)  # if killed here before
  folder.mkdir(parents=True)
  infos = []
  for split in found["splits"]:
    kept = [
      (part, sidecar)
      for part, sidecar in sidecars
      if part.split == split and sidecar["records"]
    ]
    template = tfds.core.ShardedFileTemplate(
      data_dir=folder,
      template=_TEMPLATE,
      dataset_name=name,
      split=split,
      filetype_suffix="array_record",
    )
    for number, (part, _) in enumerate(kept):
      _link(
        staging / f"{part.name}.array_record",
        Path(
          template.sharded_filepath(shard_index=number, num_shards=len(kept))
        ),
      )
    infos.append(
      tfds.core.SplitInfo(
        name=split,
        shard_lengths=[sidecar["records"] for _, sidecar in kept],
        num_bytes=sum(sidecar["bytes"] for _, sidecar in kept),
        filename_template=template,
      )
    )
  tfds.folder_dataset.write_metadata(
    data_dir=folder,
    features=features(3 if found["channels"].get("3") else 1),
    split_infos=infos,
    filename_template=template.replace(split=None),
    description="Prepared by python -m experiments.prepare.",
    check_data=False,
  )
  path = folder / FINDINGS
  write_whole(path, (json.dumps(found, indent=2) + "\n").encode())
  if draw:
    draw(path)
  return folder


def _link(source: Path, target: Path) -> None:
  try:
    target.hardlink_to(source)
  except OSError:  # a file system without links
    shutil.copyfile(source, target)
