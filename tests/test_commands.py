"""The commands as a user types them."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def command(module, *arguments, cwd=ROOT):
  return subprocess.run(
    [sys.executable, "-m", f"experiments.{module}", *map(str, arguments)],
    capture_output=True,
    text=True,
    cwd=cwd,
    env={**os.environ, "PYTHONPATH": str(ROOT)},
    timeout=300,
  )


@pytest.mark.parametrize("module", ["train", "seeds"])
def test_help_is_there_in_two_seconds(module):
  seconds = []
  for _ in range(3):
    start = time.perf_counter()
    result = command(module, "--help")
    seconds.append(time.perf_counter() - start)
  assert "--config" in result.stdout
  assert "--workdir" in result.stdout
  assert min(seconds) < 2


def test_a_reader_that_leaves_ends_a_command_quietly():
  # Half the pipe is closed before anything is printed.
  reader, writer = os.pipe()
  os.close(reader)
  result = subprocess.run(
    [sys.executable, "-m", "experiments.networks"],
    stdout=writer,
    stderr=subprocess.PIPE,
    text=True,
    cwd=ROOT,
    timeout=300,
  )
  os.close(writer)
  assert (result.returncode, result.stderr) == (141, "")


def test_another_broken_pipe_is_a_bug_with_its_trace():
  program = (
    "from experiments import app\n"
    "def main(argv):\n"
    "  print('begun')\n"
    "  raise BrokenPipeError('of a child')\n"
    "app.run(main)\n"
  )
  result = subprocess.run(
    [sys.executable, "-c", program],
    capture_output=True,
    text=True,
    cwd=ROOT,
    timeout=300,
  )
  assert result.returncode == 1
  assert result.stdout == "begun\n"
  assert result.stderr.endswith("BrokenPipeError: of a child\n")


MISTAKES = [
  (
    ["--config.loss.margn=1"],
    "'margn', did you mean 'margin'?; there are beta, cir",
  ),
  (["--config.los.margin=1"], "no field 'los', did you mean 'loss'?"),
  (
    ["--config=configs/no.py"],
    "no file 'configs/no.py'; there are configs/dig",
  ),
  (["--config", "configs/no.py"], "no file 'configs/no.py'"),
  (["--config=configs/digits.py:big"], 'expected variant "" or "smoke"'),
  (["--config.loss.margin=wide"], "--config.loss.margin=wide: could not conv"),
  (["--config.loss.margin=-1"], "loss.margin: expected 0 or more, got -1"),
  (["--config.loss.miner=hardest"], "expected one of all, all_hard, all_semi"),
  (["--wrokdir=x"], "unknown flag --wrokdir, did you mean 'workdir'?"),
  (["surplus"], "expected flags only, got 'surplus'"),
  (["--resume", "--workdir=nowhere"], "--resume: no checkpoint in nowhere"),
]


@pytest.mark.parametrize(
  ("arguments", "message"), MISTAKES, ids=[" ".join(m[0]) for m in MISTAKES]
)
def test_a_mistake_is_one_line_and_exit_code_2(arguments, message):
  result = command("train", *arguments)
  assert result.returncode == 2
  assert result.stderr.count("\n") == 1, result.stderr
  assert result.stderr.startswith("error: ")
  assert message in result.stderr


def test_more_than_the_data_holds(tmp_path):
  result = command(
    "train",
    "--config=configs/digits.py:smoke",
    "--config.batch.identities=11",
    f"--data_dir={tmp_path}",
    f"--workdir={tmp_path / 'run'}",
  )
  assert result.returncode == 2
  last = result.stderr.splitlines()[-1]
  assert last.startswith("error: batch.identities: expected at most 10")
  assert "Traceback" not in result.stderr


@pytest.mark.slow
def test_the_main_job_at_a_tiny_size_from_another_folder(tmp_path):
  arguments = [
    f"--config={ROOT / 'configs' / 'glyphs.py'}:smoke",
    "--config.train.duration=10 steps",
  ]
  result = command("train", *arguments, cwd=tmp_path)
  assert result.returncode == 0, result.stderr
  assert "| trained network" in result.stdout
  printed = [Path(line) for line in result.stdout.splitlines()[-9:]]
  assert [path.name for path in printed] == [
    "config.json",
    "metrics.jsonl",
    "summary.json",
    "tensorboard",
    "checkpoints",
    "curves.png",
    "embedding.png",
    "neighbours.png",
    "triplets.png",
  ]
  for path in printed:
    assert (tmp_path / path).exists()
  assert printed[0].parent.parent == Path("runs")
  assert printed[0].parent.name.startswith("glyphs-smoke-")
  again = command("train", *arguments, "--resume", cwd=tmp_path)
  assert again.returncode == 0, again.stderr
  assert "resumed: step 10 of 10" in again.stdout


@pytest.mark.slow
def test_seeds_ends_in_a_table_with_intervals(tmp_path):
  arguments = [
    "--config=configs/digits.py:smoke",
    "--config.train.duration=3 steps",
    "--seeds=2",
    f"--data_dir={tmp_path}",
    f"--workdir={tmp_path / 'seeds'}",
  ]
  result = command("seeds", *arguments)
  assert result.returncode == 0, result.stderr
  table = (tmp_path / "seeds" / "table.md").read_text()
  assert table in result.stdout
  assert table.count("±") == 3 * 4
  # Raw pixels don't depend on the seed... but the pairs of LFW's protocol do.
  assert "| raw pixels" in table


def test_a_batch_is_drawn(tmp_path):
  config = ("--config=configs/digits.py:smoke", f"--data_dir={tmp_path}")
  picture = tmp_path / "sheets" / "batch.png"
  result = command(
    "show_batch", *config, "--augment=cutout", f"--output={picture}"
  )
  assert result.returncode == 0, result.stderr
  assert result.stdout == f"{picture}\n"
  assert picture.stat().st_size > 1000
  result = command("show_batch", *config, "--output=batch.jpg")
  assert result.returncode == 2
  assert result.stderr == (
    "error: --output: expected a file that ends in .png, got batch.jpg\n"
  )
