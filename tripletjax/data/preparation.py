"""The data sets that can be named: prepared on disk, or drawn once by TFDS.

Writing and reading array_record files needs no TensorFlow.
"""

from __future__ import annotations

import contextlib
import difflib
import fcntl
import io
import json
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import tensorflow_datasets as tfds
from tensorflow_datasets.core import read_only_builder

from tripletjax.data.catalog import CATALOG
from tripletjax.data.digits import Digits
from tripletjax.data.glyphs import Glyphs
from tripletjax.data.strokes import Strokes
from tripletjax.errors import UserError

# Where features.json names a class; the last is of old versions of TFDS.
_CLASS_KEYS = ("pythonClassName", "python_class_name", "type")

BUILDERS: dict[str, type[tfds.core.GeneratorBasedBuilder]] = {
  "glyphs": Glyphs,
  "digits": Digits,
  "strokes": Strokes,
}


def prepare(
  name: str, *, data_dir: str | os.PathLike[str], field: str = "data.name"
) -> tfds.core.DatasetBuilder:
  """The builder of a data set that is prepared, or that can be drawn here.

  Those of `BUILDERS` are drawn when they aren't there. TFDS writes into a
  temporary folder and renames it. What a killed run left behind is removed, and
  processes that start together wait for the first one.

  Args:
    name: of the set.
    data_dir: folder of the prepared data sets.
    field: what a message about the name calls it.

  Raises:
    UserError: the name is unknown, the set isn't prepared, or the folder is not
      writable.
  """
  if _base(name) not in BUILDERS:
    return _open_prepared(name, Path(data_dir).expanduser(), field)
  builder_class, config = _resolve(name, field)
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
  name: str, field: str
) -> tuple[type[tfds.core.GeneratorBasedBuilder], dict[str, str]]:
  base, slash, config = name.partition("/")
  choices = [
    f"{key}/{entry.name}"
    for key, builder in BUILDERS.items()
    for entry in builder.BUILDER_CONFIGS
  ]
  if base not in BUILDERS or (slash and name not in choices):
    known = ", ".join([*BUILDERS, *choices])
    raise UserError(f"{field}: unknown {name!r}; choose one of {known}")
  return BUILDERS[base], {"config": config} if slash else {}


def _base(name: str) -> str:
  return name.partition("/")[0].partition(":")[0]


def _open_prepared(
  name: str, root: Path, field: str
) -> tfds.core.DatasetBuilder:
  """A set that `experiments.prepare` or TFDS has written."""
  _check_classes(root / (_base(name) or "-"))
  try:
    # By its module: `tfds.testing.mock_data` replaces it there.
    builder = read_only_builder.builder_from_files(name, data_dir=root)
  except ValueError as error:  # not found, or no name at all, or damaged
    there = _descriptions(root / name.replace(":", "/"))
    if re.match(r"\w", name) and any(there):
      raise UserError(_damaged(name, root)) from error
    raise UserError(_not_prepared(name, root, field)) from error
  except Exception as error:
    # Whatever its parsers of damaged files raise.
    raise UserError(_damaged(name, root)) from error
  for split in builder.info.splits.values():
    for path in split.filepaths:
      if not os.path.exists(path):
        raise UserError(
          f"--data_dir: {path} is missing; prepare {name} again, or copy the "
          "whole folder"
        )
  return builder


def _descriptions(folder: Path) -> Iterator[Path]:
  """The descriptions of a set's versions and configs."""
  for depth in ("", "*/", "*/*/"):
    yield from folder.glob(f"{depth}dataset_info.json")


def _damaged(name: str, root: Path) -> str:
  return (
    f"--data_dir: the description of {name} in {root} is damaged; prepare it "
    "again"
  )


def _check_classes(folder: Path) -> None:
  """UserError where a set's description names code that isn't TFDS's.

  TFDS imports the module of whatever class is named there, and `python -m`
  finds modules in the folder that it is called in.
  """
  if not re.fullmatch(r"\w+", folder.name):
    return  # no set's name
  for description in _descriptions(folder):
    path = description.with_name("features.json")
    named: list[str] = []

    def collect(found: dict[str, Any], into: list[str] = named) -> None:
      into += [str(found[key]) for key in _CLASS_KEYS if key in found]

    try:
      json.loads(path.read_text(), object_hook=collect)
    except (OSError, ValueError, RecursionError):
      continue  # TFDS says so, if this is the version that is asked for
    for name in named:
      if "." in name and not name.startswith("tensorflow_datasets."):
        raise UserError(
          f"--data_dir: {path}: expected features of tensorflow_datasets, got "
          f"{name!r}, which would be run; nothing of this set is read"
        )


def _not_prepared(name: str, root: Path, field: str) -> str:
  prepared = {path.parts[-3] for path in root.glob("*/*/dataset_info.json")} | {
    "/".join(path.parts[-4:-2]) for path in root.glob("*/*/*/dataset_info.json")
  }
  names = sorted(
    {name for name in prepared if _base(name) not in BUILDERS} | {*BUILDERS}
  )
  close = difflib.get_close_matches(name, names, n=1)
  hint = f"; did you mean {close[0]!r}?" if close else ""
  given = name if re.fullmatch(r"[a-z]\w*", name) else "NAME"
  source = f"--images=FOLDER --name={given}"
  if _base(name) in CATALOG:
    source = f"--tfds={name}"
  return (
    f"{field}: {name!r} isn't prepared in {root}, where {', '.join(names)} "
    f"can be used{hint}; prepare it by python -m experiments.prepare {source} "
    f"--data_dir={root}"
  )


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
