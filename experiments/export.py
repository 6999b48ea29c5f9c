"""Exports the network of a finished run, with a model card beside it.

python -m experiments.export --workdir=runs/glyphs --format=stablehlo
python -m experiments.export --workdir=RUN --format=onnx --output=FOLDER
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from absl import flags

from experiments import app

flags.adopt_module_key_flags(app)
WORKDIR = flags.DEFINE_string("workdir", None, "Folder of a finished run.")
FORMAT = flags.DEFINE_enum(
  "format",
  None,
  ["stablehlo", "onnx", "flax"],
  "stablehlo for JAX, onnx (extra onnx), or flax: weights and a config.",
)
OUTPUT = flags.DEFINE_string(
  "output", None, "Folder; RUN/export/FORMAT if None. An export is replaced."
)
CHECKPOINT = flags.DEFINE_string(
  "checkpoint", "latest", "Which one: latest, best, or a step."
)


def main(argv: Sequence[str]) -> None:
  """Writes the folder, and prints how equal it is and its files."""
  del argv
  if not WORKDIR.value:
    app.fail("--workdir: expected the folder of a finished run, got none")
  if not FORMAT.value:
    app.fail("--format: expected stablehlo, onnx or flax, got none")
  output = Path(OUTPUT.value or f"{WORKDIR.value}/export/{FORMAT.value}")
  # Imported here, so that --help and a wrong flag answer at once.
  from tripletjax.inference.export import export_run

  export_run(
    WORKDIR.value,
    format=FORMAT.value,
    output=output,
    checkpoint=CHECKPOINT.value,
    say=print,
  )
  print(*sorted(output.iterdir()), sep="\n")


if __name__ == "__main__":
  app.run(main)
