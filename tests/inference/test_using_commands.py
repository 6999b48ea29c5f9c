"""The commands on a finished run as a user types them."""

import csv
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tripletjax.inference.gallery import load_gallery

ROOT = Path(__file__).parents[2]


@pytest.fixture
def use(lab, tmp_path):
  """Runs a command in a folder with a run, its data and images."""
  for name in ("run", "data", "images"):
    shutil.copytree(lab / name, tmp_path / name)

  def command(line, code=0):
    module, *flags = line.split()
    result = subprocess.run(
      [sys.executable, "-m", f"experiments.{module}", *flags],
      capture_output=True,
      text=True,
      cwd=tmp_path,
      env={
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
      },
      timeout=120,
    )
    assert result.returncode == code, result.stderr
    assert result.stderr.count("\n") == (code != 0), result.stderr
    return (result.stdout or result.stderr).splitlines()

  return command


def test_the_example_of_the_docs_runs(lab, tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  (tmp_path / "runs").mkdir()
  shutil.copytree(lab / "run", tmp_path / "runs" / "glyphs")
  (tmp_path / "data").symlink_to(lab / "data")
  for name, number in (("a", 0), ("b", 5), ("c", 6)):
    path = lab / "images" / f"p{number // 5}" / f"{number:02}.png"
    shutil.copy(path, tmp_path / f"{name}.png")
  docs = (ROOT / "docs" / "using.md").read_text()
  (code,) = re.findall(r"```python\n(.*?)```", docs, re.S)
  names = {}
  exec(code, names)
  assert names["gallery"].people() == {"Ann": 1}
  assert names["embeddings"].shape == (2, 6)


@pytest.mark.slow
def test_same_or_different_without_the_data_once_it_was_there(use, tmp_path):
  pair = "images/p0/00.png images/p4/20.png"
  first = use(f"verify --workdir=run --far=0.1 {pair}")
  assert first[0].startswith("distance ")
  assert first[0].endswith("(squared_euclidean)")
  assert first[1].startswith("threshold ")
  assert "false-accept rate 0.1 (70 of 700 different pairs)" in first[1]
  assert first[1].endswith(", on noise test")
  assert first[2] in ("same", "different")
  shutil.rmtree(tmp_path / "data")
  # Flags may follow the images.
  assert use(f"verify {pair} --workdir=run --far=0.1") == first


@pytest.mark.slow
def test_a_walk_through_all_of_them(use, tmp_path):
  (line,) = use("embed --workdir=run --images=images --output=x.npz")
  assert line == (
    "x.npz: 40 embeddings of 6 dimensions, 8 labels; run, step 20, "
    "squared_euclidean"
  )
  with np.load(tmp_path / "x.npz", allow_pickle=False) as arrays:
    assert arrays["paths"][0] == "images/p0/00.png"
  (line,) = use("unpack --workdir=run --output=parts --gallery_images=2")
  assert line == "parts: 40 images of 8 identities of noise test"
  on_run = "--workdir=run --gallery=g.npz"
  (line,) = use(f"enroll {on_run} --images=parts/gallery")
  assert line == "g.npz: 8 people, 16 images; 16 new"
  hostile = tmp_path / "b\x1b[31m.png"
  hostile.write_bytes((tmp_path / "images/p0/00.png").read_bytes())
  (line,) = use(f"enroll {on_run} --name=A\x1b[31m b\x1b[31m.png")
  assert line == "g.npz: 9 people, 17 images; 1 new"
  gallery = load_gallery(tmp_path / "g.npz")
  assert gallery.people()["A\x1b[31m"] == 1
  lines = use(f"identify {on_run} --k=2 --threshold=1e-9 b\x1b[31m.png")
  assert lines[0].startswith(r"b\x1b[31m.png: ")
  assert r"A\x1b[31m 0" in lines[0]
  assert lines[1] == "1 of 1 known; threshold 1e-09: by --threshold"
  (line,) = use("enroll --gallery=g.npz --remove=A\x1b[31m --remove=p7")
  assert line == "g.npz: 7 people, 14 images; 2 removed"
  lines = use(f"identify {on_run} --far=0.1 --images=parts/query")
  assert len(lines) == 24 + 1
  assert lines[0].startswith("parts/query/p0/0000.png: ")
  assert all("unknown" in line for line in lines if ": unknown (" in line)
  assert " by the name of their folder; threshold " in lines[-1]
  lines = use(
    "cluster --workdir=run --images=images --output=c --clusters=4 "
    "--write=links"
  )
  assert lines[0].startswith("4 clusters of 40 images, ")
  assert lines[1].startswith("beside the folders of the images: bcubed_prec")
  assert lines[2:] == ["c/clusters.csv", "c/clusters.png"]
  with (tmp_path / "c" / "clusters.csv").open(newline="") as file:
    assert len(list(csv.DictReader(file))) == 40
  assert all(path.exists() for path in (tmp_path / "c").rglob("*"))  # links
  lines = use("triplet --workdir=run images/p0/00.png images/p0/01.png "
              "images/p5/25.png")  # fmt: skip
  assert lines[0].startswith("anchor to positive ")
  assert lines[2].startswith("gap ")
  assert ", margin 0.2: " in lines[2]
  bad = tmp_path / "images" / "p0" / "bad.png"
  bad.write_bytes(b"x")
  embed = "embed --workdir=run --images=images --output=y.parquet"
  (line,) = use(embed, code=2)
  assert line.startswith("error: images/p0/bad.png can't be read: ")
  assert not (tmp_path / "y.parquet").exists()
  lines = use(f"{embed} --skip_unreadable")
  assert lines[0] == "left out: 1, such as images/p0/bad.png"
  assert lines[1].startswith("y.parquet: 40 embeddings of 6 dimensions")
