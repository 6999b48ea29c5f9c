"""Freed memory that is kept comes without page faults the next time."""

import os
import platform
import subprocess
import sys

import pytest

from tests.benchmark.test_caching_suite import MACHINE, cells
from tripletjax.benchmark import heap as suite
from tripletjax.errors import UserError

# 40 MB are beyond the highest threshold that glibc chooses by itself.
TOUCH = """
import resource, sys
from tripletjax.heap import keep_freed

kept = keep_freed() if sys.argv[1] == "kept" else None
faults = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(2):
  bytes(bytearray(40_000_000))
before = faults()
for _ in range(5):
  bytes(bytearray(40_000_000))
print(kept, faults() - before)
"""


# Whatever is chosen where the tests run isn't what they are about.
ENVIRONMENT = {
  name: value
  for name, value in os.environ.items()
  if not name.startswith("MALLOC_") and name != "GLIBC_TUNABLES"
}


def touched(way, **environment):
  done = subprocess.run(
    [sys.executable, "-c", TOUCH, way],
    env={**ENVIRONMENT, **environment},
    capture_output=True,
    text=True,
    check=True,
  )
  kept, faults = done.stdout.split()
  return kept, int(faults)


@pytest.mark.skipif(
  platform.libc_ver()[0] != "glibc", reason="nothing is done without glibc"
)
def test_memory_that_is_kept_causes_no_faults():
  kept, few = touched("kept")
  assert kept == "True"
  _, many = touched("not")
  # By arithmetic 5 x 80 MB in pages of 4 KiB are 98,000; of huge pages fewer.
  assert few < 100 < many


# The last of the blocks stays, and what lies before it can't shrink the heap.
GIVE = """
import re
from pathlib import Path
from tripletjax import heap

def resident():
  status = Path("/proc/self/status").read_text()
  return int(re.search(r"VmRSS:\\s*(\\d+) kB", status)[1])

kept = heap.keep_freed()
blocks = [bytearray(b"1" * 40_000_000) for _ in range(3)]
del blocks[:2]
before = resident()
heap.give_back()
print(kept, before - resident())
"""


@pytest.mark.skipif(
  platform.system() != "Linux", reason="resident memory is read from /proc"
)
@pytest.mark.parametrize("chosen", [{}, {"MALLOC_ARENA_MAX": "2"}])
def test_what_was_kept_is_given_back(chosen):
  done = subprocess.run(
    [sys.executable, "-c", GIVE],
    env={**ENVIRONMENT, **chosen},
    capture_output=True,
    text=True,
    check=True,
  )
  kept, less = done.stdout.split()
  assert kept == str(not chosen and platform.libc_ver()[0] == "glibc")
  # 80 MB in kB; where nothing is kept, nothing is left to give.
  assert (int(less) > 70_000) == (kept == "True")


def test_who_has_chosen_otherwise_is_left_alone():
  assert touched("kept", MALLOC_ARENA_MAX="2")[0] == "False"
  assert touched("kept", GLIBC_TUNABLES="glibc.malloc.perturb=0")[0] == "False"


def test_the_table_puts_both_ways_beside_each_other():
  def run(seconds, faults, peak):
    return {"seconds": seconds, "faults": faults, "peak_bytes": peak}

  results = {
    "repeats": 3,
    "machine": MACHINE,
    "seconds": 60.0,
    "results": [
      {
        "name": "glyphs",
        "runs": {
          "kept": [run([0.1, 0.2], 4, 3e8), run([0.2], 6, 2e8)],
          "given_back": [run([0.3], 20_000, 1e8), run([0.3], 10_000, 2e8)],
        },
      }
    ],
  }
  assert cells(suite.heap_report(results)) == [
    ["glyphs", "300.0", "200.0", "1.50", "15,000", "5", "200", "300"]
  ]


def test_a_tiny_loss_from_end_to_end(monkeypatch):
  monkeypatch.setitem(suite.CASES, "tiny", "4x2")
  said = []
  results = suite.measure_heap(None, only=["tiny"], repeats=2, say=said.append)
  (row,) = cells(suite.heap_report(results))
  assert float(row[1]) > 0
  assert float(row[2]) > 0
  assert len(said) == 4
  assert said[0].startswith("tiny: kept: ")


def test_a_wrong_case_is_named():
  with pytest.raises(UserError, match=r"expected some of glyphs, .*; got 'x'"):
    suite.measure_heap(None, only=["x"], repeats=1, say=print)
