"""Launchers by tiny jobs: places, cores, exit codes, stops and kills."""

import os
import signal
import sys
import time

import pytest
from tiny_jobs import (
  POLITE,
  ROOT,
  WRITER,
  alive,
  ended,
  launching,
  most_at_once,
  naps,
  python,
  said,
  until,
)

from tripletjax.errors import UserError
from tripletjax.sweeps import launch_submitit, launchers
from tripletjax.sweeps.jobs import read_options
from tripletjax.sweeps.launchers import How, Job, launch


@pytest.mark.parametrize("places", [1, 2])
def test_so_many_at_once_and_no_more(tmp_path, places):
  jobs = naps(tmp_path, [0] * 4)
  told = []

  codes = launch(
    "processes",
    jobs,
    how=How(places, tmp_path),
    changed=lambda *change: told.append(change),
  )

  assert codes == {job.name: 0 for job in jobs}
  assert most_at_once(jobs) == places
  for job in jobs:
    own = [change[1:] for change in told if change[0] == job.name]
    assert own == [("running", None), ("done", 0)]


@pytest.mark.skipif(
  len(os.sched_getaffinity(0)) < 2, reason="needs two cores to divide"
)
def test_each_has_cores_of_its_own(tmp_path):
  jobs = naps(tmp_path, [0, 0], seconds=0.3)
  launch("processes", jobs, how=How(2, tmp_path))

  cores = [set(eval(said(job)["began"][1])) for job in jobs]
  assert not cores[0] & cores[1]
  assert cores[0] | cores[1] == os.sched_getaffinity(0)
  for job, own in zip(jobs, cores, strict=True):
    assert said(job)["threads"] == [str(len(own))]


def test_exit_codes_come_back(tmp_path):
  jobs = naps(tmp_path, [0, 1, 2, 75], seconds=0)
  kill = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"
  jobs.append(Job("killed", python(kill), tmp_path / "killed.log"))
  jobs.append(Job("absent", ("/no/such/program",), tmp_path / "absent.log"))
  states = {}

  codes = launch(
    "processes",
    jobs,
    how=How(3, tmp_path),
    changed=lambda name, state, code: states.update({name: state}),
  )

  assert list(codes.values()) == [0, 1, 2, 75, 128 + 9, 127]
  assert list(codes) == [job.name for job in jobs]
  assert states == {
    "job0": "done",
    "job1": "failed",
    "job2": "failed",
    "job3": "stopped",
    "killed": "failed",
    "absent": "failed",
  }
  assert "/no/such/program" in (tmp_path / "absent.log").read_text()


def test_kill_9_leaves_nothing_that_writes(tmp_path):
  written = tmp_path / "written"
  written.mkdir()
  files = [written / "child", written / str(written).replace("/", "")]
  with launching(tmp_path, WRITER, written) as launcher:
    until(lambda: all(file.exists() for file in files))
    assert not ended(files, 0.2)
    launcher.kill()
    launcher.wait()
  time.sleep(0.2)
  assert ended(files, 0.3)


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
def test_a_stop_is_passed_on_and_awaited(tmp_path, name):
  logs = [tmp_path / "0.log", tmp_path / "1.log"]
  with launching(tmp_path, POLITE) as launcher:
    until(lambda: all(log.exists() and log.read_text() for log in logs))
    launcher.send_signal(signal.Signals[name])
    output, _ = launcher.communicate(timeout=20)

  # The third was never started.
  assert str(dict.fromkeys(["job0", "job1", "job2"], 75)) in output
  assert not (tmp_path / "2.log").exists()
  for log in logs:
    assert f"asked by {int(signal.Signals[name])}" in log.read_text()


def test_a_second_signal_ends_all_at_once(tmp_path):
  stubborn = "import signal, time\n" + "".join(
    f"signal.signal(signal.{name}, signal.SIG_IGN)\n"
    for name in ("SIGTERM", "SIGINT")
  )
  stubborn += "print('ready', flush=True)\ntime.sleep(60)"
  log = tmp_path / "0.log"
  with launching(tmp_path, stubborn) as launcher:
    until(lambda: log.exists() and log.read_text())
    launcher.terminate()
    time.sleep(0.7)
    assert launcher.poll() is None
    launcher.terminate()
    launcher.communicate(timeout=20)
  assert launcher.returncode == 128 + signal.SIGTERM
  until(lambda: not alive(str(tmp_path / "job.py")), 5)


