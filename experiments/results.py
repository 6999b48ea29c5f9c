"""The pictures and the ablations' tables of the results page, from its files.

python -m experiments.results
python -m experiments.results --results=docs/results --images=docs/images
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from absl import flags

from experiments import app

RESULTS = flags.DEFINE_string(
  "results", "docs/results", "Folder of the numbers: what is there is drawn."
)
IMAGES = flags.DEFINE_string(
  "images", "docs/images", "Folder that the pictures are written to."
)
# File of an ablation -> the arm that others are compared with, its picture.
ABLATIONS = {
  "omniglot_ablation.csv": ("recipe", "results_ablation"),
  "omniglot_recipe.csv": ("recipe", "results_recipe"),
  "omniglot_network.csv": ("recipe", "results_network"),
  "omniglot_losses.csv": ("triplets", "results_losses"),
  "omniglot_views.csv": ("single view", "results_views"),
  "omniglot_matching.csv": ("mean of 16", "results_matching"),
}


def main(argv: Sequence[str]) -> None:
  """Draws the pictures and prints the table."""
  del argv
  from tripletjax.report import result_files, result_pictures
  from tripletjax.report.canvas import save_figure

  folder, images = Path(RESULTS.value), Path(IMAGES.value)
  if not folder.is_dir():
    app.fail(f"--results: there is no folder {str(folder)!r}")
  figures = {}
  if trainings := result_files.read_one_shots(folder):
    figures["results_one_shot"] = result_pictures.draw_one_shot(trainings)
  for name, (baseline, picture) in ABLATIONS.items():
    if not (folder / name).exists():
      continue
    ablation = result_files.read_ablation(
      folder / name,
      arm="recipe",
      baseline=baseline,
      replicate=("split_fold", "seed"),
    )
    measured, cells = ablation.cells
    print(f"{name}: {measured} of {cells} cells have a number\n")
    print(result_files.ablation_table(ablation), "\n")
    figures[picture] = result_pictures.draw_ablation(ablation)
  if (folder / "race.json").exists():
    runs = result_files.read_race(folder / "race.json")
    if runs:
      figures["results_race"] = result_pictures.draw_race(runs)
  if not figures:
    known = ", ".join(["omniglot_small1.json", *ABLATIONS])
    app.fail(f"--results: expected {known} or race.json in {str(folder)!r}")
  for name, figure in figures.items():
    print(save_figure(figure, images / f"{name}.png"))


if __name__ == "__main__":
  app.run(main)
