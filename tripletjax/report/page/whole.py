"""The frame that all pages share, and how one is written."""

from __future__ import annotations

import base64
import hashlib
import os
import pathlib

from tripletjax.errors import UserError
from tripletjax.report.page.html import esc


def whole_page(title: str, body: str) -> str:
  """A page that loads nothing, from its title and the HTML of its parts."""
  here = pathlib.Path(__file__).parent
  style = (here / "page.css").read_text(encoding="utf-8")
  script = (here / "page.js").read_text(encoding="utf-8")
  digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
  # Nothing is loaded, and no other script than this one runs.
  policy = (
    "default-src 'none'; img-src data:; style-src 'unsafe-inline'; "
    f"script-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
  )
  return (
    '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
    f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
    '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
    f"<title>{esc(title)}</title>\n<style>\n{style}</style>\n</head>\n<body>\n"
    f"<main>\n{body}</main>\n<script>{script}</script>\n</body>\n</html>\n"
  )


def save_page(path: pathlib.Path, page: str) -> None:
  """Writes a page whole, or not at all.

  Raises:
    UserError: its folder can't be written.
  """
  temporary = path.with_name(f"{path.name}.tmp")
  try:
    temporary.write_text(page, encoding="utf-8")
    os.replace(temporary, path)
  except OSError as error:
    raise UserError(
      f"--workdir: can't write {path}: {error.strerror or error}"
    ) from error
