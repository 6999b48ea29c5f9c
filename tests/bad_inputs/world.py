"""Files of every kind, good and bad, that the cases are about."""

import contextlib
import fcntl
import json
import os
import shutil
import struct
import subprocess
import sys
import zipfile
import zlib
from pathlib import Path

import numpy as np
import prepared_sets
import weights

ROOT = Path(__file__).parent.parent.parent
IMAGES = {
  f"{name}/{number}.png": prepared_sets.picture(40 * number + ord(name))
  for name in "ab"
  for number in range(3)
}


class Server:
  """Runs commands; see `server.py`."""

  def __init__(self):
    self._process = subprocess.Popen(
      [sys.executable, str(Path(__file__).with_name("server.py"))],
      stdin=subprocess.PIPE,
      stdout=subprocess.PIPE,
      text=True,
      env={**os.environ, "PYTHONPATH": str(ROOT)},
    )

  def run(
    self,
    module,
    arguments,
    folder,
    *,
    seconds=60,
    environment=None,
    offline=False,
  ):
    request = {
      "module": f"experiments.{module}",
      "arguments": arguments,
      "folder": str(folder),
      "seconds": seconds,
      "environment": environment or {},
      "offline": offline,
    }
    self._process.stdin.write(json.dumps(request) + "\n")
    self._process.stdin.flush()
    return json.loads(self._process.stdout.readline())

  def close(self):
    self._process.stdin.close()
    self._process.stdout.close()
    self._process.wait()


@contextlib.contextmanager
def built_once(folder):
  """Holds a lock on a folder; yields whether it is to be built."""
  folder.parent.mkdir(parents=True, exist_ok=True)
  with folder.with_suffix(".lock").open("w") as lock:
    fcntl.flock(lock, fcntl.LOCK_EX)
    done = folder / "built"
    wanted = not done.exists()
    yield wanted
    if wanted:
      done.touch()


def build(world, server):
  """Fills a folder; `server` trains the run that others are damaged from."""
  world.mkdir(exist_ok=True)
  _sets(world)
  _folders(world)
  _zips(world)
  _tables(world)
  _configs(world)
  weights.build(world)
  _runs(world, server)
  _galleries(world, server)


def png(width, height):
  """A small file that says it is so large."""

  def chunk(kind, data):
    crc = struct.pack(">I", zlib.crc32(kind + data))
    return struct.pack(">I", len(data)) + kind + data + crc

  header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
  pixels = zlib.compress(bytes(1000))
  parts = (b"IHDR", header), (b"IDAT", pixels), (b"IEND", b"")
  return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts)


def write(folder, files):
  for name, data in files.items():
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data if isinstance(data, bytes) else data.encode())


