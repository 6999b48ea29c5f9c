"""TFDS's own sets, downloaded and prepared; this alone needs TensorFlow."""

from __future__ import annotations

import difflib
import importlib.util
import os
from pathlib import Path

import tensorflow_datasets as tfds

from tripletjax.data.preparation import BUILDERS, prepare
from tripletjax.data.sources import identity_counts, open_source
from tripletjax.errors import UserError


def download(name: str, *, data_dir: str | os.PathLike[str]) -> Path:
  """Downloads and prepares a set of TFDS as array_record.

  Args:
    name: `name`, `name/config` or `name:version`.
    data_dir: folder of the prepared sets.

  Returns:
    The folder of the set.

  Raises:
    UserError: there is no such set, TensorFlow is missing, or it can't be
      downloaded or written.
  """
  base = name.partition("/")[0].partition(":")[0]
  if base in BUILDERS:
    return Path(prepare(name, data_dir=data_dir).data_dir)
  known = tfds.list_builders(with_community_datasets=False)
  if base not in known:
    near = difflib.get_close_matches(base, known, n=3, cutoff=0.4)
    hint = f"did you mean {', '.join(near)}?" if near else "see its catalogue"
    raise UserError(f"--tfds: TFDS has no set {base!r}; {hint}")
  if importlib.util.find_spec("tensorflow") is None:
    raise UserError(
      "--tfds: preparing a set of TFDS needs TensorFlow: "
      "pip install 'tripletjax[prepare]'; training doesn't need it"
    )
  try:
    builder = tfds.builder(
      name,
      data_dir=os.fspath(Path(data_dir).expanduser()),
      file_format="array_record",
    )
    builder.download_and_prepare()
  except Exception as error:
    # From a hundred scripts of download: anything.
    said = " ".join(str(error).split()) or type(error).__name__
    raise UserError(f"--tfds: can't prepare {name}: {said}") from error
  return Path(builder.data_dir)


def counts(name: str, *, data_dir: str | os.PathLike[str]) -> list[str]:
  """A line for each split of a prepared set: images, identities, lone ones."""
  lines = []
  for split in prepare(name, data_dir=data_dir).info.splits:
    try:
      source = open_source(name, data_dir=data_dir, split=split)
    except UserError as error:  # such as a set that has no label
      lines.append(f"{split}: {error}")
      continue
    found = identity_counts(source.labels)
    lines.append(
      f"{split}: images {found.images:,}, identities {found.identities:,}; of "
      f"one {found.smallest:,} to {found.largest:,}, median {found.median:,g}; "
      f"identities with a single image {found.lone:,}"
    )
  return lines
