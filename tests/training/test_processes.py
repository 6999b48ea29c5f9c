"""Several processes: they meet, share the batch, and end together."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest

from configs import digits
from tripletjax import UserError
from tripletjax.training import launcher, parallel, processes
from tripletjax.training.loop import train_and_evaluate

ROOT = Path(__file__).parent.parent.parent
# Every draw the same, and no jumps: a loss that rounding doesn't change.
FIELDS = {"loss.miner": "all", "augment.rotation": 0.0}


def run_processes(workdir, data_dir, *flags, **keywords):
  """`experiments.launch`, as a user types it."""
  command, others = launching(workdir, data_dir, *flags, **keywords)
  return subprocess.run(command, capture_output=True, timeout=300, **others)


def launching(workdir, data_dir, *flags, processes=2, devices=1):
  """The command, and how it is to be started."""
  command = [
    *(sys.executable, "-m", "experiments.launch"),
    *(f"--processes={processes}", "--", "--config=configs/digits.py:smoke"),
    *(f"--config.{name}={value}" for name, value in FIELDS.items()),
    *(f"--workdir={workdir}", f"--data_dir={data_dir}", *flags),
  ]
  environment = {
    **os.environ,
    "PYTHONPATH": str(ROOT),
    "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
    "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}",
  }
  return command, {"text": True, "cwd": ROOT, "env": environment}


def one_process(workdir, data_dir, *, fields=(), **keywords):
  config = digits.get_config("smoke")
  config.update_from_flattened_dict({**FIELDS, **dict(fields)})
  # Optax's Adam multiplies its integer count with floats.
  with jax.numpy_dtype_promotion("standard"):
    return train_and_evaluate(
      config,
      workdir,
      data_dir=data_dir,
      devices=parallel.local_devices()[:1],
      **keywords,
    )


def numbers(workdir, name):
  lines = (workdir / "metrics.jsonl").read_text().splitlines()
  rows = [json.loads(line) for line in lines]
  return [row[name] for row in rows if name in row]


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
  """One process with one device: its data and its run."""
  data_dir = tmp_path_factory.mktemp("data")
  workdir = tmp_path_factory.mktemp("alone")
  return data_dir, workdir, one_process(workdir, data_dir)


def assert_same_run(workdir, alone):
  _, expected, summary = alone
  for name in ("loss", "positive_distance", "gradient_norm", "eval/map@r"):
    values = numbers(workdir, name)
    np.testing.assert_allclose(
      values, numbers(expected, name), rtol=1e-3, err_msg=name
    )
    # The first step is from the same state.
    np.testing.assert_allclose(
      values[0], numbers(expected, name)[0], rtol=1e-5, err_msg=name
    )
  found = json.loads((workdir / "summary.json").read_text())
  np.testing.assert_allclose(
    found["trained"]["map@r"], summary["trained"]["map@r"], rtol=1e-3
  )


@pytest.mark.slow
def test_two_processes_go_on_with_the_run_of_one(alone, tmp_path):
  data_dir = alone[0]
  one_process(tmp_path, data_dir, max_steps=10)
  result = run_processes(tmp_path, data_dir)
  assert result.returncode == 0, result.stderr
  assert_same_run(tmp_path, alone)
  # One of them speaks.
  assert result.stdout.count("resumed: step 10 of 20") == 1
  assert result.stdout.count("devices: 2 x cpu (cpu) of 2 processes") == 1
  assert result.stdout.count("| trained network") == 1
  assert sorted(p.name for p in (tmp_path / "checkpoints").iterdir()) == [
    "15",
    "20",
  ]


@pytest.mark.slow
@pytest.mark.parametrize(
  ("count", "devices", "backend", "references"),
  [
    (2, 1, "shard_map", "gather"),
    (2, 4, "pmap", "gather"),
    (4, 1, "pmap", "ring"),
    (2, 2, "shard_map", "ring"),
  ],
)
def test_processes_draw_the_curves_of_one(
  alone, tmp_path, count, devices, backend, references
):
  result = run_processes(
    tmp_path / "run",
    tmp_path / "data",  # prepared by the first, and then there for the others
    f"--config.parallel.backend={backend}",
    f"--config.parallel.references={references}",
    processes=count,
    devices=devices,
  )
  assert result.returncode == 0, result.stderr
  assert_same_run(tmp_path / "run", alone)


def test_blocks_are_taken_in_turn_and_joined_again(monkeypatch):
  # 11 rows in blocks of 2 for three processes; the last block has one.
  taken = [[0, 1, 6, 7], [2, 3, 8, 9], [4, 5, 10]]
  monkeypatch.setattr(jax, "process_count", lambda: 3)
  rows = np.arange(22.0, dtype=np.float32).reshape(11, 2)
  sent = []
  for number, places in enumerate(taken):
    monkeypatch.setattr(jax, "process_index", lambda number=number: number)
    own = processes.blocks_of_this(11, 2)
    assert own.tolist() == places
    sent.append(np.pad(rows[own], [(0, 4 - len(own)), (0, 0)]))

  def gather(padded):
    np.testing.assert_array_equal(padded, sent[2])
    return np.stack(sent)

  gatherer = processes.multihost_utils
  monkeypatch.setattr(gatherer, "process_allgather", gather)
  np.testing.assert_array_equal(processes.joined(rows[own], 11, 2), rows)


@pytest.mark.slow
@pytest.mark.parametrize("mining", ["offline_batches", "offline_triplets"])
def test_processes_mine_offline_as_one(tmp_path, mining):
  fields = {"mining.name": mining, "mining.every": "8 steps"}
  fields |= {"batch.images": 3}  # triplets for two devices
  one_process(tmp_path / "one", tmp_path / "data", fields=fields)
  result = run_processes(
    tmp_path / "two",
    tmp_path / "data",
    *(f"--config.{name}={value}" for name, value in fields.items()),
  )
  assert result.returncode == 0, result.stderr
  for name in ("loss", "mining/active", "mining/still_active", "eval/map@r"):
    found = numbers(tmp_path / "two", name)
    assert len(found) == len(numbers(tmp_path / "one", name)) > 1, name
    np.testing.assert_allclose(
      found, numbers(tmp_path / "one", name), rtol=1e-3, err_msg=name
    )


@pytest.mark.parametrize(
  ("flags", "message"),
  [
    ([], "--workdir: can't use"),  # which one process finds
    # Which all find.
    pytest.param(
      ["--config.loss.margin=-1"],
      "loss.margin: expected 0 or more",
      marks=pytest.mark.slow,
    ),
  ],
)
def test_a_mistake_ends_all_of_them_with_one_line(tmp_path, flags, message):
  (tmp_path / "run").write_text("no folder")
  start = time.monotonic()
  result = run_processes(tmp_path / "run", tmp_path / "data", *flags)
  assert result.returncode == 2
  errors = [
    line for line in result.stderr.splitlines() if line.startswith("error: ")
  ]
  assert len(errors) == 1
  assert message in errors[0]
  # Nor does the other say how it was ended.
  assert "Traceback" not in result.stderr
  assert "Fatal" not in result.stderr
  assert time.monotonic() - start < 60


def free_cluster_port():
  """One of the ports that JAX takes for a cluster's job, and its job."""
  low = 2**16 - 2**12
  for job in range(1, 2**12):
    with socket.socket() as trying:
      try:
        trying.bind(("127.0.0.1", low + job))
      except OSError:
        continue
      return job
  raise AssertionError("no port is free")


