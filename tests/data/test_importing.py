"""Images of one's own become a set: whole, resumable, never half-finished."""

import errno
import io
import json
import os
import signal
import subprocess
import sys
import threading
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds
from array_record.python.array_record_module import ArrayRecordWriter
from PIL import Image

from tripletjax.data import shards
from tripletjax.data.importing import fingerprint, import_images, valid_name
from tripletjax.data.listing import list_images
from tripletjax.data.preparation import prepare
from tripletjax.data.table import list_csv
from tripletjax.errors import UserError


def encode(pixels, kind="png"):
  buffer = io.BytesIO()
  Image.fromarray(np.asarray(pixels, np.uint8)).save(buffer, kind)
  return buffer.getvalue()


def write(path, value, *, shape=(4, 4), kind="png"):
  path.parent.mkdir(parents=True, exist_ok=True)
  path.write_bytes(encode(np.full(shape, value), kind))


@pytest.fixture
def images(tmp_path):
  """Twelve images, of three identities in two groups."""
  for number in range(12):
    label = ("A/one", "A/two", "B/one")[number // 4]
    write(tmp_path / "images" / label / f"{number:02d}.png", 10 * number)
  return tmp_path / "images"


@pytest.fixture
def small_parts(monkeypatch):
  monkeypatch.setattr(shards, "IMAGES", 5)


class Told:
  """Collects lines, and is a progress bar that can interrupt."""

  def __init__(self, stop=None):
    self.lines, self.stop = [], stop
    self.total = self.done = self.closed = 0

  def say(self, line):
    self.lines.append(line)

  def open_bar(self, total, start):
    self.total, self.done = total, start
    return self

  def update(self, count):
    self.done += count
    if self.done == self.stop:
      raise KeyboardInterrupt

  def close(self):
    self.closed += 1


def run(listing, data_dir, told=None, name="mine", **options):
  told = told or Told()
  if not hasattr(listing, "entries"):
    listing = list_images([str(listing)])
  return import_images(
    listing,
    name=name,
    data_dir=data_dir,
    say=told.say,
    open_bar=told.open_bar,
    **options,
  )


def records(folder, split="train"):
  """The records of a split, as TFDS reads them, images still encoded."""
  source = tfds.builder_from_directory(folder).as_data_source(
    split=split, decoders={"image": tfds.decode.SkipDecoding()}
  )
  return [source[index] for index in range(len(source))]


def findings(folder):
  return json.loads((folder / "findings.json").read_text())


def contents(folder):
  return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_tfds_opens_it_and_every_byte_is_there(images, tmp_path, small_parts):
  told = Told()
  folder = run(images, tmp_path / "data", told)
  assert folder == tmp_path / "data" / "mine" / "1.0.0"
  builder = tfds.builder_from_directory(folder)
  assert builder.info.name == "mine"
  assert builder.info.features["image"].shape == (None, None, 1)
  assert builder.info.splits["train"].shard_lengths == [5, 5, 2]
  files = sorted(images.rglob("*.png"))
  read = records(folder)
  assert len(read) == 12
  for path, record in zip(files, read, strict=True):
    name = path.relative_to(images).as_posix()
    assert record["image"] == path.read_bytes()
    assert record["path"].decode() == name
    assert record["label"].decode() == name.rpartition("/")[0]
    assert record["group"].decode() == name[0]
  assert (told.total, told.done, told.closed) == (12, 12, 1)
  assert told.lines == []
  # Nothing but the set and its lock is left.
  left = {path.name for path in (tmp_path / "data").iterdir()}
  assert left == {"mine", ".mine.lock"}


def test_splits_are_files_of_their_own_and_sizes_bound_parts(
  images, tmp_path, monkeypatch
):
  # Of at most 3 files' bytes each.
  size = (images / "A/one/00.png").stat().st_size
  monkeypatch.setattr(shards, "BYTES", 3 * size + size // 2)
  listing = list_images([f"one={images}", f"two={images / 'A'}"])
  folder = run(listing, tmp_path / "data")
  splits = tfds.builder_from_directory(folder).info.splits
  assert splits["one"].shard_lengths == [3, 3, 3, 3]
  assert splits["two"].shard_lengths == [3, 3, 2]
  assert [r["path"] for r in records(folder, "two")][::7] == [
    b"one/00.png",
    b"two/07.png",
  ]


def test_many_images_make_longer_parts_not_more(images, monkeypatch):
  monkeypatch.setattr(shards, "IMAGES", 1)
  monkeypatch.setattr(shards, "PARTS", 4)
  entries = list_images([str(images)]).entries
  assert [(p.start, p.stop) for p in shards.parts(entries)] == [
    (0, 3),
    (3, 6),
    (6, 9),
    (9, 12),
  ]


def test_colour_bitmaps_and_resizing(tmp_path):
  colour = np.zeros((6, 8, 3), np.uint8)
  colour[..., 1] = 200
  (tmp_path / "in" / "a").mkdir(parents=True)
  (tmp_path / "in" / "a" / "1.bmp").write_bytes(encode(colour, "bmp"))
  write(tmp_path / "in" / "b" / "1.png", 70)
  plain = run(tmp_path / "in", tmp_path / "data")
  shape = tfds.builder_from_directory(plain).info.features["image"].shape
  assert shape == (None, None, 3)
  bitmap, grey = records(plain)
  with Image.open(io.BytesIO(bitmap["image"])) as file:
    assert file.format == "PNG"
    np.testing.assert_array_equal(np.asarray(file), colour)
  assert grey["image"] == (tmp_path / "in/b/1.png").read_bytes()
  found = findings(plain)
  assert found["formats"] == {"BMP": 1, "PNG": 1}
  assert found["channels"] == {"3": 1, "1": 1}
  assert found["sizes"] == {"smallest": [4, 4], "largest": [6, 8]}
  small = run(tmp_path / "in", tmp_path / "data", name="small", size=(3, 5))
  for record, value in zip(records(small), ([0, 200, 0], 70), strict=True):
    with Image.open(io.BytesIO(record["image"])) as file:
      assert file.size == (5, 3)
      assert (np.asarray(file) == value).all()
  sizes = findings(small)["sizes"]
  assert sizes == {"smallest": [3, 5], "largest": [3, 5]}


@pytest.mark.parametrize("stop", [1, 7, 12])
def test_an_interrupted_preparation_goes_on(
  images, tmp_path, small_parts, stop
):
  whole = run(images, tmp_path / "whole")
  with pytest.raises(KeyboardInterrupt):
    run(images, tmp_path / "data", Told(stop=stop))
  assert not (tmp_path / "data" / "mine").exists()
  read = []
  told = Told()
  listing = list_images([str(images)])
  listing.entries[:] = [
    entry._replace(origin=_Watched(entry.origin, read))
    for entry in listing.entries
  ]
  folder = run(listing, tmp_path / "data", told)
  done = (stop - 1) // 5 * 5  # whole parts before
  assert read == [entry.member for entry in listing.entries[done:]]
  assert told.done == 12
  assert told.lines == (
    [
      f"going on: {done} of 12 images were done before the interruption",
    ]
    if done
    else []
  )
  assert contents(folder) == contents(whole)


class _Watched:
  def __init__(self, origin, read):
    self.origin, self.read_names = origin, read
    self.lock = threading.Lock()

  def read(self, member, limit):
    with self.lock:
      self.read_names.append(member)
      self.read_names.sort()
    return self.origin.read(member, limit)


KILLED = """
import os, signal, sys
from tripletjax.data import importing, shards
from tripletjax.data.listing import list_images
shards.IMAGES = 5
class Bar:
  done = 0
  def update(self, count):
    self.done += count
    if str(self.done) == sys.argv[3]: os.kill(os.getpid(), signal.SIGKILL)
  def close(self):
    pass
def draw(path):
  if sys.argv[3] == "draw": os.kill(os.getpid(), signal.SIGKILL)
importing.import_images(
  list_images([sys.argv[1]]), name="mine", data_dir=sys.argv[2],
  open_bar=lambda total, start: Bar(), draw=draw)
"""


@pytest.mark.parametrize("moment", ["8", "draw"])
def test_a_killed_preparation_leaves_nothing_that_looks_finished(
  images, tmp_path, small_parts, moment
):
  killed = subprocess.run(
    [sys.executable, "-c", KILLED, images, tmp_path / "data", moment],
    capture_output=True,
  )
  assert killed.returncode == -signal.SIGKILL, killed.stderr
  assert not (tmp_path / "data" / "mine").exists()
  assert not list((tmp_path / "data").glob("[!.]*"))
  with pytest.raises(UserError) as error:  # ... nor does the reading side
    prepare("mine", data_dir=tmp_path / "data")
  assert "where digits, glyphs, strokes can be used; prepare it by" in str(
    error.value
  )
  told = Told()
  folder = run(images, tmp_path / "data", told)
  done = 5 if moment == "8" else 12
  assert told.lines == [
    f"going on: {done} of 12 images were done before the interruption"
  ]
  assert contents(folder) == contents(run(images, tmp_path / "whole"))


def test_leftovers_of_other_images_are_not_used(images, tmp_path, small_parts):
  with pytest.raises(KeyboardInterrupt):
    run(images, tmp_path / "data", Told(stop=12))
  write(images / "A" / "one" / "00.png", 99, shape=(5, 5))
  told = Told()
  folder = run(images, tmp_path / "data", told)
  assert told.lines == [
    "the images or options are others than those of the interrupted "
    "preparation: starting anew"
  ]
  assert records(folder)[0]["image"] == encode(np.full((5, 5), 99))


def test_a_torn_part_is_written_again(images, tmp_path, small_parts):
  with pytest.raises(KeyboardInterrupt):
    run(images, tmp_path / "data", Told(stop=12))
  shard = tmp_path / "data" / ".preparing-mine" / "train-00001.array_record"
  shard.write_bytes(shard.read_bytes()[:-1])
  told = Told()
  run(images, tmp_path / "data", told)
  assert told.lines[0].startswith("going on: 5 of 12")


def test_the_same_again_says_so_and_changes_nothing(images, tmp_path):
  first = run(images, tmp_path / "data")
  before = contents(first)
  told = Told()
  assert run(images, tmp_path / "data", told) == first
  assert told.total == 0
  assert told.lines == [
    f"{first} is already prepared of the same images and options"
  ]
  assert contents(first) == before


def test_nothing_is_overwritten(images, tmp_path):
  first = run(images, tmp_path / "data")
  before = contents(first)
  for change in ({"size": (2, 2)}, {}):
    if not change:
      write(images / "A" / "one" / "new.png", 1)
    with pytest.raises(UserError) as error:
      run(images, tmp_path / "data", **change)
    assert str(error.value) == (
      f"--name: {first.parent} holds a set of other images or options; choose "
      "another --name, or remove that folder"
    )
  assert contents(first) == before
  (tmp_path / "data" / "theirs" / "0.0.1").mkdir(parents=True)
  with pytest.raises(UserError, match="theirs holds a set of other images"):
    run(images, tmp_path / "data", name="theirs")


def test_a_kill_in_the_last_removal_leaves_no_litter(images, tmp_path):
  run(images, tmp_path / "data")
  left = tmp_path / "data" / ".preparing-mine"
  left.mkdir()
  (left / "train-00000.array_record").write_bytes(b"x")
  run(images, tmp_path / "data")
  assert not left.exists()


def test_the_fingerprint_sees_files_and_options_not_places(images, tmp_path):
  def of(folder, size=None):
    return fingerprint(list_images([str(folder)]).entries, size)

  first = of(images)
  moved = images.rename(tmp_path / "elsewhere")
  assert of(moved) == first
  assert of(moved, (3, 3)) != first
  path = moved / "A" / "one" / "00.png"
  os.utime(path, ns=(0, path.stat().st_mtime_ns + 1))
  assert of(moved) != first


def test_two_at_once_do_the_work_once(images, tmp_path, small_parts):
  began, go_on = threading.Event(), threading.Event()

  class Slow(Told):
    def update(self, count):
      super().update(count)
      began.set()
      assert go_on.wait(20)

  one, other = Slow(), Told()
  threads = [
    threading.Thread(target=run, args=(images, tmp_path / "data", told))
    for told in (one, other)
  ]
  threads[0].start()
  assert began.wait(20)
  threads[1].start()
  deadline = time.monotonic() + 20
  while not other.lines and time.monotonic() < deadline:
    time.sleep(0.01)
  go_on.set()
  for thread in threads:
    thread.join(20)
  assert (one.total, other.total) == (12, 0)
  assert other.lines[0] == "waiting for another preparation of mine"
  assert "already prepared" in other.lines[1]


def damage(images):
  """Damages the sixth image and the last one."""
  files = sorted(images.rglob("*.png"))
  files[5].write_bytes(files[5].read_bytes()[:40])
  files[11].write_bytes(b"no image")
  return files


def test_the_first_unreadable_image_ends_it_and_skipping_goes_on(
  images, tmp_path, small_parts
):
  files = damage(images)
  with pytest.raises(UserError) as error:
    run(images, tmp_path / "data")
  assert str(error.value).startswith(f"can't read the image {files[5]}: ")
  assert str(error.value).endswith("all such images by --skip_unreadable")
  assert not (tmp_path / "data" / "mine").exists()
  told = Told()
  folder = run(images, tmp_path / "data", told, skip_unreadable=True)
  assert told.lines == [
    "going on: 5 of 12 images were done before the interruption"
  ]
  kept = [path for path in files if path not in (files[5], files[11])]
  assert [r["image"] for r in records(folder)] == [
    path.read_bytes() for path in kept
  ]
  lengths = tfds.builder_from_directory(folder).info.splits["train"]
  assert lengths.shard_lengths == [5, 4, 1]
  found = findings(folder)
  assert (found["images"], found["unreadable"]["count"]) == (10, 2)
  assert [path for path, _ in found["unreadable"]["examples"]] == [
    "A/two/05.png",
    "B/one/11.png",
  ]
  assert "cannot identify image" in found["unreadable"]["examples"][1][1]
  assert "0x" not in found["unreadable"]["examples"][1][1]


def test_skipped_ones_come_up_again_without_the_flag(
  images, tmp_path, small_parts
):
  damage(images)
  with pytest.raises(KeyboardInterrupt):
    run(images, tmp_path / "data", Told(stop=11), skip_unreadable=True)
  with pytest.raises(UserError, match=r"can't read the image .*A/two/05.png"):
    run(images, tmp_path / "data")


def test_a_part_without_readable_images_has_no_shard(
  images, tmp_path, small_parts
):
  for path in sorted(images.rglob("*.png"))[5:10]:
    path.write_bytes(b"")
  folder = run(images, tmp_path / "data", skip_unreadable=True)
  splits = tfds.builder_from_directory(folder).info.splits
  assert splits["train"].shard_lengths == [5, 2]
  assert len(records(folder)) == 7


def test_too_little_that_can_be_read(images, tmp_path):
  for path in images.glob("[AB]/*/*"):
    if path.parent != images / "B" / "one":
      path.write_bytes(b"")
  with pytest.raises(UserError, match="expected two identities or more, got"):
    run(images, tmp_path / "data", skip_unreadable=True)
  listing = list_images([f"one={images}", f"two={images / 'A'}"])
  with pytest.raises(UserError, match="no image of the split two can be read"):
    run(listing, tmp_path / "data", skip_unreadable=True)


def test_whatever_a_decoder_raises_names_the_file(
  images, tmp_path, monkeypatch
):
  def fails(encoded, size):
    raise IndexError("tile out of range")

  monkeypatch.setattr(shards, "store_image", fails)
  with pytest.raises(UserError, match=r"A/one/00.png: tile out of range"):
    run(images, tmp_path / "data")


def test_no_space_left(images, tmp_path, small_parts, monkeypatch):
  """The library's own failure: the second part goes to a full device."""
  whole = run(images, tmp_path / "whole")

  def writer(path, options):
    full = path.endswith("00001.array_record.tmp")
    return ArrayRecordWriter("/dev/full" if full else path, options)

  monkeypatch.setattr(shards, "ArrayRecordWriter", writer)
  with pytest.raises(UserError) as error:
    run(images, tmp_path / "data")
  assert str(error.value) == (
    f"--data_dir: can't prepare mine in {tmp_path / 'data'}: No space left on "
    "device; free some and run the same command: it goes on where it ended"
  )
  assert not (tmp_path / "data" / "mine").exists()
  monkeypatch.undo()
  monkeypatch.setattr(shards, "IMAGES", 5)
  told = Told()
  assert contents(run(images, tmp_path / "data", told)) == contents(whole)
  assert told.lines[0].startswith("going on: 5 of 12")


def test_folders_that_cannot_be_written(images, tmp_path, monkeypatch):
  (tmp_path / "file").write_text("")
  with pytest.raises(UserError, match=r"--data_dir: can't prepare mine in"):
    run(images, tmp_path / "file" / "data")

  def refuse(*arguments, **options):
    raise PermissionError(errno.EACCES, "Permission denied")

  monkeypatch.setattr(Path, "rename", refuse)
  with pytest.raises(UserError) as error:
    run(images, tmp_path / "data")
  assert str(error.value).endswith(
    "Permission denied; choose a folder that can be written"
  )


def test_file_systems_without_links(images, tmp_path, monkeypatch):
  whole = run(images, tmp_path / "whole")

  def refuse(self, target):
    raise OSError(errno.EPERM, "Operation not permitted")

  monkeypatch.setattr(Path, "hardlink_to", refuse)
  assert contents(run(images, tmp_path / "data")) == contents(whole)


def test_findings(tmp_path):
  """Counts by hand: seven images, of which four are one picture."""
  for name, value in {
    "a/1.png": 1,
    "a/2.pgm": 1,  # the same pixels in another format
    "a/3.png": 2,
    "b/1.png": 1,
    "b/2.png": 3,
    "c/1.png": 2,
    "d/1.png": 4,
  }.items():
    kind = "ppm" if name.endswith("pgm") else "png"
    write(tmp_path / name, value, kind=kind)
  (tmp_path / "a" / "about.txt").write_text("")
  (tmp_path / "list.csv").write_text(
    "path,label,split\n"
    "a/1.png,a,train\na/2.pgm,a,train\na/3.png,a,test\nb/1.png,b,train\n"
    "b/2.png,b,train\nc/1.png,c,train\nd/1.png,d,test\n"
  )
  folder = run(list_csv(tmp_path / "list.csv"), tmp_path / "data")
  found = findings(folder)
  assert (found["images"], found["identities"], found["groups"]) == (7, 4, 0)
  assert found["images_per_identity"] == {
    "smallest": 1,
    "median": 1.5,  # of 3, 2, 1, 1
    "largest": 3,
    "counts": {"1": 2, "2": 1, "3": 1},
  }
  assert found["lone"] == {"count": 2, "examples": ["c", "d"]}
  assert found["splits"] == {
    "test": {"images": 2, "identities": 2},
    "train": {"images": 5, "identities": 3},
  }
  assert found["shared_identities"] == 1
  assert found["duplicates"] == {
    "pictures": 2,
    "surplus": 3,
    "within_identity": {
      "count": 1,
      "examples": [["train: a/1.png", "train: a/2.pgm", "train: b/1.png"]],
    },
    "across_identities": {
      "count": 2,
      "examples": [
        ["test: a/3.png", "train: c/1.png"],
        ["train: a/1.png", "train: a/2.pgm", "train: b/1.png"],
      ],
    },
    "across_splits": {
      "count": 1,
      "examples": [["test: a/3.png", "train: c/1.png"]],
    },
  }
  assert found["passed_over"] == {}
  assert found["unreadable"] == {"count": 0, "examples": []}


def test_from_a_zip_with_wrapper_folder(images, tmp_path):
  path = tmp_path / "set.zip"
  with zipfile.ZipFile(path, "w") as file:
    for image in images.rglob("*.png"):
      file.write(image, Path("wrapped") / image.relative_to(images))
  zipped = run(path, tmp_path / "zipped")
  plain = run(images, tmp_path / "plain")
  assert records(zipped) == records(plain)


@pytest.mark.parametrize(
  ("name", "hint"),
  [
    ("My Faces", "such as my_faces"),
    ("1st", "such as set_1st"),
    ("a/b", "such as a_b"),
    ("digits", "choose one such as digits_images"),
    ("omniglot", "choose one such as omniglot_images"),
  ],
)
def test_names(images, tmp_path, name, hint):
  with pytest.raises(UserError, match=r"^--name: ") as error:
    run(images, tmp_path / "data", name=name)
  assert hint in str(error.value)
  assert not (tmp_path / "data").exists()


def test_a_name_is_made_of_a_files():
  assert valid_name("lfw-funneled.v1") == "lfw_funneled_v1"
  assert valid_name("写真") == "images"
  assert valid_name("LFW") == "lfw_images"
  assert valid_name("vgg_face2") == "vgg_face2"  # which TFDS hasn't
