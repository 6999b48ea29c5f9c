"""How the benchmark measures, what it prints, and the command."""

import json
import os
import re
import statistics
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from tripletjax.benchmark import cases, tables, timing
from tripletjax.benchmark.data import (
  SIZES,
  Size,
  balanced_labels,
  long_tailed_labels,
  make_embeddings,
  parse_size,
  positive_pairs,
)
from tripletjax.errors import UserError
from tripletjax.losses import mined_triplet_loss

ROOT = Path(__file__).parents[2]
SAMPLE = timing.SAMPLE


class FakeClock:
  """Time passes only in calls, each of which is written down."""

  def __init__(self):
    self.now = 0.0
    self.calls = []

  def __call__(self):
    return self.now

  def call(self, name, seconds):
    """A call that takes the seconds of its turn, the last for the rest."""
    turns = iter(seconds)
    last = [0.0]

    def call():
      self.calls.append(name)
      last[0] = next(turns, last[0])
      self.now += last[0]

    return call


def test_calls_are_interleaved_forwards_and_backwards():
  clock = FakeClock()
  calls = {name: clock.call(name, [SAMPLE]) for name in "ABC"}
  timing.interleaved(calls, repeats=3, clock=clock)
  # Twice each before: what happens once, and how long it takes.
  assert "".join(clock.calls) == "AABBCC" + "ABC" + "CBA" + "ABC"


def test_samples_are_those_of_the_steady_state():
  clock = FakeClock()
  turns = [50.0, SAMPLE, 1.0, 2.0, 4.0]
  samples = timing.interleaved(
    {"loss": clock.call("loss", turns)}, repeats=3, clock=clock
  )
  assert samples["loss"] == pytest.approx([1, 2, 4])
  assert statistics.median(samples["loss"]) == pytest.approx(2)


def test_a_fast_call_is_called_several_times_for_a_sample():
  clock = FakeClock()
  calls = {"fast": clock.call("fast", [SAMPLE / 4])}
  samples = timing.interleaved(calls, repeats=5, clock=clock)
  assert samples["fast"] == pytest.approx([SAMPLE / 4] * 5)
  assert len(clock.calls) == 2 + 5 * 4


@pytest.mark.parametrize(
  ("seconds", "expected"),
  [([9, 1, 2, 3], [1, 2]), ([9, 6, 6], [6]), ([20, 20], [20])],
)
def test_a_slow_call_is_called_within_a_budget(seconds, expected):
  clock = FakeClock()
  samples = timing.adaptive(
    clock.call("slow", seconds), repeats=2, budget=15, clock=clock
  )
  assert samples == expected


@pytest.mark.parametrize("size", [*SIZES.values(), Size(12, 4)])
def test_long_tailed_labels_have_as_many_images_and_pairs(size):
  balanced, long_tailed = balanced_labels(size), long_tailed_labels(size)
  assert len(balanced) == len(long_tailed) == size.batch
  # Each of P identities has K (K - 1) ordered pairs.
  pairs = size.identities * size.images * (size.images - 1)
  assert positive_pairs(balanced) == pairs
  assert abs(positive_pairs(long_tailed) - pairs) <= 0.02 * pairs
  counts = np.sort(np.bincount(long_tailed))
  assert counts[-1] > 2 * size.images
  assert np.median(counts) < size.images / 2
  assert (long_tailed_labels(size) == long_tailed).all()


def test_all_kinds_of_triplets_are_in_the_data():
  for labels in (balanced_labels(SIZES[256]), long_tailed_labels(SIZES[256])):
    embeddings = make_embeddings(labels)
    np.testing.assert_allclose(np.linalg.norm(embeddings, axis=1), 1, 1e-5)
    distances = 2 - 2 * embeddings @ embeddings.T
    same = labels[:, None] == labels[None, :]
    itself = np.eye(len(labels), dtype=bool)
    gaps = np.concatenate(
      [
        (row[~alike][:, None] - row[alike & ~own][None, :]).ravel()
        for row, alike, own in zip(distances, same, itself, strict=True)
      ]
    )
    hard, beyond = np.mean(gaps <= 0), np.mean(gaps > 0.2)
    assert min(hard, beyond, 1 - hard - beyond) > 0.04


def test_a_size_is_a_known_batch_or_identities_x_images():
  assert parse_size("8192") == Size(256, 32)
  assert parse_size("4x3") == Size(4, 3)
  for wrong in ("100", "1x5", "5x1", "x", "4x", "-4x3", "big", ""):
    with pytest.raises(UserError, match=r"--sizes: expected .* or one of"):
      parse_size(wrong)


def test_limits_are_for_the_sizes_they_were_asked_for():
  assert cases.time_limit("semi_hard", SIZES[1800]) == 2.0
  assert cases.time_limit("all_easy", SIZES[8192]) == 1.2
  assert cases.time_limit("all", Size(8, 32)) is None
  assert cases.time_limit("n_hardest", SIZES[256]) is None
  assert cases.memory_limit("batch_hard", SIZES[1024]) == 20 * 1024**2
  assert cases.memory_limit("all_hard", SIZES[8192]) == 48e6
  assert cases.memory_limit("all", Size(4, 3)) is None


