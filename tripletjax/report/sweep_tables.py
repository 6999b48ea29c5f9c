"""A sweep's results as tables for a text: Markdown and LaTeX."""

from __future__ import annotations

import math
import pathlib
from collections.abc import Sequence

from tripletjax.errors import printable
from tripletjax.report.sweep_collapse import HEAD as COLLAPSE
from tripletjax.report.sweep_files import Sweep
from tripletjax.report.sweep_numbers import (
  Found,
  arms,
  conclude,
  interval,
  number,
  p_value,
  signed,
)
from tripletjax.statistics import Paired

HEAD = ("arm", "difference", "p (t)", "p (sign flips)", "d_z", "more seeds")
_LATEX = {
  "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#",
  "_": r"\_", "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}",
  "^": r"\textasciicircum{}", "±": r"$\pm$", "<": r"$<$", ">": r"$>$",
}  # fmt: skip


def write_tables(
  sweep: Sweep, found: Found, collapsed: Sequence[tuple[str, ...]]
) -> list[pathlib.Path]:
  """Writes table.md and table.tex into the sweep's folder.

  Args:
    sweep: the sweep.
    found: what its numbers say.
    collapsed: rows of `sweep_collapse.collapse_rows`.
  """
  means = [_mean_row(sweep, found, arm) for arm in found.means]
  paired = [_paired_row(arm, each) for arm, each in found.paired.items()]
  mean_head = ("arm", f"{found.metric}, mean ± 95 % interval (runs)", "note")
  base = f"Differences in {found.metric} to {sweep.baseline}: paired, 95 % "
  base += f"intervals; p after Holm's correction over {arms(found)}."
  said = conclude(sweep, found)
  markdown = "\n\n".join(
    [said, _markdown(mean_head, means)]
    + ([base, _markdown(HEAD, paired)] if paired else [])
    + ([_markdown(COLLAPSE, collapsed)] if collapsed else [])
  )
  latex = "\n\n".join(
    [f"% {printable(said)}", _latex(mean_head, means)]
    + ([f"% {printable(base)}", _latex(HEAD, paired)] if paired else [])
    + ([_latex(COLLAPSE, collapsed)] if collapsed else [])
  )
  written = []
  for name, text in (("table.md", markdown), ("table.tex", latex)):
    path = sweep.folder / name
    path.write_text(text + "\n", encoding="utf-8")
    written.append(path)
  return written


def _mean_row(sweep: Sweep, found: Found, arm: str) -> tuple[str, ...]:
  marks = ["best"] * (arm == found.best) + ["baseline"] * (
    arm == sweep.baseline
  )
  return arm, interval(found.means[arm]), ", ".join(marks)


def _paired_row(arm: str, paired: Paired) -> tuple[str, ...]:
  value = paired.difference
  shown = signed(value.mean)
  if math.isfinite(value.half):
    shown += f" ± {number(value.half)}"
  more = "-" if paired.more_holm is None else str(paired.more_holm)
  return (
    arm,
    f"{shown} ({value.n})",
    p_value(paired.t_holm).removeprefix("= "),
    p_value(paired.flip_holm).removeprefix("= "),
    number(paired.d_z),
    more,
  )


def _markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
  cells = [
    [printable(cell).replace("|", "\\|") for cell in row]
    for row in (head, *rows)
  ]
  widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
  lines = [
    "| " + " | ".join(map(str.ljust, row, widths)) + " |" for row in cells
  ]
  rule = "| " + " | ".join("-" * max(width, 3) for width in widths) + " |"
  return "\n".join([lines[0], rule, *lines[1:]])


def _latex(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
  lines = [" & ".join(map(latex_text, row)) + r" \\" for row in rows]
  top = " & ".join(map(latex_text, head)) + r" \\ \hline"
  columns = "l" + "r" * (len(head) - 1)
  return "\n".join(
    [
      rf"\begin{{tabular}}{{{columns}}} \hline",
      top,
      *lines,
      r"\hline",
      r"\end{tabular}",
    ]
  )


def latex_text(text: str) -> str:
  r"""Text as LaTeX shows it.

  >>> latex_text("semi_hard 5%")
  'semi\\_hard 5\\%'
  """
  return "".join(_LATEX.get(letter, letter) for letter in printable(text))