def test_an_exception_ends_the_jobs(tmp_path):
  script = tmp_path / "job.py"
  script.write_text("import time; time.sleep(60)")
  job = Job("job", (sys.executable, str(script)), tmp_path / "log")

  def interrupt(name, state, code):
    until(lambda: alive(str(script)))
    raise RuntimeError("of the caller's")

  # As under nohup, where a guard that just starts ignores it.
  usual = signal.signal(signal.SIGHUP, signal.SIG_IGN)
  try:
    with pytest.raises(RuntimeError, match="of the caller's"):
      launch("processes", [job], how=How(1, tmp_path), changed=interrupt)
  finally:
    signal.signal(signal.SIGHUP, usual)
  assert not alive(str(script))


def test_here_one_after_another_until_a_stop(tmp_path):
  codes = {"a": 0, "b": 1, "c": 75, "d": 0}
  jobs = [Job(name, (), tmp_path) for name in codes]
  told = []

  def run(name):
    told.append(f"run {name}")
    return codes[name]

  found = launch(
    "here",
    jobs,
    how=How(1, tmp_path, run=run),
    changed=lambda name, state, code: told.append(f"{name} {state}"),
  )

  assert found == {"a": 0, "b": 1, "c": 75, "d": 75}
  assert told == [
    *("a running", "run a", "a done"),
    *("b running", "run b", "b failed"),
    *("c running", "run c", "c stopped"),
  ]


def test_mistakes_are_one_line(tmp_path, monkeypatch):
  def mistake(launcher, places=1):
    with pytest.raises(UserError) as error:
      launch(launcher, naps(tmp_path, [0]), how=How(places, tmp_path))
    assert "\n" not in str(error.value)
    return str(error.value)

  assert mistake("cloud") == (
    "--launcher: expected one of here, processes, slurm, submitit, ray, got "
    "'cloud'"
  )
  assert mistake("processes", 0) == "--jobs: expected 1 or more, got 0"
  find = "tripletjax.sweeps.jobs.importlib.util.find_spec"
  monkeypatch.setattr(find, lambda name: None)
  for launcher, extra in (
    ("ray", "ray"),
    ("slurm", "slurm"),
    ("submitit", "slurm"),
  ):
    assert mistake(launcher) == (
      f"--launcher: {launcher} needs pip install 'tripletjax[{extra}]'"
    )
  monkeypatch.setattr(find, lambda name: name)
  monkeypatch.setenv("PATH", str(tmp_path))
  assert mistake("slurm").startswith("--launcher: slurm needs sbatch and squ")


def test_slurms_queue_is_read(tmp_path, monkeypatch):
  """By a squeue that prints a file, and fails where there is none."""
  squeue = tmp_path / "squeue"
  squeue.write_text(f"#!/bin/sh\ncat {tmp_path}/queue\n")
  squeue.chmod(0o755)
  monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
  monkeypatch.setattr(launch_submitit, "ASK", 0.0)
  mine = launch_submitit.Queue(tmp_path / "mine")
  other = launch_submitit.Queue(tmp_path / "other")
  label = mine.label("group1")
  assert label != mine.label("group2")
  assert label != other.label("group1")
  # The third line is an array's, with bars in its name.
  queue = tmp_path / "queue"
  queue.write_text(f"7|PENDING|else\n12|RUNNING|{label}\n9_[0]|RUNNING|a|b\n")

  assert mine.number("group1") == "12"
  assert mine.number("group2") == other.number("group1") == ""
  assert (mine.state("7"), mine.state("9_[0]"), mine.state("8")) == (
    "PENDING",
    "RUNNING",
    "",
  )
  assert not mine.lost("12")
  queue.unlink()  # Slurm doesn't answer: what it said stays
  assert not mine.lost("12")
  queue.write_text("")
  assert not mine.lost("12")  # its result may need a moment to be seen
  monkeypatch.setattr(launch_submitit, "UNKNOWN", 0.0)
  assert mine.lost("12")


def test_options_are_numbers_and_words():
  assert read_options("") == {}
  assert read_options("num_gpus=1,slurm_partition=gpu") == {
    "num_gpus": 1,
    "slurm_partition": "gpu",
  }
  for text in ("gpu", "=1", "timeout_min="):
    with pytest.raises(UserError, match=r"^--launcher_options: expected name="):
      read_options(text)


def test_every_launcher_is_documented():
  text = (ROOT / "docs" / "launchers.md").read_text()
  for name in launchers.LAUNCHERS:
    assert f"`{name}`" in text
