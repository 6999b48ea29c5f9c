"""Draws a training batch as the network sees it: decoded, sampled, augmented.

python -m experiments.show_batch
python -m experiments.show_batch --config=configs/glyphs.py --step=7
python -m experiments.show_batch --augment=all --output=sheets/batch.png
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from absl import flags

from experiments import app

CONFIG = app.define_config("glyphs.py")
flags.adopt_module_key_flags(app)
DATA_DIR = flags.DEFINE_string(
  "data_dir", "data", "Folder of the prepared data sets."
)
STEP = flags.DEFINE_integer("step", 0, "Number of the step, from 0.")
AUGMENT = flags.DEFINE_string(
  "augment",
  "",
  "One augmentation alone, by example parameters where the config turns it "
  "off; or all: a sheet for each. As the config augments unless given.",
)
OUTPUT = flags.DEFINE_string(
  "output", "batch.png", "Picture to write; of all: batch-<augmentation>.png."
)


def main(argv: Sequence[str]) -> None:
  """Draws the sheets and prints where they are."""
  del argv
  # Imported here, so that --help and a wrong flag answer at once.
  from tripletjax.report.batch import draw_batch, save_batch
  from tripletjax.training.preview import preview

  output = Path(OUTPUT.value)
  if output.suffix != ".png":
    app.fail(f"--output: expected a file that ends in .png, got {output}")
  for sheet in preview(
    CONFIG.value,
    data_dir=Path(DATA_DIR.value),
    step=STEP.value,
    show=AUGMENT.value,
  ):
    path = output
    if AUGMENT.value == "all":
      path = output.with_stem(f"{output.stem}-{sheet.name}")
    figure = draw_batch(sheet.images, sheet.identities, sheet.title)
    print(save_batch(figure, path))


if __name__ == "__main__":
  app.run(main)
