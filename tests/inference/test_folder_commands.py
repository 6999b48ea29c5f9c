"""Folders: embedded, grouped, and written of a prepared set."""

import csv
import json
import os
import zipfile
from pathlib import Path

import numpy as np
import prepared_sets
import pytest
from PIL import Image
from pyarrow import parquet
from tiny_sets import EACH, IDENTITIES, noise_config, pixels

from tripletjax import UserError, pairwise_distance
from tripletjax.data.listing import list_loose
from tripletjax.inference.clusters import (
  CSV,
  Clusters,
  cluster_images,
  write_clusters,
)
from tripletjax.inference.folders import (
  Embedded,
  check_output,
  embed_folder,
  write_embeddings,
)
from tripletjax.inference.unpacking import folder_names, unpack_split
from tripletjax.report.contact_sheet import (
  COLUMNS,
  ROWS,
  Group,
  draw_clusters,
  draw_contact_sheet,
)

COUNT = IDENTITIES * EACH


def test_a_folder_is_embedded_with_paths_and_labels(lab, embedder, embedded):
  root = lab / "images"
  assert embedded.paths == sorted(map(str, root.rglob("*.png")))
  assert embedded.labels == [Path(path).parent.name for path in embedded.paths]
  np.testing.assert_array_equal(
    embedded.embeddings, embedder.embed([pixels(n) for n in range(COUNT)])
  )


def test_where_images_lie(embedder, tmp_path):
  good = prepared_sets.encode(pixels(0))
  for name in ("1.png", "a/2.PNG", "a/b/3.png", "x.txt", ".hidden/4.png"):
    path = tmp_path / "in" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(good)
  said = []
  found = embed_folder(embedder, str(tmp_path / "in"), say=said.append)
  names = [str(Path(path).relative_to(tmp_path / "in")) for path in found.paths]
  assert list(zip(names, found.labels, strict=True)) == [
    ("1.png", ""), ("a/2.PNG", "a"), ("a/b/3.png", "a/b"),
  ]  # fmt: skip
  assert said == ["passed over: 1 .txt"]
  with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
    archive.writestr("outer/Ann/1.png", good)
  (entry,) = list_loose(str(tmp_path / "a.zip")).entries
  assert (entry.label, str(entry.file)) == (
    "Ann", f"{tmp_path}/a.zip/outer/Ann/1.png",
  )  # fmt: skip


def test_what_is_no_folder_of_images(embedder, tmp_path):
  (tmp_path / "empty").mkdir()
  with pytest.raises(UserError, match=r"--images: no image in .*empty"):
    embed_folder(embedder, str(tmp_path / "empty"))
  with pytest.raises(UserError, match="--images: there is no folder or zip"):
    embed_folder(embedder, str(tmp_path / "no"))
  (tmp_path / "bad").mkdir()
  (tmp_path / "bad" / "x\x1b.png").write_bytes(b"x")
  with pytest.raises(UserError, match=r"bad/x\\x1b.png can't be read"):
    embed_folder(embedder, str(tmp_path / "bad"))
  with pytest.raises(UserError, match=r"^no image can be read: .*x\\x1b.png"):
    embed_folder(embedder, str(tmp_path / "bad"), skip_unreadable=True)
  (tmp_path / os.fsdecode(b"bad/\xff.png")).write_bytes(b"x")
  with pytest.raises(UserError, match="--images: expected file names in UTF-8"):
    embed_folder(embedder, str(tmp_path / "bad"))


def some(labels=("a", "", "b")):
  return Embedded(
    embeddings=np.arange(9, dtype=np.float32).reshape(3, 3),
    images=[],
    paths=["x/a/1.png", "x/2\n.png", "x/李/$3$.png"],
    labels=list(labels),
  )


