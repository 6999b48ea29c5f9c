"""How far the curves of two runs are apart.

python -m experiments.compare --runs=runs/one,runs/eight
"""

from __future__ import annotations

from collections.abc import Sequence

from absl import flags

from experiments import app

RUNS = flags.DEFINE_list("runs", None, "Two folders of runs.", required=True)


def main(argv: Sequence[str]) -> None:
  """Prints the table."""
  del argv
  from tripletjax.report.compare import compare_curves

  if len(RUNS.value) != 2:
    app.fail(f"--runs: expected two folders, got {len(RUNS.value)}")
  print(compare_curves(*RUNS.value))


if __name__ == "__main__":
  app.run(main)
