"""A page for each run of a sweep: its numbers, pictures, config and files."""

from __future__ import annotations

import json
import math

from tripletjax.report.page.html import (
  Row,
  details,
  esc,
  link,
  link_round,
  num,
  paragraph,
  pre,
  section,
  table,
  word,
)
from tripletjax.report.page.pictures import embedded
from tripletjax.report.page.whole import save_page, whole_page
from tripletjax.report.sweep_files import Cell, Sweep
from tripletjax.report.sweep_numbers import number

PAGE = "index.html"
FILES = ("metrics.jsonl", "summary.json", "config.json", "status.json")
# Where a run keeps its pictures, and those of an evaluation.
FOLDERS = {"Pictures": "pictures", "Evaluation": "evaluation/pictures"}
_WIDE = 900  # pixels of a picture
_ROOM = 4_000_000  # bytes of pictures in a page


def write_run_pages(sweep: Sweep) -> list[str]:
  """Writes `cells/NAME/index.html` of each cell that has a folder.

  Returns:
    The names of these cells.

  Raises:
    UserError: a folder can't be written.
  """
  names = []
  for cell in sweep.cells:
    if cell.folder.is_dir():
      save_page(cell.folder / PAGE, run_page(sweep, cell))
      names.append(cell.name)
  return names


def run_page(sweep: Sweep, cell: Cell) -> str:
  """The HTML of a run's page; pictures are in it, files are links."""
  depth = len(cell.folder.relative_to(sweep.folder).parts)
  back = link("/".join([".."] * depth + [PAGE]), f"all of {sweep.name}")
  about = ", ".join(f"{name} {value}" for name, value in cell.values.items())
  parts = [
    f"<h1>{esc(cell.name)}</h1>\n",
    f'<p class="about">{back}</p>\n',
    f'<p class="about">{esc(cell.state)}: {esc(about)}</p>\n',
    paragraph(cell.reason, "warn") if cell.reason else "",
    section("end", "Its last lines", pre(cell.tail)) if cell.tail else "",
    section("numbers", "Evaluation", _numbers(cell)),
  ]
  room = _ROOM
  for title, folder in FOLDERS.items():
    images, room = _pictures(cell, folder, room)
    parts.append(section(folder.partition("/")[0], title, images))
  changed = [[word(k), word(json.dumps(v))] for k, v in cell.fields.items()]
  config = json.dumps(cell.config or sweep.base, indent=2).splitlines()
  parts += [
    section(
      "config",
      "Config",
      table("fields", ["field of this cell", "value"], map(Row, changed)),
      details("The whole config", pre(config)),
    ),
    section("files", "Files", _files(cell)),
  ]
  return whole_page(f"{cell.name} - {sweep.name}", "".join(parts))


def _numbers(cell: Cell) -> str:
  """Each metric, with its interval where it has one, and what it cost."""
  rows = []
  for name, value in cell.numbers.items():
    if name.endswith(("_low", "_high")):
      continue
    ends = [cell.numbers.get(f"{name}_{end}", math.nan) for end in _ENDS]
    shown = " to ".join(map(number, ends)) if all(map(_there, ends)) else ""
    rows.append(Row([word(name), num(value, number(value)), word(shown)]))
  for name, value in cell.cost.items():
    rows.append(Row([word(name), num(value, number(value)), word("")]))
  if not rows:
    return ""
  return table("numbers-table", ["", "value", "interval"], rows)


_ENDS = ("low", "high")


def _there(value: float) -> bool:
  return math.isfinite(value)


def _pictures(cell: Cell, folder: str, room: int) -> tuple[str, int]:
  parts = []
  for path in sorted((cell.folder / folder).glob("*.png")):
    target = f"{folder}/{path.name}"
    image = embedded(path, wide=_WIDE)
    if not image or len(image) > room:
      parts.append(f"<p>{link(target, path.name)}</p>\n")
      continue
    room -= len(image)
    tag = (
      f'<img loading="lazy" alt="{esc(path.stem)} of {esc(cell.name)}" '
      f'src="data:image/webp;base64,{image}">'
    )
    parts.append(f"<h3>{esc(path.stem)}</h3>\n{link_round(target, tag)}\n")
  return "".join(parts), room


def _files(cell: Cell) -> str:
  there = [name for name in FILES if (cell.folder / name).is_file()]
  return "".join(f"<p>{link(name, name)}</p>\n" for name in there)