def by_slurm(job, number):
  return {
    "SLURM_JOB_ID": str(job),
    "SLURM_STEP_NODELIST": "127.0.0.1",
    "SLURM_NTASKS": "2",
    "SLURM_PROCID": str(number),
    "SLURM_LOCALID": str(number),
  }


def by_open_mpi(job, number):
  return {
    "OMPI_MCA_orte_hnp_uri": f"{job * 2**12}.0;tcp://127.0.0.1:40000",
    "OMPI_COMM_WORLD_SIZE": "2",
    "OMPI_COMM_WORLD_RANK": str(number),
    "OMPI_COMM_WORLD_LOCAL_RANK": str(number),
  }


@pytest.mark.slow
@pytest.mark.parametrize("cluster", [by_slurm, by_open_mpi])
def test_processes_of_a_cluster_meet_by_its_environment(
  alone, tmp_path, cluster
):
  command, keywords = launching(tmp_path / "run", alone[0])
  command = [
    *(sys.executable, "-m", "experiments.train"),
    *command[command.index("--") + 1 :],
  ]
  job = free_cluster_port()
  keywords["env"] |= {"PYTHONUNBUFFERED": "1"}
  children = [
    subprocess.Popen(
      command,
      stdout=subprocess.PIPE,
      stderr=subprocess.STDOUT,
      **{**keywords, "env": {**keywords["env"], **cluster(job, number)}},
    )
    for number in range(2)
  ]
  try:
    said = [child.communicate(timeout=300)[0] for child in children]
  finally:
    for child in children:
      child.kill()
  assert [child.returncode for child in children] == [0, 0], said
  assert said[0].count("devices: 2 x cpu (cpu) of 2 processes") == 1
  assert_same_run(tmp_path / "run", alone)