def test_every_loss_is_a_case_and_computes_its_registry_entry():
  labels = balanced_labels(Size(4, 3))
  embeddings, key = make_embeddings(labels), jax.random.key(0)
  names = [case.name for case in cases.make_cases(everything=True)]
  assert sorted(names) == sorted(cases.known_losses())
  # A loss and a miner may have one name: two cases.
  assert len(names) == len(cases.MINERS) + len(cases.LOSSES) - 1
  mined, other = cases.make_cases(["random_semi_hard", "multi_similarity"])

  @jax.jit
  def both(embeddings, labels):
    loss_fn = cases.LOSSES["multi_similarity"]
    return (
      mined_triplet_loss(embeddings, labels, miner="random_semi_hard", key=key),
      loss_fn(embeddings, labels),
    )

  for case, (expected, _) in zip(
    (mined, other), both(embeddings, labels), strict=True
  ):
    value = jax.jit(case.loss_fn)(embeddings, labels, key)
    np.testing.assert_allclose(value, expected, 1e-5)


RESULTS = {
  "suite": "losses",
  "repeats": 7,
  "machine": {"cores": 2, "backend": "cpu", "jax": "0", "load": 0.0},
  "seconds": 60.0,
  "sizes": [
    {
      "identities": 32,
      "images": 8,
      "floor": {
        "seconds": 0.0012,
        "temporary_bytes": 4e6,
        "memory_limit": None,
      },
      "losses": {
        "all": {
          "ratio": 1.504,
          "limit": 1.5,
          "temporary_bytes": 1e6,
          "memory_limit": 1.3e6,
        },
        "n_hardest": {
          "ratio": 9.0,
          "limit": None,
          "temporary_bytes": 2e6,
          "memory_limit": 1.3e6,
        },
      },
      "long_tailed": {"all": {"ratio": 1.2, "limit": 1.5}},
      "peers": {
        "slow": {
          "ours": "all",
          "seconds": 0.36,
          "our_seconds": 0.0018,
          "faster": 200.0,
          "faster_limit": 100,
          "peak_bytes": 3e7,
          "our_temporary_bytes": 1e6,
          "smaller": 30.0,
          "smaller_limit": 40,
        },
        "big": {"ours": "all", "failure": "out of memory"},
        "absent": {"ours": "all", "failure": "not installed"},
      },
    }
  ],
}


def test_tables_mark_what_is_outside_of_its_limit():
  report = tables.losses_report(RESULTS)
  cells = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in report.splitlines()
    if line.startswith("|")
  ]
  for row in (
    ["floor", "1.2 ms"],
    ["all", "**1.50 > 1.5**"],
    ["n_hardest", "9.00"],
    ["all", "1.00 ≤ 1.3"],
    ["n_hardest", "**2.00 > 1.3**"],
    ["all", "1.20 ≤ 1.5"],
    ["big", "256 (32 x 8)", "out of memory", "all", "", "", "", "", ""],
    ["absent", "", "not installed", "all", "", "", "", "", ""],
  ):
    assert row in cells
  (slow,) = (row for row in cells if row[0] == "slow")
  assert slow[2:6] == ["360", "all", "1.80", "200 ≥ 100"]
  assert slow[6:] == ["30.00", "1.00", "**30.00 < 40**"]
  assert report.endswith("\n3 outside of the limits.")


def command(*arguments):
  return subprocess.run(
    [sys.executable, "-m", "experiments.benchmark", *map(str, arguments)],
    capture_output=True,
    text=True,
    cwd=ROOT,
    env={**os.environ, "PYTHONPATH": str(ROOT)},
    timeout=300,
  )


def test_the_command_at_a_tiny_size(tmp_path):
  path = tmp_path / "numbers.json"
  result = command(
    "--sizes=4x3,2x2",
    "--only=batch_hard,all",
    "--repeats=2",
    "--nopeers",
    f"--output={path}",
  )
  assert result.returncode == 0, result.stderr
  assert "| 12 (4 x 3) | 4 (2 x 2) |" in result.stdout
  assert "\n| batch_hard |" in result.stdout
  # How many are outside depends on the machine's other work.
  assert re.search(r"(None|\d+) outside of the limits\.\n$", result.stdout)
  assert "4x3 all, long-tailed: " in result.stderr
  numbers = json.loads(path.read_text())
  first = numbers["sizes"][0]
  assert list(first["losses"]) == ["batch_hard", "all"]
  assert len(first["floor"]["samples"]) == 2
  assert first["peers"] == {}


@pytest.mark.parametrize(
  ("arguments", "message"),
  [
    (["--suite=speed"], "value should be one of <losses"),
    (["--only=hardest"], "--only: expected some of all, all_hard, all_semi_ha"),
    (["--sizes=7"], "--sizes: expected identities x images, at least 2x2"),
    (["--repeats=0"], "--repeats=0"),
    (["--output=nowhere/x.json"], "--output: there is no folder 'nowhere'"),
  ],
)
def test_a_mistake_is_one_line_and_exit_code_2(arguments, message):
  result = command(*arguments)
  assert result.returncode == 2
  assert result.stderr.count("\n") == 1, result.stderr
  assert result.stderr.startswith("error: ")
  assert message in result.stderr
