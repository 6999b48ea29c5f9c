"""What a triplet is to a finished run: easy, semi-hard or hard.

python -m experiments.triplet --workdir=RUN ANCHOR POSITIVE NEGATIVE
"""

from __future__ import annotations

from collections.abc import Sequence

from absl import flags

from experiments import app, using

flags.adopt_module_key_flags(app)
using.define(*using.RUN)


def main(argv: Sequence[str]) -> None:
  """Prints the two distances, their gap, and what it costs."""
  run = using.embedder()
  from tripletjax.inference.comparing import judge_triplet

  found = judge_triplet(run, *argv[1:])
  print(f"anchor to positive {found.positive:.6g} ({run.distance})")
  print(f"anchor to negative {found.negative:.6g}")
  print(f"gap {found.gap:.6g}, margin {found.margin:g}: {found.kind}")
  print(f"loss {found.loss:.6g}")
  print("violated" if found.violated else "not violated")
  if run.config.loss.name != "triplet":
    using.say(
      f"the run was trained by {run.config.loss.name}: what a triplet loss "
      "would say"
    )


if __name__ == "__main__":
  app.run(main, takes="ANCHOR POSITIVE NEGATIVE")