@pytest.mark.slow
def test_two_processes_that_are_stopped_go_on_bit_for_bit(tmp_path):
  flags = (
    "--config.train.duration=60 steps",
    "--config.checkpoint.every=25 steps",
    "--config.evaluation.every=30 steps",
  )
  whole = run_processes(tmp_path / "whole", tmp_path / "data", *flags)
  assert whole.returncode == 0, whole.stderr
  command, keywords = launching(tmp_path / "parts", tmp_path / "data", *flags)
  with subprocess.Popen(command, stderr=subprocess.PIPE, **keywords) as run:
    deadline = time.monotonic() + 120
    while not trained_steps(tmp_path / "parts"):
      assert time.monotonic() < deadline
      time.sleep(0.005)
    run.send_signal(signal.SIGTERM)
    _, said = run.communicate(timeout=120)
  assert run.returncode == 75, said
  latest = max(int(x.name) for x in (tmp_path / "parts/checkpoints").iterdir())
  assert trained_steps(tmp_path / "parts") == list(range(1, latest + 1))
  again = run_processes(
    tmp_path / "parts", tmp_path / "data", *flags, "--keep=1"
  )
  assert [x.name for x in (tmp_path / "parts/checkpoints").iterdir()] == ["60"]
  assert again.returncode == 0, again.stderr
  assert trained_steps(tmp_path / "parts") == list(range(1, 61))
  for name in ("loss", "gradient_norm", "eval/map@r"):
    expected = numbers(tmp_path / "whole", name)
    assert numbers(tmp_path / "parts", name) == expected, name
  with (
    np.load(tmp_path / "parts" / "evaluation.npz") as parts,
    np.load(tmp_path / "whole" / "evaluation.npz") as expected,
  ):
    np.testing.assert_array_equal(parts["embeddings"], expected["embeddings"])


def trained_steps(workdir):
  path = workdir / "metrics.jsonl"
  lines = path.read_text().splitlines(keepends=True) if path.exists() else []
  rows = [json.loads(line) for line in lines if line.endswith("\n")]
  return [row["step"] for row in rows if "loss" in row]


WAIT = "import time; time.sleep(60)"


def child(first, others):
  """A program whose first process does one thing, and all others another."""
  return [
    "-c",
    f"import sys\nif '--process_id=0' in sys.argv: {first}\nelse: {others}",
  ]


@pytest.mark.parametrize(
  ("first", "others", "code"),
  [
    ("pass", "pass", 0),
    ("sys.exit(7)", WAIT, 7),
    (WAIT, "sys.exit(3)", 3),
    ("import os; os.kill(os.getpid(), 9)", WAIT, 128 + 9),
  ],
)
def test_one_that_fails_ends_the_others(first, others, code):
  start = time.monotonic()
  assert launcher.launch(child(first, others), processes=3) == code
  assert time.monotonic() - start < 20


def test_a_process_that_does_not_listen_is_killed():
  deaf = "import signal; signal.signal(15, signal.SIG_IGN); " + WAIT
  first = "import time; time.sleep(1); sys.exit(4)"
  start = time.monotonic()
  assert launcher.launch(child(first, deaf), processes=2) == 4
  assert time.monotonic() - start < 5


@pytest.mark.skipif(not Path("/proc").exists(), reason="asks /proc")
def test_one_that_is_killed_comes_before_those_that_miss_it(tmp_path):
  # The others say that they fail as soon as it is gone.
  mark = tmp_path / "pid"
  first = (
    f"import os; open({str(mark)!r}, 'w').write(str(os.getpid())); "
    "import time; time.sleep(1); os.kill(os.getpid(), 9)"
  )
  others = f"""
  import os, time
  from tripletjax.training.launcher import say_failed
  while not os.path.exists({str(mark)!r}) or not open({str(mark)!r}).read():
    time.sleep(0.01)
  pid = open({str(mark)!r}).read()
  while open(f"/proc/{{pid}}/stat").read().split()[2] != "Z":
    time.sleep(0.01)
  say_failed(1)
  sys.exit(1)
"""
  assert launcher.launch(child(first, others), processes=2) == 128 + 9


