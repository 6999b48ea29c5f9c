"""What all commands share: a user's mistake is one line and exit code 2.

Nothing of JAX is imported here, so that `--help` answers at once.
"""

from __future__ import annotations

import io
import re
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

from absl import app, flags, logging
from ml_collections import config_flags

from experiments.config_files import CONFIGS, did_you_mean, mistake
from experiments.ending import end_unread, fail, is_unread, out_of_memory

Main = Callable[[Sequence[str]], None]
_DEFAULTS: dict[str, str] = {}
# What Python says of a flag's value, and what that means.
_SAID = (
  (r"\('Non-boolean argument to boolean flag', .*\)", "expected true or false"),
  (r"invalid literal for int\(\) with base 10: .*", "expected a whole number"),
)
# A flag of each command's own, so that its --help shows it.
flags.DEFINE_bool(
  "debug", False, "Show a mistake's trace too.", module_name=sys.argv[0]
)


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


def run(main: Main, *, takes: str = "", keeps_freed: bool = True) -> None:
  """Parses the flags and runs a command.

  Args:
    main: is given the name of the command and its arguments.
    takes: names of the arguments that aren't flags, such as `A B`; `IMAGE ...`
      is any number of them.
    keeps_freed: whether freed memory is kept for the next step (`heap.py`).
  """

  def guarded(argv: Sequence[str]) -> None:
    from tripletjax.errors import UserError
    from tripletjax.heap import keep_freed

    if keeps_freed:
      keep_freed()
    _check_arguments(argv[1:], takes.split())
    # Pillow's, about a file that it reads all the same.
    warnings.filterwarnings("ignore", module=r"PIL\.")
    try:
      main(argv)
      sys.stdout.flush()
    except UserError as error:
      fail(str(error))
    except BrokenPipeError:
      if not is_unread():
        raise  # another pipe than that of what is printed
      end_unread()
    except Exception as error:
      if not out_of_memory(error):
        raise  # a bug: with its trace, and exit code 1
      said = str(error).strip().partition("\n")[0]
      fail(f"out of memory: {said}; choose a smaller batch or size")
    except KeyboardInterrupt:
      print("stopped", file=sys.stderr)
      sys.exit(130)

  if takes:
    # Flags may follow the arguments; without any, an argument is a mistake.
    flags.FLAGS.set_gnu_getopt(True)
  logging.set_verbosity(logging.WARNING)
  for stream in (sys.stdout, sys.stderr):
    # Names that the terminal can't show are no reason to end.
    if isinstance(stream, io.TextIOWrapper):
      stream.reconfigure(errors="backslashreplace")
  app.run(guarded, flags_parser=_parse)


def _check_arguments(given: Sequence[str], names: Sequence[str]) -> None:
  if given and not names:
    fail(f"expected flags only, got {given[0]!r}")
  if "..." not in names and len(given) != len(names):
    fail(
      f"expected {' '.join(names)} beside the flags, got {len(given)} of them"
    )


def config_name() -> str:
  """The config's name: glyphs-smoke for `configs/glyphs.py:smoke`."""
  filename = config_flags.get_config_filename(flags.FLAGS["config"])
  path, _, variant = filename.partition(":")
  return "-".join([Path(path).stem] + ([variant] if variant else []))


def _parse(argv: Sequence[str]) -> list[str]:
  argv = list(argv)
  if not any(re.fullmatch("--?config(=.*)?", argument) for argument in argv):
    argv[1:1] = [f"--{name}={value}" for name, value in _DEFAULTS.items()]
  if "config" in _DEFAULTS and (wrong := mistake(argv)):
    fail(wrong)
  try:
    return flags.FLAGS(argv)
  except flags.UnrecognizedFlagError as error:
    hint = did_you_mean(error.flagname, list(flags.FLAGS))
    fail(f"unknown flag --{error.flagname}{hint}; see --help")
  except flags.Error as error:
    said = str(error)
    for python, people in _SAID:
      said = re.sub(python, people, said)
    fail(said)
