"""Measures a finished run beside raw pixels and an untrained network.

python -m experiments.evaluate --workdir=runs/glyphs
python -m experiments.evaluate --workdir=RUN --gallery=SPLIT --query=SPLIT
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from absl import flags

from experiments import app

WORKDIR = flags.DEFINE_string("workdir", None, "Folder of a finished run.")
# What is measured: argument of evaluate_run -> flag.
TEXTS = {
  name: flags.DEFINE_string(name, default, said)
  for name, default, said in (
    ("checkpoint", "latest", "Which one: latest, best, or a step."),
    ("output", None, "Folder; RUN/evaluation if None."),
    ("data_dir", "data", "Folder of the prepared data sets."),
    ("data", None, "Another set than the run's, such as lfw."),
    ("split", "eval", "The config's eval or train, or a split expression."),
    ("gallery", None, "Split that --query is searched in; not --split then."),
    ("query", None, "Split that is searched for in --gallery."),
    ("cameras", None, "Expression that finds the camera in a path: _c(.)"),
    ("pairs", None, "Pairs of --split in LFW's format; only they count then."),
  )
}
# Protocols: field of Settings -> kind of its numbers, flag.
LISTS: dict[str, tuple[Callable[[str], Any], flags.FlagHolder]] = {
  name: (kind, flags.DEFINE_list(name, default, said))
  for name, kind, default, said in (
    ("ks", int, [], "Of recall@k; 1, 2, 4 to 64 by default."),
    ("far", float, "1e-1,1e-2,1e-3,1e-4,1e-5,1e-6", "False-accept rates."),
    ("ranks", int, "1,5", "Of closed-set identification."),
    ("fpir", float, "1e-1,1e-2", "Rates of open-set identification."),
    ("metrics", str, [], "Which of METRICS; all by default."),
  )
}
COUNTS = {
  name.removeprefix("one_shot_"): flags.DEFINE_integer(
    name, default, said, lower_bound=1
  )
  for name, default, said in (
    ("one_shot_ways", 20, "Identities of an episode."),
    ("one_shot_shots", 1, "Images shown of each of them."),
    ("one_shot_queries", 1, "Images of each of them to be told apart."),
    ("one_shot_episodes", 400, "Number of episodes."),
    ("gallery_images", None, "So many of an identity; its others ask."),
    ("views", None, "Augmented ones of each image, averaged; the run's."),
  )
}
OTHERS = (
  flags.DEFINE_float(
    "cluster_threshold", None, "Agglomerative up to this distance, not k-means."
  ),
  flags.DEFINE_float("view_temperature", None, "One-shot by views; 0: means."),
  flags.DEFINE_multi_string("beside", [], "Another run beside; may repeat."),
  flags.DEFINE_bool("by_group", False, "Each group by itself too."),
  flags.DEFINE_bool("baselines", True, "Measure them beside it."),
)
PICTURES = flags.DEFINE_bool("pictures", True, "Draw the pictures.")


def main(argv: Sequence[str]) -> None:
  """Measures, prints the table and draws the pictures."""
  del argv
  if not WORKDIR.value:
    app.fail("--workdir: expected the folder of a finished run, got none")
  protocols: dict[str, Any] = {
    name: tuple(_number(name, kind, text) for text in flag.value)
    for name, (kind, flag) in LISTS.items()
  } | {name: flag.value for name, flag in COUNTS.items()}
  protocols |= {flag.name: flag.value for flag in OTHERS}
  texts: dict[str, Any] = {name: flag.value for name, flag in TEXTS.items()}
  texts["output"] = Path(texts["output"] or f"{WORKDIR.value}/evaluation")
  # Imported here, so that --help and a wrong flag answer at once.
  from tripletjax.report.evaluation import draw_evaluation
  from tripletjax.report.scores import groups_table, scores_table
  from tripletjax.training.evaluate_run import evaluate_run

  summary = evaluate_run(WORKDIR.value, say=print, **texts, **protocols)
  print(f"\n{scores_table(summary)}\n{groups_table(summary)}")
  pictures = draw_evaluation(texts["output"]) if PICTURES.value else []
  print(texts["output"] / "summary.json", *pictures, sep="\n")


def _number(name: str, kind: Callable[[str], Any], text: str) -> Any:
  try:
    return kind(text)
  except ValueError:
    app.fail(f"--{name}: expected numbers, got {text!r}")


if __name__ == "__main__":
  app.run(main)
