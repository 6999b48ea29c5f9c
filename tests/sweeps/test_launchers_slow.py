"""Launchers that need packages of their own: submitit, Ray, a Slurm."""

import os
import shutil
import signal
import subprocess
import time

import pytest
from tiny_jobs import (
  POLITE,
  WRITER,
  alive,
  ended,
  launching,
  most_at_once,
  naps,
  python,
  until,
)

from tripletjax.errors import UserError
from tripletjax.sweeps import launch_submitit
from tripletjax.sweeps.launchers import How, Job, launch

pytestmark = [
  pytest.mark.slow,
  # Theirs: sockets and processes that they leave to the collector.
  pytest.mark.filterwarnings("ignore"),
]


@pytest.fixture(params=["submitit", "ray", "slurm"])
def launcher(request):
  if request.param == "ray":
    pytest.importorskip("ray", reason="needs pip install 'tripletjax[ray]'")
    return "ray"
  pytest.importorskip("submitit", reason="pip install 'tripletjax[slurm]'")
  if request.param == "slurm":
    if shutil.which("squeue") is None:
      pytest.skip("needs a Slurm")
    if subprocess.run(["squeue"], capture_output=True).returncode:
      pytest.skip("needs a Slurm that answers")
  return request.param


@pytest.fixture
def options(launcher):
  return {"num_cpus": 1} if launcher == "ray" else {}


def test_places_and_exit_codes(tmp_path, launcher, options):
  jobs = naps(tmp_path, [0, 1, 2, 0], seconds=1.5)
  kill = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"
  jobs.append(Job("killed", python(kill), tmp_path / "killed.log"))
  states = []

  codes = launch(
    launcher,
    jobs,
    how=How(2, tmp_path / "queue", options=options),
    changed=lambda name, state, code: states.append((name, state)),
  )

  assert list(codes.values()) == [0, 1, 2, 0, 128 + 9]
  assert most_at_once(jobs[:4]) <= 2
  assert states.count(("job1", "failed")) == 1
  assert states.count(("job3", "done")) == 1


def test_a_stop_reaches_the_jobs(tmp_path, launcher):
  logs = [tmp_path / "0.log", tmp_path / "1.log"]
  with launching(tmp_path, POLITE, launcher=launcher, count=4) as process:
    until(lambda: any(log.exists() and log.read_text() for log in logs), 60)
    time.sleep(1)
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=60)
  found = output[output.index("{'job0'") :]
  assert found.startswith(str({f"job{i}": 75 for i in range(4)}))
  asked = [log for log in logs if log.exists()]
  assert asked
  for log in asked:
    assert f"asked by {int(signal.SIGTERM)}" in log.read_text()


def test_kill_9_leaves_nothing_that_writes(tmp_path, launcher):
  if launcher == "slurm":
    pytest.skip("Slurm's jobs outlive their launcher")
  written = tmp_path / "written"
  written.mkdir()
  files = [written / "child", written / str(written).replace("/", "")]
  with launching(tmp_path, WRITER, written, launcher=launcher) as process:
    until(lambda: all(file.exists() for file in files), 60)
    assert not ended(files, 0.2)
    process.kill()
    process.wait()
  until(lambda: not alive(str(tmp_path / "job.py")), 20)
  assert ended(files, 0.3)


def test_a_launcher_goes_on_with_jobs_in_the_queue(tmp_path, launcher):
  if launcher != "slurm":
    pytest.skip("only Slurm's jobs outlive their launcher")
  nap = "import time; print('began', flush=True); time.sleep(8)"
  logs = [tmp_path / "0.log", tmp_path / "1.log"]
  with launching(tmp_path, nap, launcher="slurm", count=2) as process:
    until(lambda: any(log.exists() and log.read_text() for log in logs), 60)
    process.kill()
    process.wait()
  with launching(tmp_path, nap, launcher="slurm", count=2) as process:
    output, _ = process.communicate(timeout=120)
  assert "{'job0': 0, 'job1': 0}" in output
  assert [log.read_text() for log in logs] == ["began\n", "began\n"]


def test_one_whose_time_is_over_is_submitted_again(tmp_path, launcher):
  if launcher != "slurm":
    pytest.skip("Slurm alone ends jobs by itself")
  code = POLITE.replace("import signal", "import os, signal").replace(
    'print("ready", flush=True)',
    "if os.path.exists(sys.argv[1]): sys.exit(0)\nopen(sys.argv[1], 'w')",
  )
  mark = tmp_path / "mark"
  job = Job("job", python(code, mark), tmp_path / "log")
  states = []

  def changed(name, state, exit_code):
    states.append((state, exit_code))
    if states == [("running", None)]:
      until(mark.exists, 60)
      label = launch_submitit.Queue(tmp_path / "queue").label("job")
      subprocess.run(["scancel", "--signal=TERM", f"--name={label}"])

  assert launch(
    "slurm", [job], how=How(1, tmp_path / "queue"), changed=changed
  ) == {"job": 0}
  assert states == [
    ("running", None),
    ("waiting", 75),
    ("running", None),
    ("done", 0),
  ]


def test_a_wrong_option_is_one_line(tmp_path, launcher):
  jobs = naps(tmp_path, [0])
  how = How(1, tmp_path / "queue", options={"colour": "red"})
  with pytest.raises(
    UserError, match=r"^--launcher_options: .*colour"
  ) as error:
    launch(launcher, jobs, how=how)
  assert "\n" not in str(error.value)


def test_two_launchers_in_a_folder(tmp_path, launcher):
  if launcher != "submitit":
    pytest.skip("submitit's local jobs alone wait for their launcher's lock")
  logs = [tmp_path / "0.log"]
  with launching(tmp_path, POLITE, launcher=launcher, count=1):
    until(lambda: logs[0].exists() and logs[0].read_text(), 60)
    with pytest.raises(UserError, match=r"^--workdir: another launcher is at"):
      launch("submitit", naps(tmp_path, [0]), how=How(1, tmp_path / "queue"))
  until(lambda: not alive(str(tmp_path / "job.py")), 20)
  assert launch(
    "submitit", naps(tmp_path, [0]), how=How(1, tmp_path / "queue")
  ) == {"job0": 0}
  assert sorted(os.listdir(tmp_path / "queue")) == ["alive", "submitit"]
