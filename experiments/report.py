"""A page of a sweep, or the pictures of a run, from the files in its folder.

python -m experiments.report --workdir=runs/margin_by_miner
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from absl import flags

from experiments import app

flags.adopt_module_key_flags(app)
WORKDIR = flags.DEFINE_string(
  "workdir",
  None,
  "Folder of a sweep, finished or not: writes index.html, table.md and "
  "table.tex there, and a page a run. Or of a run: draws its pictures.",
)
COMPARE = flags.DEFINE_list(
  "compare", [], "Folders of other sweeps, set beside this one in the page."
)
PICTURES = flags.DEFINE_bool(
  "pictures", True, "Draw the best and the worst run of each arm."
)
ALL_RUNS = flags.DEFINE_bool(
  "all_runs", False, "Draw every run (about a second each)."
)


def main(argv: Sequence[str]) -> None:
  """Writes what the folder allows, and says which files."""
  del argv
  if not WORKDIR.value:
    app.fail("--workdir: expected the folder of a sweep or a run, got none")
  folder = Path(WORKDIR.value)
  if not folder.is_dir():
    app.fail(f"--workdir: there is no folder {folder}")
  # Imported here, so that --help and a wrong flag answer at once.
  from tripletjax.report.page import write_report
  from tripletjax.report.pictures import draw_pictures
  from tripletjax.report.sweep_files import is_sweep

  if is_sweep(folder):
    for other in COMPARE.value:
      if not is_sweep(Path(other)):
        app.fail(f"--compare: {other} is no sweep's folder: no sweep.json")
    files, said = write_report(
      folder,
      compare=tuple(COMPARE.value),
      pictures=PICTURES.value,
      all_runs=ALL_RUNS.value,
    )
    print(f"{said}\n", *files, sep="\n")
    return
  if COMPARE.value:
    app.fail(f"--compare: {folder} is no sweep's folder: no sweep.json")
  files = draw_pictures(folder)
  if not files:
    app.fail(
      f"--workdir: {folder} has neither sweep.json nor a run's metrics.jsonl, "
      "evaluation.npz or triplets.npz"
    )
  print(*files, sep="\n")


if __name__ == "__main__":
  app.run(main)