def test_npz_and_parquet_hold_the_same(embedder, tmp_path):
  embedded = some()
  for ending in ("npz", "parquet"):
    write_embeddings(tmp_path / f"x.{ending}", embedded, embedder)
  with np.load(tmp_path / "x.npz", allow_pickle=False) as arrays:
    assert set(arrays) == {
      "embeddings", "paths", "labels", "distance", "fingerprint",
    }  # fmt: skip
    np.testing.assert_array_equal(arrays["embeddings"], embedded.embeddings)
    assert arrays["embeddings"].dtype == np.float32
    assert arrays["paths"].tolist() == embedded.paths
    assert arrays["labels"].tolist() == ["a", "", "b"]
    assert str(arrays["distance"]) == embedder.distance
    assert str(arrays["fingerprint"]) == embedder.fingerprint
  table = parquet.read_table(tmp_path / "x.parquet")
  assert table["path"].to_pylist() == embedded.paths
  assert table["label"].to_pylist() == ["a", None, "b"]
  assert table["embedding"].to_pylist() == embedded.embeddings.tolist()
  assert table.schema.metadata[b"fingerprint"].decode() == embedder.fingerprint
  write_embeddings(tmp_path / "y.npz", some(["", "", ""]), embedder)
  with np.load(tmp_path / "y.npz", allow_pickle=False) as arrays:
    assert "labels" not in arrays
  assert sorted(os.listdir(tmp_path)) == ["x.npz", "x.parquet", "y.npz"]


def test_an_output_that_cannot_be_written(embedder, tmp_path, monkeypatch):
  (tmp_path / "d.npz").mkdir()
  for name, said in (
    ("x.csv", "expected a file that ends in .npz or .parquet, got .*x.csv"),
    ("no/x.npz", "there is no folder .*no"),
    ("d.npz", "d.npz is a folder"),
  ):
    with pytest.raises(UserError, match=f"^--output: .*{said}"):
      check_output(tmp_path / name)
  (tmp_path / "x.npz").write_bytes(b"before")

  def full(file, **arrays):
    file.write(b"half")
    raise OSError(28, "No space left on device")

  monkeypatch.setattr(np, "savez", full)
  with pytest.raises(UserError, match=r"--output: can't write .*No space left"):
    write_embeddings(tmp_path / "x.npz", some(), embedder)
  assert (tmp_path / "x.npz").read_bytes() == b"before"
  assert sorted(os.listdir(tmp_path)) == ["d.npz", "x.npz"]


def single_linkage(embeddings, threshold):
  """Components of the graph of pairs at most so far apart."""
  matrix = np.asarray(pairwise_distance(embeddings))
  of = list(range(len(matrix)))
  for i, j in zip(*np.nonzero(matrix <= threshold), strict=True):
    old, new = of[j], of[i]
    of = [new if one == old else one for one in of]
  return of


def test_clusters_are_those_of_the_distance(embedder, embedded):
  matrix = np.asarray(pairwise_distance(embedded.embeddings))
  threshold = float(np.quantile(matrix, 0.05))
  found = cluster_images(
    embedder, embedded, threshold=threshold, linkage="single"
  )
  expected = single_linkage(embedded.embeddings, threshold)
  same = np.equal.outer(found.cluster, found.cluster)
  np.testing.assert_array_equal(same, np.equal.outer(expected, expected))
  # The largest first, those of one size by their first image.
  sizes = np.bincount(found.cluster)
  assert found.sizes.tolist() == sizes.tolist() == sorted(sizes)[::-1]
  first = [int(np.argmax(found.cluster == n)) for n in range(len(sizes))]
  assert sorted(range(len(sizes)), key=lambda n: (-sizes[n], first[n])) == list(
    range(len(sizes))
  )
  assert 1 < len(sizes) < COUNT
  assert 0 < found.agreement["bcubed_precision"] <= 1


def test_so_many_clusters_as_are_asked_for(embedder, embedded):
  for method in ("kmeans", "agglomerative"):
    found = cluster_images(embedder, embedded, method=method, clusters=5)
    assert len(found.sizes) == 5
    assert found.cluster.shape == (COUNT,)
  unknown = embedded._replace(labels=["", *embedded.labels[1:]])
  assert not cluster_images(embedder, unknown, clusters=2).agreement
  one = Embedded(embedded.embeddings[:1], [], ["x"], [""])
  assert cluster_images(embedder, one, threshold=1.0).cluster.tolist() == [0]


