"""Checkpoints that are damaged, folders in use, full disks, signals."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest

from configs import digits
from tripletjax import UserError, checkpoint, manifest
from tripletjax.training import parallel, run_folder
from tripletjax.training.feeding import Feed
from tripletjax.training.loop import train_and_evaluate

ROOT = Path(__file__).parent.parent.parent


def tree(step):
  return {"params": {"w": np.full((3, 4), float(step))}, "batch_stats": {}}


def save_steps(directory, *steps, keep=9, best=None):
  with checkpoint.open_checkpoints(directory, keep=keep) as found:
    for step in steps:
      found.kept.best = best
      progress = {"x": step, "best": {"step": best or 0}}
      checkpoint.save_checkpoint(found, step, {"state": tree(step)}, progress)
  return manifest.steps_in(directory)


def restored(directory, said):
  """The step, the state and the progress from which a run would go on."""
  with checkpoint.open_checkpoints(directory, keep=9, say=said.append) as found:
    step = found.latest()
    if not step:
      return 0, None, None
    items, progress = checkpoint.restore_checkpoint(
      found, step, {"state": tree(0)}
    )
    return step, items["state"], progress


def test_the_latest_and_the_best_stay(tmp_path):
  assert save_steps(tmp_path / "a", 2, 4, 6, 8, keep=2) == [6, 8]
  assert save_steps(tmp_path / "b", 2, 4, 6, 8, keep=2, best=2) == [2, 6, 8]
  assert save_steps(tmp_path / "b", 10, keep=1, best=8) == [8, 10]


def data_files(folder):
  return sorted(
    path
    for path in folder.rglob("*")
    if path.is_file() and path.name != manifest.MANIFEST
  )


def flip(path):
  content = bytearray(path.read_bytes())
  content[len(content) // 2] ^= 1
  path.write_bytes(content)


def test_any_flipped_byte_and_any_missing_file_is_found(tmp_path):
  save_steps(tmp_path / "checkpoints", 1)
  folder = tmp_path / "checkpoints" / "1"
  assert manifest.damage(folder) == ""
  files = data_files(folder)
  assert len(files) > 5
  for path in files:
    name = str(path.relative_to(folder))
    kept = path.read_bytes()
    path.unlink()
    # Orbax writes the last of them to the folder itself, when it is whole.
    missing = "" if name == "commit_success.txt" else f"{name} is missing"
    assert manifest.damage(folder) == missing
    path.write_bytes(kept)
    if name in ("commit_success.txt", "_CHECKPOINT_METADATA") or not kept:
      continue
    flip(path)
    assert (
      manifest.damage(folder) == f"{name} has other bytes than were written"
    )
    path.write_bytes(kept)
  (folder / manifest.MANIFEST).write_text("{")
  assert manifest.damage(folder) == "manifest.json can't be read"


def test_a_damaged_checkpoint_is_passed_over_and_kept_aside(tmp_path):
  directory = tmp_path / "checkpoints"
  save_steps(directory, 10, 20, 30, best=10)
  flip(max(data_files(directory / "30"), key=lambda path: path.stat().st_size))
  (directory / "20" / "progress" / "metadata").unlink()
  said = []
  step, network = checkpoint.restore_network(directory, say=said.append)
  assert step == 10
  np.testing.assert_array_equal(network["params"]["w"], 10.0)
  assert len(said) == 1
  assert said[0].startswith("checkpoint 30 is damaged (state/")
  assert said[0].endswith("): taking 10")
  assert checkpoint.restore_network(directory, which="best")[0] == 10
  for which, message in (
    ("20", "is damaged .progress/metadata is missing.; expected another"),
    ("7", "--checkpoint: expected latest, best or one of 10, 20, 30, got '7'"),
  ):
    with pytest.raises(UserError, match=message):
      checkpoint.restore_network(directory, which=which)
  # Only who trains there moves something.
  assert manifest.steps_in(directory) == [10, 20, 30]
  said = []
  step, state, progress = restored(directory, said)
  assert step == progress["x"] == 10
  np.testing.assert_array_equal(state["params"]["w"], 10.0)
  assert [line.partition(" (")[0] for line in said] == [
    "checkpoint 30 is damaged",
    "checkpoint 20 is damaged",
  ]
  assert said[0].endswith(f"going on from 20; it lies in {tmp_path}/damaged/30")
  assert manifest.steps_in(directory) == [10]
  assert manifest.steps_in(tmp_path / "damaged") == [20, 30]
  assert save_steps(directory, 20) == [10, 20]
  flip(directory / "10" / "progress" / "metadata")
  flip(directory / "20" / "progress" / "metadata")
  with pytest.raises(UserError, match=r"20 is damaged .*, and there is no oth"):
    checkpoint.restore_network(directory)
  said = []
  assert restored(directory, said)[0] == 0
  assert "starting again" in said[1]
  assert sorted(path.name for path in (tmp_path / "damaged").iterdir()) == [
    "10",
    "20",
    "20-1",
    "30",
  ]


def test_one_without_a_manifest_is_taken_as_it_is(tmp_path):
  save_steps(tmp_path / "checkpoints", 10)
  (tmp_path / "checkpoints" / "10" / manifest.MANIFEST).unlink()
  assert restored(tmp_path / "checkpoints", [])[0] == 10
  shutil.rmtree(tmp_path / "checkpoints" / "10" / "state" / "d")
  with pytest.raises(UserError, match=r"--workdir: the checkpoint .*10 can't"):
    restored(tmp_path / "checkpoints", [])


def test_what_a_killed_save_left_is_removed(tmp_path):
  save_steps(tmp_path / "checkpoints", 10)
  partial = tmp_path / "checkpoints" / "20.orbax-checkpoint-tmp"
  (partial / "state").mkdir(parents=True)
  assert restored(tmp_path / "checkpoints", [])[0] == 10
  assert not partial.exists()


def test_the_clock_may_be_set_back_between_checkpoints(tmp_path, monkeypatch):
  now = time.time()
  for step, hours in ((10, 2), (20, 1), (30, 0)):
    monkeypatch.setattr(time, "time", lambda h=hours: now + 3600 * h)
    monkeypatch.setattr(
      time, "time_ns", lambda h=hours: int((now + 3600 * h) * 1e9)
    )
    save_steps(tmp_path / "checkpoints", step, keep=2)
  assert manifest.steps_in(tmp_path / "checkpoints") == [20, 30]
  assert restored(tmp_path / "checkpoints", [])[0] == 30


def test_a_new_run_is_the_newest_by_name(tmp_path, monkeypatch):
  times = iter(["20260102-000000", "20260102-000000", "20260101-000000"])
  monkeypatch.setattr(time, "strftime", lambda _: next(times))
  names = []
  for _ in range(3):
    folder = run_folder.new_run("digits", str(tmp_path))
    (folder / "checkpoints" / "5").mkdir(parents=True)
    names.append(folder.name)
    assert run_folder.find_run(None, "digits", str(tmp_path)) == folder
  assert names == [
    "digits-20260102-000000",
    "digits-20260102-000000-2",
    "digits-20260102-000000-3",
  ]
  for count in range(4, 12):
    (tmp_path / f"digits-20260102-000000-{count}" / "checkpoints" / "5").mkdir(
      parents=True
    )
  newest = run_folder.find_run(None, "digits", str(tmp_path))
  assert newest.name.endswith("-11")


def config(**fields):
  made = digits.get_config("smoke")
  made.model.features = (4,)
  made.evaluation.every = "0 steps"
  made.update_from_flattened_dict(
    {name.replace("__", "."): value for name, value in fields.items()}
  )
  return made


def test_two_in_one_folder_and_a_lock_that_a_killed_one_left(tmp_path):
  code = (
    "import sys, time; from pathlib import Path; from configs import digits\n"
    "from tripletjax.training.run_folder import claimed\n"
    "with claimed(Path(sys.argv[1]), digits.get_config('smoke')):\n"
    "  print('held', flush=True); time.sleep(60)\n"
  )
  with subprocess.Popen(
    [sys.executable, "-c", code, str(tmp_path)],
    cwd=ROOT,
    stdout=subprocess.PIPE,
    text=True,
  ) as holder:
    assert holder.stdout.readline() == "held\n"
    message = f"--workdir: process {holder.pid} on .* trains in .*; wait for it"
    with (
      pytest.raises(UserError, match=message),
      run_folder.claimed(tmp_path, digits.get_config("smoke")),
    ):
      pass
    holder.kill()
  assert str(holder.pid) in (tmp_path / "lock").read_text()
  for _ in range(2):
    with run_folder.claimed(tmp_path, digits.get_config("smoke")):
      assert str(os.getpid()) in (tmp_path / "lock").read_text()


def test_fields_that_change_nothing_learned_may_change(tmp_path):
  with run_folder.claimed(tmp_path, config()):
    pass
  before = json.loads((tmp_path / "config.json").read_text())
  # As a run of before these fields.
  del before["train"]["spike"], before["checkpoint"]["best"]
  (tmp_path / "config.json").write_text(json.dumps(before))
  with run_folder.claimed(
    tmp_path, config(checkpoint__keep=7, train__on_nonfinite="skip")
  ):
    after = json.loads((tmp_path / "config.json").read_text())
  assert after["checkpoint"] == {"every": "25 percent", "keep": 7, "best": ""}
  assert after["train"]["on_nonfinite"] == "skip"
  with (
    pytest.raises(UserError, match=r"holds a run with loss\.margin = 0\.2"),
    run_folder.claimed(tmp_path, config(loss__margin=0.3)),
  ):
    pass


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
  with run_folder.claimed(tmp_path, config()):
    pass
  if os.geteuid() == 0:  # whom no right is denied
    tmp_path.chmod(0o755)
    os.seteuid(65534)
    try:
      for folder in (tmp_path, tmp_path / "run"):
        with (
          pytest.raises(UserError, match=r"--workdir: can't use .*denied"),
          run_folder.claimed(folder, config()),
        ):
          pass
    finally:
      os.seteuid(0)
  else:
    (tmp_path / "lock").chmod(0o444)
    with (
      pytest.raises(UserError, match=r"--workdir: can't use .*denied"),
      run_folder.claimed(tmp_path, config()),
    ):
      pass


def test_a_second_training_and_a_signal(tmp_path, monkeypatch):
  """Asked to stop in step 7, it ends after it and goes on from there."""
  keywords = {
    "data_dir": tmp_path / "data",
    "devices": parallel.local_devices()[:1],
  }
  steps = iter(range(1, 99))
  load = Feed.__next__

  def load_and_ask(feed):
    if next(steps) == 7:
      with pytest.raises(
        UserError, match=f"process {os.getpid()} on .* trains"
      ):
        train_and_evaluate(config(), tmp_path / "run", **keywords)
      os.kill(os.getpid(), number)
    return load(feed)

  monkeypatch.setattr(Feed, "__next__", load_and_ask)
  number = signal.SIGTERM
  handlers = [signal.getsignal(x) for x in (signal.SIGTERM, signal.SIGINT)]
  with jax.numpy_dtype_promotion("standard"):
    summary = train_and_evaluate(config(), tmp_path / "run", **keywords)
    assert summary["steps"] == 7
    assert summary["stopped"] == "SIGTERM"
    steps, number = iter(range(1, 99)), signal.SIGINT
    summary = train_and_evaluate(config(), tmp_path / "run", **keywords)
    assert (summary["steps"], summary["stopped"]) == (14, "SIGINT")
    steps = iter(range(8, 99))
    summary = train_and_evaluate(config(), tmp_path / "run", **keywords)
  assert "stopped" not in summary
  lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
  trained = [row["step"] for row in map(json.loads, lines) if "loss" in row]
  assert trained == list(range(1, 21))
  assert handlers == [
    signal.getsignal(x) for x in (signal.SIGTERM, signal.SIGINT)
  ]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_ends_it_at_once(number):
  # Two at the same time are one.
  code = (
    "import time\n"
    "from tripletjax.training.signals import asked_to_stop\n"
    "with asked_to_stop() as asked:\n"
    "  print('there', flush=True)\n"
    "  while not asked(): time.sleep(0.01)\n"
    "  print(asked(), flush=True)\n"
    "  time.sleep(60)\n"
  )
  with subprocess.Popen(
    [sys.executable, "-c", code],
    cwd=ROOT,
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
  ) as process:
    assert process.stdout.readline() == "there\n"
    process.send_signal(number)
    process.send_signal(number)
    assert process.stdout.readline() == f"{number.name}\n"
    assert process.poll() is None
    time.sleep(0.6)
    process.send_signal(number)
    assert process.wait(10) == 128 + number
    assert process.stderr.read().count("ends after this step") == 1


def test_a_full_disk_is_named_and_leaves_the_checkpoint_before(tmp_path):
  """As where there is no space: files may not grow beyond a size."""
  code = """
import resource, signal, sys
from pathlib import Path
import numpy as np
from tripletjax import UserError, checkpoint
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
folder = Path(sys.argv[1])
def state(step):
  return {"w": np.random.default_rng(step).normal(size=9000)}
try:
  with checkpoint.open_checkpoints(folder, keep=2) as found:
    checkpoint.save_checkpoint(found, 10, {"state": state(10)}, {})
    found.manager.wait_until_finished()
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
    checkpoint.save_checkpoint(found, 20, {"state": state(20)}, {})
except UserError as error:
  print(error)
"""
  folder = tmp_path / "checkpoints"
  result = subprocess.run(
    [sys.executable, "-c", code, str(folder)],
    cwd=ROOT,
    capture_output=True,
    text=True,
    check=False,
  )
  assert result.stdout == (
    f"--workdir: can't save in {folder}: File too large; the checkpoint of "
    "step 10 is whole; make it writable, with free space, and start the run "
    "again to go on\n"
  )
  assert result.stderr == ""
  assert [path.name for path in folder.iterdir()] == ["10"]
  assert manifest.damage(folder / "10") == ""
  assert save_steps(folder, 20) == [10, 20]
