"""Where the numbers of a run go: JSON lines, TensorBoard, a progress bar."""

from __future__ import annotations

import contextlib
import json
import math
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

from tqdm import tqdm


class WriteFn(Protocol):
  """Writes the numbers of one step."""

  def __call__(self, step: int, numbers: Mapping[str, float]) -> None:
    """One line of `metrics.jsonl`, one point of each TensorBoard curve."""
    ...


@contextlib.contextmanager
def metrics_writer(
  workdir: Path, *, start: int, quiet: bool = False
) -> Iterator[WriteFn]:
  """Opens `metrics.jsonl` and TensorBoard's events in `workdir`.

  Args:
    workdir: the run's folder.
    start: the run goes on after this many steps. Lines of later steps, written
      before an interruption, are dropped: they will come again.
    quiet: write nothing, and open nothing.
  """
  if quiet:
    yield lambda step, numbers: None
    return
  from tensorboardX import SummaryWriter

  path = workdir / "metrics.jsonl"
  drop_lines_after(path, start)
  with (
    path.open("a") as lines,
    contextlib.closing(
      SummaryWriter(str(workdir / "tensorboard"), purge_step=start + 1)
    ) as events,
  ):

    def write(step: int, numbers: Mapping[str, float]) -> None:
      row = {"step": step, **{k: float(v) for k, v in numbers.items()}}
      lines.write(json.dumps(_standard(row)) + "\n")
      lines.flush()
      for name, value in numbers.items():
        events.add_scalar(name, float(value), step)

    yield write


def drop_lines_after(path: Path, step: int) -> None:
  """Keeps the lines of a metrics file up to a step; a torn line goes too."""
  if not path.exists():
    return
  kept = []
  for line in path.read_text().splitlines():
    try:
      row = json.loads(line)
    except json.JSONDecodeError:
      continue
    if row["step"] <= step:
      kept.append(line + "\n")
  write_text(path, "".join(kept))


def write_json(path: Path, value: Any) -> None:
  """Writes JSON so that the file is whole or not there."""
  write_text(path, json.dumps(_standard(value), indent=2) + "\n")


def _standard(value: Any) -> Any:
  """JSON has no NaN: what is not a number, or not measurable, is null."""
  if isinstance(value, Mapping):
    return {name: _standard(entry) for name, entry in value.items()}
  if isinstance(value, float) and not math.isfinite(value):
    return None
  return value


def write_text(path: Path, text: str) -> None:
  """Writes text so that the file is whole or not there."""
  temporary = path.with_name(path.name + ".tmp")
  temporary.write_text(text)
  os.replace(temporary, path)


def progress_bar(
  total: int,
  start: int,
  *,
  desc: str = "train",
  unit: str = "step",
  quiet: bool = False,
) -> tqdm:
  """The bar of a job, in units; seldom redrawn where nobody watches."""
  return tqdm(
    total=total,
    initial=start,
    unit=unit,
    desc=desc,
    dynamic_ncols=True,
    mininterval=0.1 if sys.stderr.isatty() else 10,
    disable=quiet,
  )
