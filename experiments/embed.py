"""Embeds all images of a folder or zip by a finished run.

python -m experiments.embed --workdir=RUN --images=FOLDER --output=x.npz
python -m experiments.embed --workdir=RUN --images=A.zip --output=x.parquet

The file holds embeddings, paths, and labels where images lie in folders.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from absl import flags

from experiments import app, using

flags.adopt_module_key_flags(app)
using.define(*using.RUN, *using.READING)
IMAGES = flags.DEFINE_string("images", "", "Folder or zip of images.")
OUTPUT = flags.DEFINE_string(
  "output", "", "File to write, that ends in .npz or .parquet."
)


def main(argv: Sequence[str]) -> None:
  """Embeds the images, and says how many there are."""
  del argv
  for flag, wanted in (
    (IMAGES, "a folder or zip of images"),
    (OUTPUT, "a file that ends in .npz or .parquet"),
  ):
    if not flag.value:
      app.fail(f"--{flag.name}: expected {wanted}, got none")
  run = using.embedder()
  from tripletjax.inference.folders import (
    check_output,
    embed_folder,
    write_embeddings,
  )

  output = Path(OUTPUT.value)
  check_output(output)
  found = embed_folder(
    run,
    IMAGES.value,
    **using.reading(),
  )
  write_embeddings(output, found, run)
  count, dimension = found.embeddings.shape
  labels = len({label for label in found.labels if label})
  print(
    f"{output}: {count:,} embeddings of {dimension} dimensions, "
    f"{labels:,} labels; {run.workdir}, step {run.step}, {run.distance}"
  )


if __name__ == "__main__":
  app.run(main)
