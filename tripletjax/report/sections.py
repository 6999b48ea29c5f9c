"""Sections of a Markdown page that a command writes."""

from __future__ import annotations


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
