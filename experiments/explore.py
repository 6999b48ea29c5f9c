"""A page to look at an embedded set with: map, neighbours, pairs, threshold.

python -m experiments.explore --workdir=runs/glyphs
python -m experiments.explore --workdir=RUN --images=FOLDER
"""

from __future__ import annotations

from collections.abc import Sequence

from absl import flags

from experiments import app

flags.adopt_module_key_flags(app)
WORKDIR = flags.DEFINE_string("workdir", None, "Folder of a finished run.")
IMAGES = flags.DEFINE_string(
  "images", None, "Folder or zip of images to show, in place of a split."
)
SPLIT = flags.DEFINE_string(
  "split", None, "The config's eval (the default) or train, or an expression."
)
CHECKPOINT = flags.DEFINE_string(
  "checkpoint", "latest", "Which one: latest, best, or a step."
)
FAR = flags.DEFINE_float(
  "far", 1e-2, "False-accept rate on eval that the threshold begins at."
)
DATA_DIR = flags.DEFINE_string(
  "data_dir", "data", "Folder of the prepared data sets."
)
HOST = flags.DEFINE_string(
  "host", "127.0.0.1", "Where to listen; any but this machine only at will."
)
PORT = flags.DEFINE_integer(
  "port", 0, "0 takes one that is free.", lower_bound=0, upper_bound=65535
)


def main(argv: Sequence[str]) -> None:
  """Serves the page until Ctrl-C."""
  del argv
  if not WORKDIR.value:
    app.fail("--workdir: expected the folder of a finished run, got none")
  if IMAGES.value is not None and SPLIT.value is not None:
    app.fail("--split: expected no --images beside it")
  # Imported here, so that --help and a wrong flag answer at once.
  from tripletjax.explore.serving import explore_run
  from tripletjax.writers import progress_bar

  explore_run(
    WORKDIR.value,
    images=IMAGES.value,
    split=SPLIT.value or "eval",
    checkpoint=CHECKPOINT.value,
    far=FAR.value,
    data_dir=DATA_DIR.value,
    host=HOST.value,
    port=PORT.value,
    open_bar=lambda total, start: progress_bar(
      total, start, desc="embed", unit="image"
    ),
  )


if __name__ == "__main__":
  app.run(main)
