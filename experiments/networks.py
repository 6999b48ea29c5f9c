"""What each network costs: parameters, and operations to embed an image.

python -m experiments.networks --size=64x64 --channels=3 --dimension=128
"""

from __future__ import annotations

from collections.abc import Sequence

from absl import flags

from experiments import app

SIZE = flags.DEFINE_string(
  "size", "64", "Of the images: 64, or 128x64, height first."
)
CHANNELS = flags.DEFINE_enum("channels", "3", ["1", "3"], "Of the images.")
DIMENSION = flags.DEFINE_integer(
  "dimension", 128, "Of the embedding.", lower_bound=1
)
flags.adopt_module_key_flags(app)


def main(argv: Sequence[str]) -> None:
  """Prints the table."""
  del argv
  from tripletjax.data.images import read_size
  from tripletjax.training.network import networks_table

  size = read_size(SIZE.value, field="--size")
  if size is None:
    app.fail("--size: expected 64 or 128x64, got ''")
  print(networks_table((*size, int(CHANNELS.value)), dimension=DIMENSION.value))


if __name__ == "__main__":
  app.run(main)
