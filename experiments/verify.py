"""Do two images show the same identity?

python -m experiments.verify --workdir=RUN A.jpg B.jpg
python -m experiments.verify --workdir=RUN A.jpg B.jpg --far=1e-3

The threshold is chosen on the run's evaluation split, at a false-accept rate,
and kept in RUN/threshold.json; or given by --threshold.
"""

from __future__ import annotations

from collections.abc import Sequence

from absl import flags

from experiments import app, using

flags.adopt_module_key_flags(app)
using.define(*using.RUN, *using.CHOOSING)


def main(argv: Sequence[str]) -> None:
  """Prints the distance, the threshold and the verdict."""
  run = using.embedder()
  from tripletjax.inference.comparing import verify

  limit, why = using.threshold(run)
  found = verify(run, *argv[1:], threshold=limit)
  print(f"distance {found.distance:.6g} ({run.distance})")
  print(f"threshold {found.threshold:.6g}: {why}")
  print("same" if found.same else "different")


if __name__ == "__main__":
  app.run(main, takes="A B")
