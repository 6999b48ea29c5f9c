"""The data sets that can be named, prepared on disk once by TFDS.

Writing and reading array_record files needs no TensorFlow.
"""

from __future__ import annotations

import contextlib
import fcntl
import io
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import tensorflow_datasets as tfds

from tripletjax.data.digits import Digits
from tripletjax.data.glyphs import Glyphs
from tripletjax.errors import UserError

BUILDERS: dict[str, type[tfds.core.GeneratorBasedBuilder]] = {
  "glyphs": Glyphs,
  "digits": Digits,
}


def prepare(
  name: str, *, data_dir: str | os.PathLike[str]
) -> tfds.core.DatasetBuilder:
  """The builder of a data set, prepared.

  TFDS writes into a temporary folder and renames it. What a killed run left
  behind is removed, and processes that start together wait for the first one.

  Raises:
    UserError: the name is unknown, or the folder is not writable.
  """
  builder_class, config = _resolve(name)
  root = Path(data_dir).expanduser()

  def open_builder() -> tfds.core.DatasetBuilder:
    return builder_class(
      data_dir=os.fspath(root), file_format="array_record", **config
    )

  try:
    builder = open_builder()
    if _is_complete(builder):
      return builder
    root.mkdir(parents=True, exist_ok=True)
    with _locked(root / f".{builder_class.name}.lock"):
      builder = open_builder()
      if not _is_complete(builder):
        _remove_leftovers(Path(builder.data_dir))
        print(f"Preparing {name} in {root} (seconds)", file=sys.stderr)
        builder = open_builder()
        # TFDS wants a folder for downloads, though there are none.
        with _quiet(), tempfile.TemporaryDirectory() as scratch:
          builder.download_and_prepare(download_dir=scratch)
  except OSError as error:
    raise UserError(
      f"--data_dir: can't prepare {name} in {root}: "
      f"{error.strerror or error}; choose a folder that can be written"
    ) from error
  return builder


def _resolve(
  name: str,
) -> tuple[type[tfds.core.GeneratorBasedBuilder], dict[str, str]]:
  base, slash, config = name.partition("/")
  choices = [
    f"{key}/{entry.name}"
    for key, builder in BUILDERS.items()
    for entry in builder.BUILDER_CONFIGS
  ]
  if base not in BUILDERS or (slash and name not in choices):
    known = ", ".join([*BUILDERS, *choices])
    raise UserError(f"data.name: unknown {name!r}; choose one of {known}")
  return BUILDERS[base], {"config": config} if slash else {}


def _is_complete(builder: tfds.core.DatasetBuilder) -> bool:
  # TFDS's own check looks at the two JSON files, not at the shards.
  folder = Path(builder.data_dir)
  return (folder / "dataset_info.json").exists() and all(
    os.path.exists(path)
    for split in builder.info.splits.values()
    for path in [*split.filepaths, folder / "features.json"]
  )


def _remove_leftovers(folder: Path) -> None:
  shutil.rmtree(folder, ignore_errors=True)
  for leftover in folder.parent.glob(f"incomplete.*_{folder.name}"):
    shutil.rmtree(leftover)


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
  with path.open("w") as file:
    fcntl.flock(file, fcntl.LOCK_EX)
    yield


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
  tfds.disable_progress_bar()
  try:
    with contextlib.redirect_stdout(io.StringIO()):
      yield
  finally:
    tfds.enable_progress_bar()
