"""The page as a whole, and the tables beside it."""

from __future__ import annotations

import math
import os
import pathlib

from tripletjax.errors import UserError
from tripletjax.report.page import cells
from tripletjax.report.page.curves import (
  gap_histograms,
  learning_curves,
  triplet_shares,
)
from tripletjax.report.page.differences import (
  cost_plot,
  differences,
  results_table,
)
from tripletjax.report.page.heat import heat_maps
from tripletjax.report.page.html import esc, link, paragraph, section
from tripletjax.report.page.pictures import (
  chosen_runs,
  draw_runs,
  run_pictures,
)
from tripletjax.report.page.run_page import write_run_pages
from tripletjax.report.page.whole import save_page, whole_page
from tripletjax.report.sweep_collapse import collapse_rows
from tripletjax.report.sweep_curves import read_curves
from tripletjax.report.sweep_files import DONE, STATES, Sweep, read_sweep
from tripletjax.report.sweep_numbers import Found, conclude, find
from tripletjax.report.sweep_tables import write_tables

LARGEST = 4_700_000  # bytes of a page, but for its style and script
PICTURES = 2_400_000  # of these for pictures, at most
# What a page that would be larger goes without, first to last.
_OPTIONAL = ("gaps", "shares", "curves", "configs-and-versions")
_TOO_LARGE = "Left out: with it this page would be larger than 5 MB."
SHOWN = ("recall@1", "map@r", "accuracy")  # beside the sweep's own metric


def write_report(
  folder: str | os.PathLike[str],
  *,
  compare: tuple[str | os.PathLike[str], ...] = (),
  pictures: bool = True,
  all_runs: bool = False,
) -> tuple[list[pathlib.Path], str]:
  """Writes index.html, table.md and table.tex into a sweep's folder.

  Each cell that has begun gets an index.html in its own folder.

  Args:
    folder: of a sweep, finished or not.
    compare: folders of other sweeps, whose arms are set beside these.
    pictures: draw those of the best and the worst run of each arm, where they
      aren't there yet.
    all_runs: draw those of every finished run.

  Returns:
    the files, and the conclusion.

  Raises:
    UserError: a folder is no sweep's, a file of it is broken, or the page
      can't be written.
  """
  sweep = read_sweep(pathlib.Path(folder))
  others = [read_sweep(pathlib.Path(other)) for other in compare]
  found = find(sweep)
  problems = []
  if pictures:
    chosen = chosen_runs(sweep, found).values()
    drawn = [cell for own in chosen for cell in own]
    if all_runs:
      drawn = [cell for cell in sweep.cells if cell.state == DONE]
    problems += draw_runs(drawn)
  # Before the page, which links them.
  write_run_pages(sweep)
  path = sweep.folder / "index.html"
  save_page(path, build_page(sweep, found, others, problems))
  try:
    rows = collapse_rows(read_curves(sweep)[0])
    tables = write_tables(sweep, found, rows)
  except OSError as error:
    raise UserError(
      f"--workdir: can't write into {sweep.folder}: {error.strerror or error}"
    ) from error
  return [path, *tables], conclude(sweep, found)


def build_page(
  sweep: Sweep,
  found: Found,
  others: list[Sweep],
  problems: list[str],
) -> str:
  """The page's HTML; it loads nothing."""
  runs, broken = read_curves(sweep)
  metrics = _metrics(sweep)
  beside = {name: find(sweep, name) for name in metrics[1:]}
  notes = [*problems, *broken]
  notes_html = "".join(paragraph(note, "warn") for note in notes)
  parts = {
    "heat": ("Arms at a glance", heat_maps(sweep, found)),
    "differences": ("Against the baseline", differences(sweep, found)),
    "results": ("Arms", results_table(sweep, found, beside)),
    "test-split": ("Test split", cells.test_results(sweep)),
    "failures": ("What didn't end well", cells.failures(sweep) + notes_html),
    "curves": ("Learning curves", learning_curves(sweep, runs)),
    "collapse": ("What collapsed", cells.collapses(collapse_rows(runs))),
    "shares": ("Triplets by gap, over time", triplet_shares(sweep, runs)),
    "gaps": ("Gaps at the end", gap_histograms(sweep)),
    "cost": ("Cost against quality", cost_plot(sweep, found)),
    "compared": ("Other sweeps", cells.comparison(sweep, found, others)),
    "all-cells": ("Cells", cells.cells_table(sweep, metrics)),
    "configs-and-versions": ("Configs and versions", cells.configs(sweep)),
  }  # fmt: skip
  size = sum(len(inner.encode()) for _, inner in parts.values())
  for name in _OPTIONAL:
    title, inner = parts[name]
    if size > LARGEST and inner:
      size -= len(inner.encode())
      parts[name] = (title, paragraph(_TOO_LARGE, "warn"))
  images = run_pictures(sweep, found, min(PICTURES, max(LARGEST - size, 0)))
  parts["runs"] = ("Runs in pictures", images)
  for name in ("all-cells", "configs-and-versions"):
    parts[name] = parts.pop(name)  # the long ones last
  links = "".join(
    f'<a href="#{name}">{esc(title)}</a>'
    for name, (title, inner) in parts.items()
    if inner
  )
  body = (
    f'<h1>{esc(sweep.name)}</h1>\n<p class="about">{esc(_about(sweep))}</p>\n'
    f'<p class="about">{_tables()}</p>\n'
    f'<p class="conclusion">{esc(conclude(sweep, found))}</p>\n'
    + (paragraph(_caution(sweep), "note") if found.best else "")
    + f'<nav aria-label="parts">{links}</nav>\n<div id="filters"></div>\n'
    + "".join(section(name, *part) for name, part in parts.items())
  )  # fmt: skip
  return whole_page(sweep.name, body)


def _metrics(sweep: Sweep) -> tuple[str, ...]:
  there = {name for cell in sweep.cells for name in cell.numbers}
  names = (sweep.metric, *SHOWN)
  return tuple(
    dict.fromkeys(n for n in names if n in there or n == sweep.metric)
  )


def _about(sweep: Sweep) -> str:
  states = [cell.state for cell in sweep.cells]
  counted = ", ".join(
    f"{states.count(state)} {state}" for state in STATES if state in states
  )
  way = "less is better" if sweep.less_is_better else "more is better"
  return (
    f"{len(sweep.cells)} cells in {len(sweep.arms)} arms: {counted}. "
    f"By {sweep.metric} ({way}) on the evaluation split."
  )


def _tables() -> str:
  names = ("results.csv", "table.md", "table.tex")
  return " · ".join(link(name, name) for name in names)


def _caution(sweep: Sweep) -> str:
  lost = sum(cell.state in ("failed", "diverged") for cell in sweep.cells)
  unmeasured = sum(
    cell.state == DONE
    and not math.isfinite(cell.numbers.get(sweep.metric, math.nan))
    for cell in sweep.cells
  )
  said = "Chosen on the numbers it is judged by, the best looks a little "
  said += "better than it is; "
  said += (
    "the test split below is free of that."
    if sweep.test
    else "a test split would be free of that."
  )
  if lost + unmeasured:
    said += f" {lost + unmeasured} cells that failed, diverged or have no "
    said += "finite number are left out of all means."
  return said