def _sets(world):
  examples = {
    "train": [prepared_sets.example(n) for n in range(24)],
    "test": [prepared_sets.example(n) for n in range(24, 42)],
  }
  data = world / "data"
  for ending in ("array_record", "tfrecord", "parquet"):
    prepared_sets.write_set(data, ending, examples, ending=ending)

  def damaged(of, name, change):
    folder = shutil.copytree(data / of, data / name) / "1.0.0"
    info = json.loads((folder / "dataset_info.json").read_text())
    (folder / "dataset_info.json").write_text(json.dumps(info | {"name": name}))
    for path in list(folder.glob(f"{of}-*")):
      path.rename(folder / path.name.replace(of, name, 1))
    change(folder, next(folder.glob(f"{name}-train*-00000-*")))

  def edit(change):
    return lambda folder, path: path.write_bytes(change(path.read_bytes()))

  def records(image=None, data=None):
    made = [{**prepared_sets.example(n), "image": image} for n in range(12)]
    if data is None:
      data = prepared_sets.serialize(prepared_sets.FEATURES, made)
    return lambda _, path: path.write_bytes(prepared_sets.tfrecord(data))

  def described(**changes):
    def change(folder, _):
      path = folder / "dataset_info.json"
      path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    return change

  def classes(folder, _):
    path = folder / "features.json"
    text = path.read_text()
    path.write_text(
      text.replace("tensorflow_datasets.core.features.text_feature", "hostile")
    )

  absurd = struct.pack("<Q", 2**63)
  for case in (
    ("tfrecord", "cut", edit(lambda data: data[: len(data) // 2])),
    ("tfrecord", "void", edit(lambda data: b"")),
    ("tfrecord", "absurd", edit(lambda data: absurd + data[8:])),
    ("tfrecord", "crc", edit(lambda data: data[:8] + bytes(4) + data[12:])),
    ("tfrecord", "garbled", records(data=[b"\xff\x01garbage"] * 12)),
    ("tfrecord", "blank", records(data=[b""] * 12)),
    ("tfrecord", "bomb", records(png(60_000, 60_000))),
    ("tfrecord", "wide", records(png(9_000, 9_000))),
    ("tfrecord", "texts", records(b"hello")),
    ("tfrecord", "gone", lambda _, path: path.unlink()),
    ("tfrecord", "hostile", classes),
    ("tfrecord", "empty_split", described(splits=[])),
    ("tfrecord", "other_format", described(fileFormat="exe")),
    (
      "tfrecord",
      "no_features",
      lambda folder, _: (folder / "features.json").unlink(),
    ),
    (
      "tfrecord",
      "no_description",
      lambda folder, _: (folder / "dataset_info.json").write_text("[]"),
    ),
    ("array_record", "array_cut", edit(lambda data: data[:9000])),
    ("array_record", "array_garbage", edit(lambda data: b"x" * len(data))),
    ("parquet", "parquet_cut", edit(lambda data: data[: len(data) // 2])),
    ("parquet", "parquet_few", _few_rows),
    ("parquet", "parquet_numbers", _numbers),
  ):
    damaged(*case)


def _few_rows(_, path):
  prepared_sets._write_parquet(path, [])


def _numbers(_, path):
  import pyarrow
  from pyarrow import parquet

  parquet.write_table(pyarrow.table({"x": [1] * 12}), path)


def _folders(world):
  good = IMAGES["a/0.png"]
  for name, more in {
    "good": {},
    "huge": {"a/x.png": png(60_000, 60_000)},
    "large": {"a/x.png": png(9_000, 9_000)},
    "void": {"a/x.png": b""},
    "cut": {"a/x.png": good[:30]},
    "text": {"a/x.png": b"hello"},
  }.items():
    write(world / "images" / name, {**IMAGES, **more})
  write(world / "images/lone", {"a/0.png": good, "a/1.png": good})
  write(world / "images/none", {"a/x.txt": b""})
  write(world / "images/flat", {"1.png": good, "2.png": good})
  for name, target in {
    "dead_link": "nowhere",
    "device": "/dev/zero",
    "pipe": world / "pipe",
  }.items():
    write(world / "images" / name, IMAGES)
    os.symlink(target, world / "images" / name / "a/x.png")
  os.mkfifo(world / "pipe")
  write(world / "images/latin1", IMAGES)
  (world / os.fsdecode(b"images/latin1/a/\xff.png")).write_bytes(good)


def _zips(world):
  good = IMAGES["a/0.png"]
  link = zipfile.ZipInfo("a/link.png")
  link.external_attr = 0o120777 << 16
  zeros = [(f"a/{n}.png", bytes(2**26)) for n in range(6)]
  for name, members in {
    "climbs": [("../x/y.png", good)],
    "absolute": [("/x/y.png", good)],
    "backslash": [("a\\..\\y.png", good)],
    "link": [(link, "/etc/passwd")],
    "bomb": [(f"z/{n}", data) for n, (_, data) in enumerate(zeros)],
    "long": [("a/x.png", bytes(2**28 - 2**10)), ("a/y.png", bytes(2**10))],
  }.items():
    with zipfile.ZipFile(
      world / f"{name}.zip", "w", zipfile.ZIP_DEFLATED
    ) as archive:
      for member in [*IMAGES.items(), *members]:
        archive.writestr(*member)
  write(world, {"text.zip": b"not a zip"})
  whole = (world / "climbs.zip").read_bytes()
  write(world, {"cut.zip": whole[:-40]})


def _tables(world):
  rows = "path,label\nimages/good/a/0.png,a\n"
  write(
    world,
    {
      "lone.csv": rows,
      "no_label.csv": "path,name\nimages/good/a/0.png,a\n",
      "twice.csv": "path,label,label\nx.png,a,b\n",
      "wide.csv": rows + "images/good/b/0.png,b,c\n",
      "missing.csv": rows + "images/good/b/9.png,b\n",
      "empty.csv": "",
      "nameless.csv": rows + "images/good/b/0.png,\n",
      "split.csv": "path,label,split\nimages/good/a/0.png,a,all\n",
      "quote.csv": 'path,label\n"images/good/a/0.png,a\n',
      "latin1.csv": b"path,label\nx.png,\xff\n",
      "pipe.csv": rows + "pipe,b\n",
      "folder.csv": rows + "images/good/b,b\n",
    },
  )
  for name, text in {
    "empty": "",
    "words": "ten pairs\n",
    "negative": "-1\n",
    "short": "1 2\nE/c0 1 2\n",
    "one_kind": "1\nE/c0 1 2\nE/c0 1 2 3\n",
    "stranger": "1\nNobody 1 2\nE/c0 1 F/c0 1\n",
    "number": "1\nE/c0 1 9\nE/c0 1 F/c0 1\n",
    "letter": "1\nE/c0 1 x\nE/c0 1 F/c0 1\n",
    "digits": "1\nE/c0 1 ²\nE/c0 1 F/c0 1\n",
    "huge": "9" * 5000 + "\n",
    "latin1": b"1\n\xff 1 2\n",
  }.items():
    write(world / "pairs", {f"{name}.txt": text})
  write(world, {"names.txt": "\n"})


def _configs(world):
  digits = (ROOT / "configs" / "digits.py").read_text()
  for name, text in {
    "syntax": "def get_config(:\n",
    "nothing": "x = 1\n",
    "number": "def get_config():\n  return 3\n",
    "raises": "def get_config():\n  return 1 / 0\n",
    "lacks": digits.replace("  config.loss.margin = 0.2\n", "").replace(
      'config.loss.get_oneway_ref("margin")', "0.2"
    ),
    "text": digits.replace(
      "config.batch.images = 8", 'config.batch.images="8"'
    ),
    "flat": digits.replace(
      "  if variant ==", "  config.augment = 3\n  if variant =="
    ),
  }.items():
    write(world / "configs", {f"{name}.py": text})


def _runs(world, server):
  """A run of one step, and what can be wrong with its folder."""
  run = world / "runs" / "good"
  (world / "runs").mkdir(exist_ok=True)
  flags = [
    f"--config={ROOT}/configs/digits.py:smoke",
    f"--data_dir={world}/data",
    f"--workdir={run}",
    *[
      "--config.data.name=tfrecord",
      "--config.batch.identities=4",
      "--config.batch.images=2",
      "--config.model.features=(4,)",
      "--config.model.dimension=4",
      "--config.evaluation.batch_size=8",
      "--config.evaluation.folds=2",
    ],
    "--config.train.duration=1 steps",
    "--config.evaluation.every=0 steps",
  ]
  quick = {"JAX_DISABLE_MOST_OPTIMIZATIONS": "1"}
  # Without the network, so that it is tested on the way.
  answer = server.run(
    "train", flags, world, seconds=300, environment=quick, offline=True
  )
  assert answer["code"] == 0, answer["stderr"]
  assert "NETWORK" not in answer["stderr"], answer["stderr"]
  whole = (run / "config.json").read_text()

  def other(name, config=None, data=None, metrics=None, checkpoints="good"):
    folder = world / "runs" / name
    folder.mkdir()
    write(folder, {"config.json": whole if config is None else config})
    write(folder, {} if data is None else {"data.json": data})
    write(folder, {} if metrics is None else {"metrics.jsonl": metrics})
    if checkpoints == "good":
      os.symlink(run / "checkpoints", folder / "checkpoints")
    return folder

  def fields(name, field, value):
    config = json.loads(whole)
    *heads, last = field.split(".")
    node = config
    for head in heads:
      node = node[head]
    node[last] = value
    other(name, json.dumps(config))

  for name, text in {
    "config_empty": "",
    "config_list": "[]",
    "config_cut": whole[:100],
    "config_deep": "[" * 100_000,
    "config_binary": b"\xff\xfe",
    "config_other": "{}",
  }.items():
    other(name, text)
  for name, field, value in (
    ("model", "model.name", "nope"),
    ("features", "model.features", "wide"),
    ("dimension", "model.dimension", -1),
    ("norm", "model.norm", "nope"),
    ("distance", "loss.distance", "nope"),
    ("seed", "seed", "x"),
    ("data_name", "data.name", 3),
    ("batch", "evaluation.batch_size", 0),
    ("section", "data", 3),
    ("folds", "evaluation.folds", 1),
    ("temperature", "evaluation.view_temperature", float("inf")),
  ):
    fields(f"config_{name}", field, value)
  other("data_empty", data="")
  other("data_list", data="[]")
  other("data_shape", data='{"image_shape": ["a", 1, 1]}')
  for name, text in {
    "empty": "",
    "words": "hello\n",
    "no_step": '{"loss": 1}\n',
    "float_step": '{"step": 1.5, "loss": 1}\n',
    "deep": "[" * 100_000 + "\n",
    "binary": b"\xff\n",
    "other_steps": '{"step": 77, "loss": 1}\n',
  }.items():
    other(f"metrics_{name}", metrics=text)
  other("unsaved", checkpoints="")
  for name in ("torn", "garbled", "void"):
    folder = other(name, checkpoints="")
    shutil.copytree(run / "checkpoints", folder / "checkpoints")
    for path in list((folder / "checkpoints").rglob("*")):
      if path.is_file() and "state" in path.parts:
        if name == "torn":
          path.unlink()
        else:
          path.write_bytes(b"garbage" * 9 if name == "garbled" else b"")


def _galleries(world, server):
  """Of the good run: one with people, one without; and what is none."""
  folder = world / "galleries"
  folder.mkdir()
  run = f"--workdir={world}/runs/good"
  for command, flags in (
    ("enroll", [run, f"--images={world}/images/good"]),
    ("enroll", [run, f"--images={world}/images/good"]),
    ("enroll", ["--remove=a", "--remove=b"]),
  ):
    name = "good" if not (folder / "good.npz").exists() else "empty"
    flags = [*flags, f"--gallery={folder}/{name}.npz"]
    answer = server.run(command, flags, world, seconds=120)
    assert answer["code"] == 0, answer["stderr"]
  for lock in folder.glob(".*"):
    lock.unlink()
  with np.load(folder / "good.npz", allow_pickle=False) as saved:
    arrays = dict(saved)
  np.savez(folder / "other.npz", **arrays | {"fingerprint": np.array("x")})
  del arrays["names"]
  np.savez(folder / "nameless.npz", **arrays)
  write(folder, {"text.npz": b"hello"})
  (world / "taken").mkdir()
  write(world / "taken", {"x.txt": b""})
