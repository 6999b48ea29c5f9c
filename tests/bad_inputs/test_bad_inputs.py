"""A corpus of bad inputs: each ends in one line that says what is wrong."""

import json
import os
import shlex
import subprocess
import sys

import pytest
from cases_calls import CALLS, WEIGHTS
from cases_commands import COMMANDS, FIELDS, OURS
from cases_data import IMPORTS, SETS
from cases_export import EXPORTS
from cases_runs import CURVES, FLAGS, FOLDERS, GOOD, PAIRS, RUN
from cases_using import USING
from world import ROOT, Server, build, built_once

# Names of tables by area -> rows of a name, a command, and the line.
CASES = {
  "commands": [(name, line, said) for name, line, _, said in COMMANDS],
  "fields": [
    (name, OURS + shlex.quote(f"--config.{field}"), said)
    for name, field, _, said in FIELDS
  ],
  "imports": [(name, line, said) for name, line, _, said in IMPORTS],
  "sets": [
    (name, OURS + f"--config.data.name={name}", said) for name, _, said in SETS
  ],
  "evaluation": [(name, line, said) for name, line, _, said in FLAGS],
  "runs": [
    (name, f"{RUN}{{w}}/runs/{name} {flags}", said.replace("NAME", name))
    for name, flags, _, said in FOLDERS
  ],
  "pairs": [
    (name, f"{GOOD} --pairs={{w}}/pairs/{name}.txt", f"--pairs: {said}")
    for name, _, said in PAIRS
  ],
  "using": [(name, line, said) for name, line, _, said in USING],
  "curves": [
    (name, f"compare --runs={{w}}/runs/metrics_{name},{{w}}/runs/good", said)
    for name, _, said in CURVES
  ],
  "export": [(name, line, said) for name, line, _, said in EXPORTS],
}
EVERY = [
  pytest.param(line, said, id=f"{area}-{name}")
  for area, rows in CASES.items()
  for name, line, said in rows
]


@pytest.fixture(scope="session")
def server():
  server = Server()
  yield server
  server.close()


@pytest.fixture(scope="session")
def world(server, tmp_path_factory):
  # Of all of pytest's workers.
  shared = os.environ.get("PYTEST_XDIST_TESTRUNUID", "alone")
  folder = tmp_path_factory.getbasetemp().parent / f"bad-inputs-{shared}"
  if shared == "alone":
    folder = tmp_path_factory.mktemp("bad-inputs")
  with built_once(folder) as wanted:
    if wanted:
      build(folder, server)
      seeds = folder / "seeds" / "seed-0"
      seeds.mkdir(parents=True)
      (seeds / "summary.json").write_text("[")
  return folder


def files(folder):
  """Every file with its size and time; locks and staging folders aside."""
  found = {}
  for place, folders, names in os.walk(folder):
    folders[:] = [name for name in folders if not name.startswith(".")]
    for name in (*names, *folders):
      if not name.startswith("."):
        path = os.path.join(place, name)
        status = os.lstat(path)
        is_file = name in names
        found[path] = (status.st_size, status.st_mtime_ns) if is_file else ()
  return found


def matches(text, said):
  """Whether a text begins as `said`, where ... is anything."""
  first, *others = said.split("...")
  if not text.startswith(first):
    return False
  at = len(first)
  for other in others:
    at = text.find(other, at)
    if at < 0:
      return False
    at += len(other)
  return True


def split(line, world):
  command, *flags = shlex.split(line.replace("{root}", str(ROOT)))
  return command, [flag.replace("{w}", str(world)) for flag in flags]


def check(answer, said, world):
  assert answer["code"] == 2, answer
  assert answer["stderr"].count("\n") == 1, answer["stderr"]
  assert answer["stderr"].startswith("error: ")
  assert "Traceback" not in answer["stdout"]
  text = answer["stderr"].removeprefix("error: ").rstrip("\n")
  assert matches(text, said.replace("{w}", str(world))), text


@pytest.mark.parametrize(("line", "said"), EVERY)
def test_it_is_one_line_that_says_what_would_be_right(
  line, said, world, server, tmp_path
):
  before = files(world)
  command, flags = split(line, world)
  answer = server.run(command, flags, tmp_path)
  check(answer, said, world)
  assert files(world) == before
  assert not [path for path, what in files(tmp_path).items() if what]


@pytest.mark.parametrize(
  ("expression", "said"), [(row[1], row[3]) for row in CALLS],
  ids=[row[0] for row in CALLS],
)  # fmt: skip
def test_a_call_says_what_it_expected(expression, said, server, tmp_path):
  answer = server.run("calls", [expression], tmp_path)
  assert answer["code"] == 3, answer
  assert matches(answer["stdout"], said), answer["stdout"]
  assert answer["stdout"].count("\n") == 1


