"""Sections of a Markdown page that a command writes."""

from __future__ import annotations

from pathlib import Path

from tripletjax.errors import UserError


def with_section(page: str, heading: str, body: str) -> str:
  r"""A page with a section of the second level, in place of its last version.

  Args:
    page: the whole text.
    heading: of the section, without `##`.
    body: what is below it, without headings of the first two levels.

  Returns:
    The page; a section that wasn't there is at its end.

  >>> with_section("## B\n\nold\n\n## C\n", "B", "new")
  '## B\n\nnew\n\n## C\n'
  """
  lines = page.splitlines()
  marks = [n for n, line in enumerate(lines) if line.startswith("## ")]
  start = next((n for n in marks if lines[n] == f"## {heading}"), len(lines))
  after = next((n for n in marks if n > start), len(lines))
  parts = [
    "\n".join(lines[:start]).strip("\n"),
    f"## {heading}\n\n{body.strip()}",
    "\n".join(lines[after:]).strip("\n"),
  ]
  return "\n\n".join(part for part in parts if part) + "\n"


def page_of(flag: str, path: str | None) -> Path | None:
  """The file that a flag names, if it does.

  Raises:
    UserError: there is no such file.
  """
  if path and not Path(path).is_file():
    raise UserError(f"--{flag}: there is no file {path!r}")
  return Path(path) if path else None


def rewrite(page: Path | None, heading: str, body: str) -> None:
  """Writes a section of a page anew, if there is a page."""
  if page:
    page.write_text(with_section(page.read_text(), heading, body))
