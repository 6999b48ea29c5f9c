"""What all commands share: a user's mistake is one line and exit code 2.

Nothing of JAX is imported here, so that `--help` answers at once.
"""

from __future__ import annotations

import difflib
import re
import runpy
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

from absl import app, flags, logging
from ml_collections import config_flags

CONFIGS = Path(__file__).parent.parent / "configs"
_DEFAULTS: dict[str, str] = {}


def define_config(default: str) -> flags.FlagHolder:
  """The flag `--config`, with `--config.field=value` for every field.

  Args:
    default: a file of `configs/`.
  """
  # Not ml_collections' own default: it is parsed at once, together with the
  # overrides, so that a misspelt field would fail here, in an import.
  _DEFAULTS["config"] = str(CONFIGS / default)
  return config_flags.DEFINE_config_file(
    "config",
    None,
    f"Config file (default: configs/{default}); any field by "
    "--config.loss.margin=0.3, a variant by --config=configs/glyphs.py:smoke.",
    lock_config=True,
  )


def run(main: Callable[[Sequence[str]], None]) -> None:
  """Parses the flags and runs a command."""

  def guarded(argv: Sequence[str]) -> None:
    from tripletjax.errors import UserError

    if len(argv) > 1:
      fail(f"expected flags only, got {argv[1]!r}")
    try:
      main(argv)
    except UserError as error:
      fail(str(error))
    except KeyboardInterrupt:
      print("stopped", file=sys.stderr)
      sys.exit(130)

  logging.set_verbosity(logging.WARNING)
  app.run(guarded, flags_parser=_parse)


def fail(message: str) -> NoReturn:
  """Ends the command with one line on stderr and exit code 2."""
  print("error: " + " ".join(message.split()), file=sys.stderr)
  sys.exit(2)


def config_name() -> str:
  """The config's name: glyphs-smoke for `configs/glyphs.py:smoke`."""
  filename = config_flags.get_config_filename(flags.FLAGS["config"])
  path, _, variant = filename.partition(":")
  return "-".join([Path(path).stem] + ([variant] if variant else []))


def _parse(argv: Sequence[str]) -> list[str]:
  argv = list(argv)
  if not any(re.fullmatch("--?config(=.*)?", argument) for argument in argv):
    argv[1:1] = [f"--{name}={value}" for name, value in _DEFAULTS.items()]
  _check_config(argv)
  try:
    return flags.FLAGS(argv)
  except flags.UnrecognizedFlagError as error:
    hint = _did_you_mean(error.flagname, list(flags.FLAGS))
    fail(f"unknown flag --{error.flagname}{hint}; see --help")
  except flags.Error as error:
    fail(str(error))


def _check_config(argv: Sequence[str]) -> None:
  """Fails where the file, or a field that is set, isn't there.

  ml_collections finds both out late, and says so in a trace.
  """
  text = " ".join(argv[1:])
  filename = re.search(r"(?:^| )--?config[= ](\S+)", text)
  if "config" not in _DEFAULTS or filename is None:
    return
  path, _, variant = filename[1].partition(":")
  if not Path(path).is_file():
    known = sorted(f"configs/{file.name}" for file in CONFIGS.glob("[!_]*.py"))
    fail(f"--config: there is no file {path!r}; there are {', '.join(known)}")
  try:
    get_config = runpy.run_path(path)["get_config"]
    config = get_config(variant) if variant else get_config()
  except Exception as error:
    fail(f"--config: {filename[1]}: {type(error).__name__}: {error}")
  for field in re.findall(r"(?:^| )--?config\.([\w.]+)", text):
    node, known = config, []
    for name in field.split("."):
      known = sorted(node) if hasattr(node, "keys") else []
      if name not in known:
        fields = ", ".join(known) or "none"
        hint = _did_you_mean(name, known)
        fail(f"--config.{field}: no field {name!r}{hint}; there are {fields}")
      node = node[name]


def _did_you_mean(name: str, known: Sequence[str]) -> str:
  close = difflib.get_close_matches(name, known, n=1)
  return f", did you mean {close[0]!r}?" if close else ""