def test_one_that_says_that_it_fails_outlives_the_others(tmp_path):
  mark = tmp_path / "outlived"
  first = (
    "from tripletjax.training.launcher import say_failed; say_failed(0); "
    f"open({str(mark)!r}, 'w').close(); sys.exit(5)"
  )
  # Ends with another code if it isn't ended.
  others = "import time; time.sleep(4); sys.exit(6)"
  assert launcher.launch(child(first, others), processes=2) == 5
  assert mark.exists()


def test_the_launcher_passes_on_that_it_is_ended(tmp_path):
  marks = [tmp_path / f"{number}" for number in range(2)]
  program = (
    "import os, sys, time\n"
    "number = sys.argv[-1][-1]\n"
    f"open(os.path.join({str(tmp_path)!r}, number), 'w')"
    ".write(str(os.getpid()))\n"
    "time.sleep(60)"
  )
  code = (
    "import sys; from tripletjax.training.launcher import launch\n"
    f"sys.exit(launch(['-c', {program!r}], processes=2))"
  )
  process = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT)
  deadline = time.monotonic() + 30
  while not all(mark.exists() and mark.read_text() for mark in marks):
    assert time.monotonic() < deadline
    time.sleep(0.05)
  process.send_signal(signal.SIGTERM)
  assert process.wait(20) == 128 + signal.SIGTERM
  for mark in marks:
    with pytest.raises(ProcessLookupError):
      os.kill(int(mark.read_text()), 0)


def test_a_free_port_can_be_listened_to():
  first, second = launcher.free_port(), launcher.free_port()
  assert 1024 <= first < 2**16
  assert 1024 <= second < 2**16


SLURM = {
  "SLURM_JOB_ID": "1",
  "SLURM_STEP_NODELIST": "a[1-2]",
  "SLURM_PROCID": "0",
  "SLURM_LOCALID": "0",
  "SLURM_NTASKS": "2",
}


@pytest.mark.parametrize(
  ("environment", "expected"),
  [
    ({}, False),
    (SLURM, True),
    (SLURM | {"SLURM_NTASKS": "1"}, False),
    # In an allocation, but not started by srun.
    ({k: v for k, v in SLURM.items() if k != "SLURM_LOCALID"}, False),
    ({"OMPI_MCA_orte_hnp_uri": "1;tcp", "OMPI_COMM_WORLD_SIZE": "4"}, True),
    ({"OMPI_COMM_WORLD_SIZE": "4"}, False),
  ],
)
def test_a_cluster_is_known_by_its_environment(environment, expected):
  assert processes.in_cluster(environment) is expected


@pytest.mark.parametrize(
  ("arguments", "message"),
  [
    (("127.0.0.1:1234", None, None), "--coordinator, --num_processes and --pr"),
    ((None, None, 0), "expected all or none"),
    (("localhost", 2, 0), "--coordinator: expected host:port, got 'localhost'"),
    (("localhost:port", 2, 0), "expected host:port"),
    (("localhost:1234", 2, 2), "--process_id: expected 0 to 1, got 2"),
    (("localhost:1234", 2, -1), "--process_id: expected 0 to 1, got -1"),
  ],
)
def test_flags_that_cannot_be_right(arguments, message):
  with (
    pytest.raises(UserError, match=message),
    processes.together(*arguments),
  ):
    pass


def test_the_environment_of_jax_is_read(monkeypatch):
  monkeypatch.setenv("JAX_COORDINATOR_ADDRESS", "somewhere:1234")
  with pytest.raises(UserError, match="expected all"), processes.together():
    pass
  monkeypatch.setenv("JAX_NUM_PROCESSES", "2")
  monkeypatch.setenv("JAX_PROCESS_ID", "5")
  with (
    pytest.raises(UserError, match="--process_id: expected 0 to 1"),
    processes.together(),
  ):
    pass


def test_one_process_is_first_and_waits_for_nobody():
  with processes.together() as is_first:
    assert is_first
  processes.wait("nobody")
  assert processes.from_first({"step": 3}) == {"step": 3}
  with processes.first_goes_first():
    pass
  with pytest.raises(UserError, match="as it was"), processes.together():
    raise UserError("as it was")
