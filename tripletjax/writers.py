"""Where the numbers of a run go: JSON lines, TensorBoard, a progress bar."""

from __future__ import annotations

import contextlib
import json
import math
import os
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import numpy as np
from tqdm import tqdm

# Seconds between writes of TensorBoard's events to the disk.
FLUSH = 30.0


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
  path = workdir / "metrics.jsonl"
  drop_lines_after(path, start)
  with (
    path.open("a") as lines,
    _events_writer(workdir / "tensorboard", purge=start + 1) as add_event,
  ):

    def write(step: int, numbers: Mapping[str, float]) -> None:
      row = {"step": step, **{k: float(v) for k, v in numbers.items()}}
      lines.write(json.dumps(_standard(row)) + "\n")
      lines.flush()
      add_event(step, numbers)

    yield write


@contextlib.contextmanager
def _events_writer(folder: Path, *, purge: int) -> Iterator[WriteFn]:
  """TensorBoard's events; it is to forget those from step `purge` on."""
  # Not SummaryWriter: its thread dies where the disk is full, and the next
  # write waits for it forever.
  from tensorboardX.event_file_writer import EventsWriter
  from tensorboardX.proto import event_pb2
  from tensorboardX.summary import scalar

  folder.mkdir(parents=True, exist_ok=True)
  events = EventsWriter(str(folder / "events"))
  flushed = time.monotonic()

  def add(step: int, event: Any) -> None:
    event.step = step
    event.wall_time = time.time()
    events.write_event(event)

  def write(step: int, numbers: Mapping[str, float]) -> None:
    nonlocal flushed
    event = event_pb2.Event()
    for name, x in numbers.items():
      if not math.isfinite(x):
        continue  # which TensorBoard can't draw
      event.summary.value.extend(scalar(name, float(x)).value)
    add(step, event)
    if time.monotonic() - flushed > FLUSH:
      events.flush()
      flushed = time.monotonic()

  session = event_pb2.SessionLog(
    status=event_pb2.SessionLog.SessionStatus.START
  )
  add(purge, event_pb2.Event(session_log=session))
  with contextlib.closing(events):
    yield write


def drop_lines_after(path: Path, step: int) -> None:
  """Keeps the lines of a metrics file up to a step; a torn line goes too."""
  if not path.exists():
    return
  lines = path.read_text(errors="replace").splitlines(keepends=True)
  kept = [line for line in lines if _step_of(line) <= step]
  if kept != lines:
    write_text(path, "".join(kept))


def _step_of(line: str) -> float:
  try:
    step = json.loads(line)["step"] if line.endswith("\n") else math.inf
  except (ValueError, KeyError, TypeError):
    return math.inf
  return step if isinstance(step, int) else math.inf


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
  with whole_file(path) as file:
    file.write(text.encode())


def write_npz(path: Path, arrays: Mapping[str, Any]) -> None:
  """Writes an archive of arrays so that it is whole or not there."""
  with whole_file(path) as file:
    np.savez(file, **arrays)


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
  """A file that gets its name when all is written; else nothing is left.

  Raises:
    OSError: it can't be written.
  """
  temporary = path.with_name(path.name + ".tmp")
  try:
    with temporary.open("wb") as file:
      yield file
    os.replace(temporary, path)
  except BaseException:
    with contextlib.suppress(OSError):
      temporary.unlink(missing_ok=True)
    raise


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