@pytest.mark.parametrize(
  ("asked", "said"),
  [
    ({"method": "dbscan"}, "--method: expected one of kmeans, agglomerative"),
    ({"linkage": "ward", "clusters": 2}, "--linkage: expected one of average"),
    ({"method": "kmeans"}, "--clusters: expected their number for kmeans"),
    ({}, "--clusters and --threshold: expected one of them"),
    ({"clusters": 2, "threshold": 0.1}, "--clusters and --threshold: expected"),
    ({"clusters": 0}, "--clusters: expected 1 to 40, the number of images"),
    ({"clusters": 41}, "--clusters: expected 1 to 40"),
    ({"threshold": -1.0}, "--threshold: expected a distance from 0, got -1"),
    ({"threshold": float("nan")}, "--threshold: expected a distance from 0"),
  ],
)
def test_what_cannot_be_clustered(embedder, embedded, asked, said):
  with pytest.raises(UserError, match=f"^{said}"):
    cluster_images(embedder, embedded, **asked)


def test_too_many_pairs_for_the_memory(embedder, embedded, monkeypatch):
  from tripletjax.inference import clusters

  class Memory:
    available = 24 * COUNT**2 // 2 - 1

  monkeypatch.setattr(clusters.psutil, "virtual_memory", Memory)
  with pytest.raises(UserError, match="all pairs of 40 images, more than"):
    cluster_images(embedder, embedded, threshold=0.1)
  cluster_images(embedder, embedded, method="kmeans", clusters=2)


def clusters_of(*numbers):
  cluster = np.array(numbers)
  return Clusters(cluster, np.bincount(cluster), {})


def test_a_table_and_links(lab, embedded, tmp_path):
  other = tmp_path / "in" / "z" / "00.png"
  other.parent.mkdir(parents=True)
  other.write_bytes(b"")
  entries = [*embedded.images[:3], *list_loose(str(tmp_path / "in")).entries]
  paths = [*embedded.paths[:3], str(other)]
  few = Embedded(
    np.zeros((4, 6), np.float32), entries, paths, ["a", "", "b", ""]
  )
  drawn = []
  output = write_clusters(
    tmp_path / "out",
    few,
    clusters_of(0, 1, 1, 0),
    write="links",
    draw=lambda folder: drawn.append((folder / "x.png").write_bytes(b"x")),
  )
  assert drawn == [1]
  with (output / CSV).open(newline="") as file:
    assert list(csv.reader(file)) == [
      ["path", "cluster", "label"],
      [paths[0], "0", "a"],
      [paths[3], "0", ""],
      [paths[1], "1", ""],
      [paths[2], "1", "b"],
    ]
  links = {
    str(path.relative_to(output)): os.readlink(path)
    for path in output.rglob("*")
    if path.is_symlink()
  }
  assert links == {
    "0000/00.png": paths[0],
    "0000/00-2.png": str(other),  # of the same name
    "0001/01.png": paths[1],
    "0001/02.png": paths[2],
  }
  assert sorted(os.listdir(tmp_path)) == ["in", "out"]


def test_a_folder_of_clusters_is_whole_or_not_there(embedded, tmp_path):
  found = clusters_of(*[0] * COUNT)
  (tmp_path / "full").mkdir()
  (tmp_path / "full" / "x").touch()
  (tmp_path / "file").touch()
  for name, said in (
    ("full", "isn't empty; choose a new folder"),
    ("file", "is no folder; choose another name"),
    ("no/x", "there is no folder"),
  ):
    with pytest.raises(UserError, match=f"--output: .*{said}"):
      write_clusters(tmp_path / name, embedded, found)
  with pytest.raises(UserError, match="--write: expected one of csv, links"):
    write_clusters(tmp_path / "x", embedded, found, write="copies")

  def fail(folder):
    raise OSError(28, "No space left on device")

  with pytest.raises(UserError, match=r"--output: can't write .*No space left"):
    write_clusters(tmp_path / "x", embedded, found, draw=fail)
  with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
    archive.writestr("Ann/1.png", b"")
  zipped = embedded._replace(images=list_loose(str(tmp_path / "a.zip")).entries)
  with pytest.raises(UserError, match="expected csv for the images of a zip"):
    write_clusters(tmp_path / "x", zipped, found, write="links")
  assert sorted(os.listdir(tmp_path)) == ["a.zip", "file", "full"]


