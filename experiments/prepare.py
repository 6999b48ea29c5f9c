"""Prepares images of one's own, or a set of TFDS, for training.

python -m experiments.prepare --images=photos.zip --name=faces
python -m experiments.prepare --images=train=A.zip --images=test=B --name=faces
python -m experiments.prepare --csv=list.csv --image_size=112 --skip_unreadable
python -m experiments.prepare --tfds=omniglot
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Sequence
from pathlib import Path

from absl import flags

from experiments import app

IMAGES = flags.DEFINE_multi_string(
  "images",
  [],
  "[SPLIT=]FOLDER_or_ZIP; an image's folder is its identity. Again for more.",
)
CSV = flags.DEFINE_string(
  "csv", None, "CSV with the columns path, label; if wanted group, split."
)
TFDS = flags.DEFINE_string("tfds", None, "Name of a set of TFDS: downloads it.")
NAME = flags.DEFINE_string(
  "name", None, "Of the set; the first file's if None."
)
DATA_DIR = flags.DEFINE_string(
  "data_dir", "data", "Folder of the prepared data sets."
)
IMAGE_SIZE = flags.DEFINE_string(
  "image_size", "", "N or HxW, height first, to resize to; 0 or none: as is."
)
SKIP_UNREADABLE = flags.DEFINE_bool(
  "skip_unreadable", False, "Leave out images that can't be read; count them."
)


def main(argv: Sequence[str]) -> None:
  """Prepares the set, says what was found, and prints where it is."""
  del argv
  given = [flag for flag in (IMAGES, CSV, TFDS) if flag.value]
  if len(given) != 1:
    app.fail(
      "expected exactly one of --images, --csv, --tfds, got "
      f"{' and '.join(f'--{flag.name}' for flag in given) or 'none'}"
    )
  # Imported here, so that --help and a wrong flag answer at once.
  if TFDS.value:
    from tripletjax.data.downloading import counts, download

    if NAME.value or IMAGE_SIZE.value or SKIP_UNREADABLE.value:
      app.fail("--tfds: --name, --image_size, --skip_unreadable don't apply")
    folder = download(TFDS.value, data_dir=DATA_DIR.value)
    for line in counts(TFDS.value, data_dir=DATA_DIR.value):
      print(line)
    print(folder)
    return
  from tripletjax.data.images import read_size
  from tripletjax.data.importing import import_images, valid_name
  from tripletjax.data.listing import list_images
  from tripletjax.data.table import list_csv
  from tripletjax.report.prepared import (
    draw_findings,
    findings_lines,
    read_findings,
  )
  from tripletjax.writers import progress_bar

  size = "" if IMAGE_SIZE.value == "0" else IMAGE_SIZE.value
  first = CSV.value or IMAGES.value[0].rpartition("=")[2]
  open_bar = functools.partial(progress_bar, desc="prepare", unit="image")
  folder = import_images(
    list_csv(Path(CSV.value)) if CSV.value else list_images(IMAGES.value),
    name=NAME.value or valid_name(Path(first).resolve().stem),
    data_dir=DATA_DIR.value,
    size=read_size(size, field="--image_size"),
    skip_unreadable=SKIP_UNREADABLE.value,
    open_bar=open_bar if sys.stderr.isatty() else None,
    draw=draw_findings,
  )
  findings = folder / "findings.json"
  print("\n".join(findings_lines(read_findings(findings))))
  print(findings.with_suffix(".png"))
  print(folder)


if __name__ == "__main__":
  app.run(main)
