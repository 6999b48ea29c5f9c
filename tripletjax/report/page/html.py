"""Pieces of the page; every word from a file goes through `esc`."""

from __future__ import annotations

import html
import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple
from urllib.parse import quote

from tripletjax.errors import printable


class Entry(NamedTuple):
  """A cell of a table: what is shown, and what it's sorted by."""

  inner: str
  sort: float | str | None = None
  kind: str = ""


class Row(NamedTuple):
  """A row of a table; `axes` are what the filters compare."""

  entries: Sequence[Entry]
  axes: Mapping[str, str] = {}
  kind: str = ""


def esc(text: object) -> str:
  """Text as HTML, in a tag or in an attribute's quotes.

  >>> esc("<b a='1'>")
  '&lt;b a=&#x27;1&#x27;&gt;'
  """
  return html.escape(printable(str(text)), quote=True)


def breakable(name: str) -> str:
  """A name as HTML that may break behind a comma or an underscore."""
  return re.sub("([,_])", r"\1<wbr>", esc(name))


def link(path: str, said: str) -> str:
  """A link to a file beside the page; odd letters of its path are quoted."""
  return link_round(path, esc(said))


def link_round(path: str, inner: str) -> str:
  """The same round HTML, such as an image."""
  return f'<a href="{esc(quote(path))}">{inner}</a>'


def axes_data(axes: Mapping[str, str]) -> str:
  """The attribute that the filters read."""
  if not axes:
    return ""
  return f' data-axes="{html.escape(json.dumps(dict(axes)), quote=True)}"'


def word(text: object, kind: str = "") -> Entry:
  """An entry of text."""
  return Entry(esc(text), str(text), kind)


def arm_word(arm: str, after: str = "") -> Entry:
  """An entry of an arm's or a cell's name, which may break at its commas."""
  return Entry(breakable(arm) + after, arm, "arm")


def num(value: float, shown: str, kind: str = "num") -> Entry:
  """An entry of a number; what is none is sorted last."""
  return Entry(esc(shown), value if math.isfinite(value) else None, kind)


def table(
  name: str, head: Sequence[str], rows: Iterable[Row], *, kind: str = ""
) -> str:
  """A table in a box of its own, which scrolls where the page is narrow.

  The page's script sorts it by a click on a head, or by its name in the
  address: `#sort=<name>.<column>.desc`.
  """
  rows = list(rows)
  kinds = (
    [entry.kind for entry in rows[0].entries] if rows else [""] * len(head)
  )
  heads = "".join(
    f'<th scope="col"{_kind(kind if kind == "num" else "")}>{esc(column)}</th>'
    for column, kind in zip(head, kinds, strict=True)
  )
  body = "".join(
    f"<tr{_kind(row.kind)}{axes_data(row.axes)}>"
    + "".join(map(_entry, row.entries))
    + "</tr>\n"
    for row in rows
  )
  return (
    f'<div class="scroll" tabindex="0" role="region" aria-label="{esc(name)}">'
    f'<table id="{esc(name)}" class="sorts {esc(kind)}"><thead><tr>{heads}'
    f"</tr></thead>\n<tbody>{body}</tbody></table></div>\n"
  )


def section(name: str, title: str, *parts: str) -> str:
  """A part of the page with a heading; nothing if it is empty."""
  inner = "".join(parts)
  if not inner:
    return ""
  return f'<section id="{esc(name)}"><h2>{esc(title)}</h2>\n{inner}</section>\n'


def paragraph(text: str, kind: str = "") -> str:
  """A paragraph of text."""
  return f"<p{_kind(kind)}>{esc(text)}</p>\n"


def details(title: str, inner: str, *, shown: bool = False) -> str:
  """A part that folds; works without a script."""
  state = " open" if shown else ""
  return f"<details{state}><summary>{esc(title)}</summary>\n{inner}</details>\n"


def pre(lines: Iterable[str]) -> str:
  """Lines as they are."""
  return "<pre>" + "\n".join(esc_line(text) for text in lines) + "</pre>\n"


def esc_line(text: str) -> str:
  """A line with its indentation."""
  room = len(text) - len(text.lstrip(" "))
  return " " * room + esc(text)


def _entry(entry: Entry) -> str:
  sort = ""
  if isinstance(entry.sort, float | int):
    sort = f' data-sort="{entry.sort:.10g}"'
  elif entry.sort is None:
    sort = ' data-sort=""'
  return f"<td{_kind(entry.kind)}{sort}>{entry.inner}</td>"


def _kind(kind: str) -> str:
  return f' class="{esc(kind)}"' if kind else ""
