"""Writes a split of a prepared set as a folder of images.

python -m experiments.unpack --workdir=RUN --output=FOLDER
python -m experiments.unpack --workdir=RUN --output=FOLDER --gallery_images=1

An image lies in the folder of its identity: what the commands on a finished run
take for --images.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from absl import flags

from experiments import app, using

flags.adopt_module_key_flags(app)
using.define("workdir", "split", "data_dir")
OUTPUT = flags.DEFINE_string("output", "", "New folder.")
GALLERY_IMAGES = flags.DEFINE_integer(
  "gallery_images",
  None,
  "So many of an identity to FOLDER/gallery, its others to FOLDER/query.",
  lower_bound=1,
)


def main(argv: Sequence[str]) -> None:
  """Writes the images, and says how many there are."""
  del argv
  for name in ("workdir", "output"):
    if not flags.FLAGS[name].value:
      app.fail(f"--{name}: expected a folder, got none")
  from tripletjax.inference.unpacking import unpack_split
  from tripletjax.training.finished import read_config

  said = unpack_split(
    read_config(Path(using.value("workdir"))),
    OUTPUT.value,
    data_dir=using.value("data_dir"),
    split=using.value("split"),
    gallery_images=GALLERY_IMAGES.value,
    open_bar=using.open_bar(),
  )
  print(f"{OUTPUT.value}: {said}")


if __name__ == "__main__":
  app.run(main)
