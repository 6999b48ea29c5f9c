"""Flags of the commands on a finished run, and what they begin with."""

from __future__ import annotations

import functools
import math
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from absl import flags

from experiments import app

if TYPE_CHECKING:
  from tripletjax.inference.embedder import Embedder

# Name of a flag -> its kind, default, and what it says; a command defines some.
FLAGS: dict[str, tuple[Callable[..., Any], Any, str]] = {
  "workdir": (flags.DEFINE_string, None, "Folder of a finished run."),
  "checkpoint": (
    flags.DEFINE_string,
    "latest",
    "Which one: latest, best, or a step.",
  ),
  "batch_size": (
    flags.DEFINE_integer,
    None,
    "Images that are embedded at a time; by the run's config if None.",
  ),
  "skip_unreadable": (
    flags.DEFINE_bool,
    False,
    "Leave out images that can't be read; count them.",
  ),
  "threshold": (
    flags.DEFINE_float,
    None,
    "Up to this distance it is the same; in place of --far.",
  ),
  "far": (
    flags.DEFINE_float,
    1e-2,
    "False-accept rate at which the threshold is chosen, on --split.",
  ),
  "split": (
    flags.DEFINE_string,
    "eval",
    "The config's eval or train, or a split expression.",
  ),
  "data_dir": (
    flags.DEFINE_string,
    "data",
    "Folder of the prepared data sets, of which --split is.",
  ),
}
RUN = ("workdir", "checkpoint")
READING = ("batch_size", "skip_unreadable")
CHOOSING = ("threshold", "far", "split", "data_dir")


def define(*names: str) -> None:
  """Defines some of `FLAGS`, as those of the command itself."""
  for name in names:
    kind, default, said = FLAGS[name]
    kind(name, default, said, module_name=sys.argv[0])


def value(name: str) -> Any:
  """What a flag of `FLAGS` says."""
  return flags.FLAGS[name].value


def embedder() -> Embedder:
  """The run of --workdir."""
  if not value("workdir"):
    app.fail("--workdir: expected the folder of a finished run, got none")
  from tripletjax.inference.embedder import Embedder

  size = value("batch_size") if "batch_size" in flags.FLAGS else None
  return Embedder.load(
    value("workdir"), checkpoint=value("checkpoint"), batch_size=size, say=say
  )


def reading() -> dict[str, Any]:
  """How a folder of images is read: keywords of `inference.folders`."""
  return {
    "skip_unreadable": value("skip_unreadable"),
    "open_bar": open_bar(),
    "say": say,
  }


def threshold(run: Embedder) -> tuple[float, str]:
  """Up to which distance it is the same, and why, in words."""
  if value("threshold") is not None:
    if math.isnan(value("threshold")):
      app.fail("--threshold: expected a distance, got nan")
    return value("threshold"), "by --threshold"
  from tripletjax.inference.thresholds import choose_threshold

  chosen = choose_threshold(
    run,
    far=value("far"),
    split=value("split"),
    data_dir=value("data_dir"),
    open_bar=open_bar(),
    say=say,
  )
  return chosen.value, chosen.describe()


def open_bar() -> Callable[..., Any] | None:
  """Makes a progress bar, where somebody watches."""
  if not sys.stderr.isatty():
    return None
  from tripletjax.writers import progress_bar

  return functools.partial(progress_bar, desc="embed", unit="image")


def say(line: str) -> None:
  """A line beside the results."""
  print(line, flush=True)
