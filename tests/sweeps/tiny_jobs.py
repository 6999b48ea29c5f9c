"""Jobs of a moment, and a launcher of them in a process of its own."""

import contextlib
import os
import subprocess
import sys
import textwrap
import time
from pathlib import Path

from tripletjax.sweeps.launchers import Job

ROOT = Path(__file__).parent.parent.parent
# Says when it began and ended, by a clock that all processes share.
NAP = """
import os, sys, time
print("began", time.monotonic(), sorted(os.sched_getaffinity(0)), flush=True)
print("threads", os.environ.get("OMP_NUM_THREADS"), flush=True)
time.sleep(float(sys.argv[1]))
print("ended", time.monotonic(), flush=True)
sys.exit(int(sys.argv[2]))
"""
# Writes until it is killed, and starts another one that does.
WRITER = """
import subprocess, sys, time
if len(sys.argv) < 3:
  subprocess.Popen([sys.executable, __file__, sys.argv[1], "child"])
while True:
  with open(sys.argv[1] + "/" + sys.argv[-1].replace("/", ""), "a") as file:
    file.write("x")
  time.sleep(0.01)
"""
# Ends as a training does: with 75 when it is asked to.
POLITE = """
import signal, sys, time
def end(number, frame):
  print("asked by", number, flush=True)
  time.sleep(0.2)
  sys.exit(75)
signal.signal(signal.SIGTERM, end)
signal.signal(signal.SIGINT, end)
print("ready", flush=True)
time.sleep(60)
"""


def python(code, *arguments):
  return (sys.executable, "-S", "-c", code, *map(str, arguments))


def naps(folder, codes, seconds=0.2):
  return [
    Job(f"job{i}", python(NAP, seconds, code), folder / f"logs/{i}.log")
    for i, code in enumerate(codes)
  ]


def said(job):
  lines = [line.split(" ", 2) for line in job.log.read_text().splitlines()]
  return {line[0]: line[1:] for line in lines}


def most_at_once(jobs):
  spans = [
    (float(said(job)["began"][0]), float(said(job)["ended"][0])) for job in jobs
  ]
  return max(sum(a <= began < b for a, b in spans) for began, _ in spans)


@contextlib.contextmanager
def launching(tmp_path, code, *arguments, launcher="processes", count=3):
  """A launcher in a process of its own, two jobs at once."""
  script = tmp_path / "job.py"
  script.write_text(code)
  program = textwrap.dedent(f"""
    import sys
    from pathlib import Path
    from tripletjax.sweeps.launchers import How, Job, launch
    folder = Path({str(tmp_path)!r})
    jobs = [
      Job(
        f"job{{i}}",
        (sys.executable, "-S", {str(script)!r}, *{[*map(str, arguments)]!r}),
        folder / f"{{i}}.log",
      )
      for i in range({count})
    ]
    print(launch({launcher!r}, jobs, how=How(2, folder / "queue")), flush=True)
  """)
  process = subprocess.Popen(
    [sys.executable, "-c", program],
    stdout=subprocess.PIPE,
    stderr=subprocess.STDOUT,
    text=True,
    env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])},
  )
  with process:
    try:
      yield process
    finally:
      process.kill()


def until(true, seconds=30.0):
  patience = time.monotonic() + seconds
  while not true():
    assert time.monotonic() < patience
    time.sleep(0.02)


def ended(files, seconds):
  """Whether nothing is added to the files any more."""
  sizes = [file.stat().st_size for file in files]
  time.sleep(seconds)
  return sizes == [file.stat().st_size for file in files]


def alive(word):
  """Whether a process has the word in its command."""
  for path in Path("/proc").glob("[0-9]*/cmdline"):
    try:
      if word.encode() in path.read_bytes().split(b"\0"):
        return True
    except OSError:
      continue  # gone in between
  return False