def test_the_sheet_shows_the_largest_and_marks_the_odd(tmp_path):
  sizes = [30, 3, *[1] * 40]
  cluster = np.repeat(np.arange(len(sizes)), sizes)
  labels = ["a"] * 29 + ["b"] + ["c", "d\x1b", "d\x1b"] + [""] * 40
  asked = []

  def read(index):
    asked.append(index)
    return np.full((5, 5, 1), 200, np.uint8)

  path = draw_clusters(
    tmp_path / "x.png", cluster, labels, read, title="$t$", subtitle="s" * 500
  )
  assert len(asked) == COLUMNS + 3 + ROWS - 2
  assert asked[0] == 0
  assert asked[COLUMNS - 1] == 29  # spread over the whole cluster
  with Image.open(path) as image:
    pixels = np.asarray(image.convert("RGB")).astype(int)
  red = (pixels[..., 0] > 180) & (pixels[..., 1:] < 80).all(axis=-1)
  columns = np.flatnonzero(red.any(axis=0))
  assert red.any()
  # Of the first row only the last is odd, of the second the first.
  first_row = red[48 : 48 + 64]
  assert np.flatnonzero(first_row.any(axis=0)).min() > columns.max() - 70


def test_a_sheet_of_hostile_names(tmp_path):
  for name in ("$\\frac{", "a\nb", "\x1b[31m", "\u202eabc", "", "x" * 300):
    group = Group(name, 1, [np.zeros((3, 4, 3), np.uint8)], [name], [True])
    draw_contact_sheet([group], title=name, subtitle=name)


def test_a_split_as_a_folder(lab, embedder, tmp_path):
  config = noise_config(invert=True)
  said = unpack_split(config, tmp_path / "out", data_dir=lab / "data")
  assert said == f"{COUNT} images of {IDENTITIES} identities of noise test"
  paths = sorted((tmp_path / "out").rglob("*.png"))
  assert [str(path.relative_to(tmp_path / "out")) for path in paths[:6]] == [
    *(f"p0/{number:04}.png" for number in range(EACH)),
    "p1/0000.png",
  ]
  for number, path in enumerate(paths):  # not inverted
    with Image.open(path) as image:
      np.testing.assert_array_equal(np.asarray(image), pixels(number))
  assert config.data.invert


def test_a_split_as_gallery_and_queries(lab, tmp_path):
  unpack_split(
    noise_config(),
    tmp_path / "out",
    data_dir=lab / "data",
    split="train",
    gallery_images=2,
  )
  for part, each in (("gallery", 2), ("query", EACH - 2)):
    found = list_loose(str(tmp_path / "out" / part)).entries
    labels = [entry.label for entry in found]
    assert labels == [f"p{n}" for n in range(IDENTITIES) for _ in range(each)]
  with pytest.raises(UserError, match="--gallery_images: no identity has more"):
    unpack_split(
      noise_config(), tmp_path / "x", data_dir=lab / "data", gallery_images=9
    )
  with pytest.raises(UserError, match="isn't empty"):
    unpack_split(noise_config(), tmp_path / "out", data_dir=lab / "data")
  with pytest.raises(UserError, match="--split: no split 'no'"):
    unpack_split(
      noise_config(), tmp_path / "x", data_dir=lab / "data", split="no"
    )
  assert os.listdir(tmp_path) == ["out"]


def test_folders_of_hostile_names_stay_below(tmp_path):
  names = [
    "../../x",
    "/etc/x",
    "a\x00b",
    "..",
    ".",
    "",
    "a\\b",
    "A",
    "a",
    "x" * 999,
  ]
  found = folder_names(names)
  assert len({name.lower() for name in found}) == len(names)
  for name in found:
    (tmp_path / name).mkdir(parents=True, exist_ok=True)
    assert (tmp_path / name).resolve().is_relative_to(tmp_path.resolve())
  json.dumps(found)
