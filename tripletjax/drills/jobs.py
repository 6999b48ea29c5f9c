"""What drills train, unless flags say something else."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from tripletjax.drills.running import Job

# Without --config: a few seconds of steps.
SMALL = (
  "--config={root}/configs/glyphs.py:smoke",
  "--config.batch.identities=16",
  "--config.memory.size=128",
)
# With any config: many evaluations and checkpoints.
SHORT = (
  "--config.train.duration=120 steps",
  "--config.log.every=10 steps",
  "--config.evaluation.every=20 steps",
  "--config.checkpoint.every=10 steps",
)
LARGE = ("--config={root}/configs/glyphs.py", "--config.memory.size=1024")
# A soak ends before its training does.
LONG = (
  "--config.memory.start=100 steps",
  "--config.optimizer.warmup=100 steps",
  "--config.train.duration=10000000 steps",
  "--config.log.every=10 steps",
  "--config.evaluation.every=200 steps",
  "--config.checkpoint.every=200 steps",
)


def short_job(
  words: Sequence[str], data_dir: str, folder: Path, root: Path
) -> Job:
  """A training of a few seconds.

  Args:
    words: the command's own; those of the config are passed on.
    data_dir: of the prepared data sets.
    folder: of the drill; compiled programs go there.
    root: where `experiments` and `configs` lie.
  """
  return _job(words, data_dir, folder, root, SMALL, SHORT)


def long_job(
  words: Sequence[str], data_dir: str, folder: Path, root: Path
) -> Job:
  """A training that is longer than any soak."""
  return _job(words, data_dir, folder, root, LARGE, LONG)


def config_words(words: Sequence[str]) -> tuple[list[str], list[str]]:
  """The config's file and its fields, among the words of a command.

  >>> config_words(["--config", "a.py", "--kills=3", "--config.seed=1"])
  (['--config=a.py'], ['--config.seed=1'])
  """
  files: list[str] = []
  fields: list[str] = []
  waiting = iter(words)
  for word in waiting:
    found = re.fullmatch(r"--?(config(?:\.[\w.]+)?)(?:=(.*))?", word, re.DOTALL)
    if found is None:
      if re.match(r"--?noconfig\.", word):
        fields.append(word)
      continue
    value = next(waiting, "") if found[2] is None else found[2]
    place = files if found[1] == "config" else fields
    place.append(f"--{found[1]}={value}")
  return files, fields


def _job(
  words: Sequence[str],
  data_dir: str,
  folder: Path,
  root: Path,
  whole: Sequence[str],
  lengths: Sequence[str],
) -> Job:
  files, fields = config_words(words)
  chosen = files or [word.format(root=root) for word in whole]
  return Job(
    # The latter of two that name one field counts.
    flags=(*chosen, *lengths, *fields, f"--data_dir={data_dir}"),
    environment=cached(folder.absolute() / "programs"),
    root=root,
  )


def cached(folder: Path) -> dict[str, str]:
  """An environment in which programs are compiled once for all starts."""
  return {
    "JAX_COMPILATION_CACHE_DIR": str(folder),
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
  }