@pytest.mark.parametrize(
  ("name", "said"), [(row[0], row[2]) for row in WEIGHTS],
  ids=[row[0] for row in WEIGHTS],
)  # fmt: skip
def test_weights_are_refused(name, said, world, server, tmp_path):
  path = world / "weights" / name
  expression = f"read_state_dict({str(path)!r})"
  answer = server.run("calls", [expression], tmp_path)
  assert answer["code"] == 3, answer
  assert matches(answer["stdout"], f"UserError: {path}: {said}"), answer
  assert answer["stdout"].count("\n") == 1
  assert not list(tmp_path.iterdir())  # nothing was run


REAL = [row for rows in CASES.values() for row in rows[2::18]][:12]


@pytest.mark.slow
@pytest.mark.parametrize(
  ("line", "said"), [row[1:] for row in REAL], ids=[row[0] for row in REAL]
)
def test_a_shell_sees_the_same(line, said, world, server, tmp_path):
  _same(line, said, world, server, tmp_path)


def test_a_shell_sees_the_same_of_two(world, server, tmp_path):
  for area in ("fields", "sets"):
    _same(*CASES[area][3][1:], world, server, tmp_path)


def _same(line, said, world, server, tmp_path):
  command, flags = split(line, world)
  real = subprocess.run(
    [sys.executable, "-m", f"experiments.{command}", *flags],
    capture_output=True,
    text=True,
    cwd=tmp_path,
    env={**os.environ, "PYTHONPATH": str(ROOT)},
    timeout=120,
  )
  check({"code": real.returncode, **vars(real)}, said, world)
  forked = server.run(command, flags, tmp_path)
  assert real.stderr == forked["stderr"]


def test_nothing_is_sent_and_nothing_listens(server, world, tmp_path):
  # The training was watched when `world` was built.
  command, flags = split(GOOD + "--metrics=retrieval --nobaselines", world)
  answer = server.run(command, flags, tmp_path, offline=True)
  assert answer["code"] == 0, answer["stderr"]
  assert "NETWORK" not in answer["stderr"]
  assert (tmp_path / "found" / "summary.json").exists()


def test_the_network_would_have_been_seen(server, tmp_path):
  for attempt in (
    "__import__('socket').create_connection(('127.0.0.1', 9))",
    "__import__('socket').socket().bind(('127.0.0.1', 0))",
    "__import__('urllib.request').request.urlopen('http://127.0.0.1:9')",
  ):
    answer = server.run("calls", [attempt], tmp_path, offline=True)
    assert "NETWORK" in answer["stderr"], answer


def test_debug_shows_the_trace(server, world, tmp_path):
  for line in (
    OURS + "--config.loss.margin=-1",
    GOOD + "--ranks=0",
    "compare --runs=a,b",
    "prepare --images=no",
  ):
    command, flags = split(line, world)
    short = server.run(command, flags, tmp_path)
    long = server.run(command, [*flags, "--debug"], tmp_path)
    assert (short["code"], long["code"]) == (2, 2)
    assert long["stderr"].startswith("Traceback (most recent call last)")
    assert "tripletjax.errors.UserError: " in long["stderr"]
    assert long["stderr"].endswith(short["stderr"])


def test_a_bug_shows_its_trace(server, tmp_path):
  # No mistake of the user's: a module that raises something else.
  broken = tmp_path / "tripletjax_bug.py"
  broken.write_text(
    "import sys; sys.path.insert(0, '.')\n"
    "from experiments import app\n"
    "def main(argv):\n  raise RuntimeError('a bug')\n"
    "app.run(main)\n"
  )
  result = subprocess.run(
    [sys.executable, str(broken)],
    capture_output=True,
    text=True,
    env={**os.environ, "PYTHONPATH": str(ROOT)},
  )
  assert result.returncode == 1
  assert "Traceback" in result.stderr
  assert "RuntimeError: a bug" in result.stderr


def test_the_corpus_is_as_large_as_is_said():
  count = len(EVERY) + len(CALLS) + len(WEIGHTS)
  assert count >= 80
  said = (ROOT / "docs" / "bad_inputs.md").read_text()
  assert f"{count} cases" in said
  for area, rows in {**CASES, "calls": CALLS, "weights": WEIGHTS}.items():
    assert f"| {area} | {len(rows)} |" in said, (area, len(rows))
    names = [row[0] for row in rows]
    assert len(names) == len(set(names)), json.dumps(names)
