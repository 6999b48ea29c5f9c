"""Pictures of chosen runs, small enough to be in the page."""

from __future__ import annotations

import base64
import io
import math
import multiprocessing
import os
import pathlib
from concurrent.futures import ProcessPoolExecutor

from PIL import Image

from tripletjax.errors import UserError
from tripletjax.report.page.html import (
  axes_data,
  details,
  esc,
  link,
  link_round,
  paragraph,
)
from tripletjax.report.pictures import PICTURES, draw_pictures
from tripletjax.report.sweep_files import DONE, Cell, Sweep
from tripletjax.report.sweep_numbers import Found

ARMS = 24  # at most: the best and the worst of them, and the baseline
_FEW = 3  # runs a process: for fewer its start isn't worth it
_WIDE = 420  # pixels of a thumbnail
NAMES = ("embedding.png", "neighbours.png", "triplets.png")


def chosen_runs(sweep: Sweep, found: Found) -> dict[str, list[Cell]]:
  """Arm -> its best and its worst finished run, arms best first.

  Of more than `ARMS` arms the best and the worst, and the baseline.
  """
  chosen: dict[str, list[Cell]] = {}
  scored_arms = [arm for arm, mean in found.means.items() if mean.n]
  if len(scored_arms) > ARMS:
    ends = {*scored_arms[: ARMS // 2], *scored_arms[1 - ARMS // 2 :]}
    scored_arms = [a for a in scored_arms if a in ends or a == sweep.baseline]
  for arm in scored_arms:
    scored = [
      (cell.numbers[found.metric], cell)
      for cell in sweep.arms[arm]
      if cell.state == DONE
      and math.isfinite(cell.numbers.get(found.metric, math.nan))
    ]
    scored.sort(key=lambda pair: pair[0], reverse=not found.less_is_better)
    cells = [cell for _, cell in scored]
    if cells:
      chosen[arm] = cells[:1] + (cells[-1:] if len(cells) > 1 else [])
  return chosen


def draw_runs(cells: list[Cell]) -> list[str]:
  """Draws the pictures of runs that lack them, or whose files are newer.

  Returns:
    a line for each run that couldn't be drawn.
  """
  folders = [cell.folder for cell in cells if _stale(cell.folder)]
  workers = min(_cores(), len(folders) // _FEW)
  if workers < 2:
    said = [_draw(folder) for folder in folders]
  else:
    # Not forked: the parent may have threads.
    with ProcessPoolExecutor(
      workers, mp_context=multiprocessing.get_context("spawn")
    ) as pool:
      said = list(pool.map(_draw, folders))
  return [problem for problem in said if problem]


def _cores() -> int:
  if hasattr(os, "sched_getaffinity"):
    return len(os.sched_getaffinity(0))
  return os.cpu_count() or 1


def _draw(folder: pathlib.Path) -> str:
  try:
    draw_pictures(folder)
  except (UserError, OSError) as error:
    return str(error)
  return ""


def run_pictures(sweep: Sweep, found: Found, room: int) -> str:
  """A part an arm with its best and worst run.

  Args:
    sweep: what is shown.
    found: its numbers.
    room: bytes that pictures may take in the page; beyond, they are links.
  """
  parts: list[str] = []
  chosen = chosen_runs(sweep, found)
  for arm, cells in chosen.items():
    runs = []
    for cell, word in zip(cells, ("best", "worst"), strict=False):
      images, room = _images(sweep, cell, room)
      if images:
        value = cell.numbers[found.metric]
        said = f"{word if len(cells) > 1 else 'only'} run, {cell.name}: "
        said += f"{found.metric} {value:.4g}"
        box = f'<div class="thumbs">{images}</div>'
        runs.append(f"<h4>{esc(said)}</h4>{box}\n")
    if runs:
      axes = {axis: cells[0].values.get(axis, "") for axis in sweep.axes}
      inner = details(arm, "".join(runs), shown=not parts)
      parts.append(f"<div{axes_data(axes)}>{inner}</div>\n")
  if not parts:
    return ""
  some = "each arm"
  if sum(mean.n > 0 for mean in found.means.values()) > len(chosen):
    some = f"{len(chosen)} arms, the best, the worst and the baseline,"
  said = (
    f"Of {some} the best and the worst run on the evaluation split. A click "
    "opens the whole picture, from the sweep's folder."
  )
  return paragraph(said) + "".join(parts)


def _images(sweep: Sweep, cell: Cell, room: int) -> tuple[str, int]:
  base = cell.folder.relative_to(sweep.folder).as_posix()
  parts = []
  for name in NAMES:
    path = cell.folder / "pictures" / name
    if not path.is_file():
      continue
    target = f"{base}/pictures/{name}"
    thumbnail = embedded(path, wide=_WIDE)
    if not thumbnail or len(thumbnail) > room:
      parts.append(f"<p>{link(target, name)}</p>")
      continue
    room -= len(thumbnail)
    image = (
      f'<img loading="lazy" alt="{esc(path.stem)} of {esc(cell.name)}" '
      f'src="data:image/webp;base64,{thumbnail}">'
    )
    parts.append(link_round(target, image))
  return "".join(parts), room


def embedded(path: pathlib.Path, *, wide: int) -> str:
  """A WebP of the picture, at most so wide, as base64; "" if it can't be read.

  Args:
    path: of a PNG.
    wide: pixels; it's at most three times as high.
  """
  try:
    with Image.open(path) as image:
      small = image.convert("RGB")
      small.thumbnail((wide, 3 * wide), Image.Resampling.LANCZOS)
  except (OSError, ValueError, Image.DecompressionBombError):
    return ""
  buffer = io.BytesIO()
  small.save(buffer, "WEBP", quality=60, method=4)
  return base64.b64encode(buffer.getvalue()).decode("ascii")


def _stale(folder: pathlib.Path) -> bool:
  for picture, (source, _) in PICTURES.items():
    read, drawn = folder / source, folder / "pictures" / picture
    if read.exists() and (
      not drawn.exists() or drawn.stat().st_mtime < read.stat().st_mtime
    ):
      return True
  return False
