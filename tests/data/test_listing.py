"""Folders, zips and CSVs: what is found, and what is refused."""

import io
import os
import stat
import struct
import zipfile

import pytest
from PIL import Image

from tripletjax.data import archive, entries
from tripletjax.data.listing import list_images
from tripletjax.data.table import list_csv
from tripletjax.errors import UserError


def image(value=0, kind="png"):
  buffer = io.BytesIO()
  Image.new("L", (2, 2), value).save(buffer, kind)
  return buffer.getvalue()


def folder_of(root, *names):
  for number, name in enumerate(names):
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(image(number))
  return root


def zip_of(path, *names, compression=zipfile.ZIP_DEFLATED):
  with zipfile.ZipFile(path, "w", compression) as file:
    for number, name in enumerate(names):
      file.writestr(name, image(number))
  return path


def found(listing):
  return [(e.split, e.label, e.group, e.path) for e in listing.entries]


OMNIGLOT = (
  "images/Greek/c02/b.png",
  "images/Greek/c01/z.png",
  "images/Latin/c01/a.PNG",
)


@pytest.mark.parametrize("kind", ["folder", "zip"])
def test_an_identity_is_the_folder_below_the_root(tmp_path, kind):
  surplus = (
    "__MACOSX/images/Greek/c02/._b.png",
    "images/.DS_Store",
    "images/Greek/.thumbs/b.png",
    "images/Greek/c01/notes.txt",
    "README",
  )
  if kind == "zip":
    place = zip_of(tmp_path / "set.zip", *OMNIGLOT, *surplus)
  else:
    place = folder_of(tmp_path / "set", *OMNIGLOT, *surplus)
  listing = list_images([str(place)])
  assert found(listing) == [
    ("train", "Greek/c01", "Greek", "Greek/c01/z.png"),
    ("train", "Greek/c02", "Greek", "Greek/c02/b.png"),
    ("train", "Latin/c01", "Latin", "Latin/c01/a.PNG"),
  ]
  assert listing.passed_over == {".txt": 1, "": 1}
  assert [e.read() for e in listing.entries] == [image(1), image(0), image(2)]
  assert [e.size for e in listing.entries] == [len(image(0))] * 3


def test_one_identity_is_not_taken_for_the_root(tmp_path):
  folder_of(tmp_path / "set", "Ann/1.png", "Ann/2.png")
  with pytest.raises(UserError) as error:
    list_images([str(tmp_path / "set")])
  assert str(error.value) == (
    "--images: expected two identities or more, got one: 'Ann', 2 images"
  )


def test_identities_without_groups_at_any_depth(tmp_path):
  folder_of(tmp_path, "s1/1.pgm", "s2/1.pgm", "a/b/c/1.pgm")
  labels = {e.label: e.group for e in list_images([str(tmp_path)]).entries}
  assert labels == {"s1": "", "s2": "", "a/b/c": "a/b"}


def test_splits_come_in_the_order_given(tmp_path):
  folder_of(tmp_path / "one", "b/1.png", "a/1.png")
  zip_of(tmp_path / "two=x.zip", "c/1.png", "a/2.png")
  values = [f"small2={tmp_path / 'two=x.zip'}", f"small1={tmp_path / 'one'}"]
  assert found(list_images(values)) == [
    ("small2", "a", "", "a/2.png"),
    ("small2", "c", "", "c/1.png"),
    ("small1", "a", "", "a/1.png"),
    ("small1", "b", "", "b/1.png"),
  ]


def test_a_path_with_an_equals_sign(tmp_path, monkeypatch):
  folder_of(tmp_path / "a=b", "x/1.png", "y/1.png")
  monkeypatch.chdir(tmp_path)
  assert {e.split for e in list_images(["a=b"]).entries} == {"train"}


def test_links_to_folders_are_not_followed(tmp_path):
  outside = folder_of(tmp_path / "outside", "a/1.png")
  inside = folder_of(tmp_path / "set", "b/1.png", "c/1.png")
  (inside / "link").symlink_to(outside, target_is_directory=True)
  (inside / "b" / "2.png").symlink_to(outside / "a" / "1.png")
  (inside / "b" / "3.png").symlink_to(outside / "gone.png")
  listing = list_images([str(inside)])
  assert listing.passed_over == {"links to folders": 1}
  paths = {e.path: e for e in listing.entries}
  assert sorted(paths) == ["b/1.png", "b/2.png", "b/3.png", "c/1.png"]
  assert paths["b/2.png"].read() == image(0)
  with pytest.raises(OSError, match="No such file"):
    paths["b/3.png"].read()
  only = tmp_path / "only"
  only.mkdir()
  (only / "link").symlink_to(outside, target_is_directory=True)
  with pytest.raises(UserError, match=r"no image in .*\(1 links to folders"):
    list_images([str(only)])


@pytest.mark.parametrize(
  ("name", "message"),
  [
    ("../evil.png", "'../evil.png' climbs out of its folder"),
    ("a/../../b.png", "'a/../../b.png' climbs out"),
    ("/etc/a.png", "'/etc/a.png' has an absolute path"),
    ("C:/a/b.png", "'C:/a/b.png' has an absolute path"),
    ("a\\..\\b.png", "has a backslash or a NUL in its name"),
  ],
)
def test_a_zip_that_climbs_out_is_refused_as_a_whole(tmp_path, name, message):
  zip_of(tmp_path / "set.zip", "a/1.png", "b/1.png", name)
  with pytest.raises(UserError) as error:
    list_images([str(tmp_path / "set.zip")])
  assert message in str(error.value)
  assert str(tmp_path / "set.zip") in str(error.value)
  assert str(error.value).endswith("nothing of this zip is read")


def test_links_and_encrypted_members_of_a_zip_are_refused(tmp_path):
  path = tmp_path / "set.zip"
  zip_of(path, "a/1.png", "b/1.png")
  link = zipfile.ZipInfo("a/2.png")
  link.external_attr = (stat.S_IFLNK | 0o777) << 16
  with zipfile.ZipFile(path, "a") as file:
    file.writestr(link, "/etc/passwd")
  with pytest.raises(UserError, match=r"'a/2.png' is a symbolic link"):
    list_images([str(path)])
  zip_of(path, "a/1.png", "b/1.png")
  data = bytearray(path.read_bytes())
  directory = data.index(b"PK\1\2")
  data[directory + 8] |= 1  # the flags' lowest bit
  path.write_bytes(data)
  with pytest.raises(UserError, match=r"'a/1.png' is encrypted"):
    list_images([str(path)])


def test_a_member_that_is_there_twice(tmp_path):
  with pytest.warns(UserWarning, match="Duplicate name"):
    zip_of(tmp_path / "set.zip", "a/1.png", "a/1.png", "b/1.png")
  with pytest.raises(UserError, match=r"'a/1.png' is there twice"):
    list_images([str(tmp_path / "set.zip")])


def test_bombs_are_not_unpacked(tmp_path, monkeypatch):
  monkeypatch.setattr(entries, "LARGEST", 10_000)
  path = tmp_path / "set.zip"
  with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
    file.writestr("a/1.png", bytes(10_001))
    file.writestr("b/1.png", bytes(9_000))
  big, lying = list_images([str(path)]).entries
  with pytest.raises(OSError, match="larger than 10,000 bytes"):
    big.read()
  assert lying.read() == bytes(9_000)
  # Now one that says 100 bytes and is of 9,000.
  data = path.read_bytes()
  size = struct.pack("<I", 9_000)
  assert data.count(size) == 2
  path.write_bytes(data.replace(size, struct.pack("<I", 100)))
  _, lying = list_images([str(path)]).entries
  with pytest.raises(OSError, match="CRC"):
    lying.read()
  (tmp_path / "x.png").write_bytes(bytes(10_001))
  with pytest.raises(OSError, match="larger than"):
    entries.Folder(tmp_path).read("x.png", 10_000)


def test_a_damaged_member_is_an_error_of_reading(tmp_path):
  path = zip_of(
    tmp_path / "set.zip", "a/1.png", "b/1.png", compression=zipfile.ZIP_STORED
  )
  data = bytearray(path.read_bytes())
  data[data.index(b"IDAT")] ^= 1
  path.write_bytes(data)
  first, second = list_images([str(path)]).entries
  with pytest.raises(OSError, match="CRC"):
    first.read()
  assert second.read() == image(1)


@pytest.mark.parametrize(
  ("names", "message"),
  [
    ([], "no image in {}; expected files that end in .bmp, .jpeg"),
    (["a/1.txt"], "no image in {}; expected"),
    (["1.png", "a/1.png", "b/1.png"], "{}/1.png lies in no identity's folder"),
  ],
)
def test_folders_that_hold_no_identities(tmp_path, names, message):
  folder_of(tmp_path / "set", *names).mkdir(exist_ok=True)
  with pytest.raises(UserError) as error:
    list_images([str(tmp_path / "set")])
  assert message.format(tmp_path / "set") in str(error.value)


@pytest.mark.parametrize(
  ("value", "message"),
  [
    ("nowhere", "there is no folder or zip nowhere"),
    ("all={}", "expected a split's name of letters, digits and _ (not all)"),
    ("a b={}", "expected a split's name"),
    ("train=", "expected a folder or a zip, got 'train='"),
    ("{}/text.zip", "text.zip is neither a folder nor a zip that can be read"),
  ],
)
def test_values_of_the_flag(tmp_path, value, message):
  (tmp_path / "text.zip").write_text("no zip")
  with pytest.raises(UserError, match=r"^--images: ") as error:
    list_images([value.format(tmp_path)])
  assert message in str(error.value)


def test_a_folder_without_permission_is_named(tmp_path, monkeypatch):
  folder_of(tmp_path, "a/1.png", "b/1.png")
  scandir = os.scandir

  def refuse(path):
    if str(path).rstrip("/").endswith("/b"):
      raise PermissionError(13, "Permission denied")
    return scandir(path)

  monkeypatch.setattr(os, "scandir", refuse)
  with pytest.raises(UserError) as error:
    list_images([str(tmp_path)])
  assert str(error.value) == (
    f"--images: can't read the folder {tmp_path}/b: Permission denied"
  )


def test_a_zip_without_permission_is_named(tmp_path, monkeypatch):
  path = zip_of(tmp_path / "set.zip", "a/1.png", "b/1.png")

  def refuse(path):
    raise PermissionError(13, "Permission denied")

  monkeypatch.setattr(archive.zipfile, "ZipFile", refuse)
  with pytest.raises(UserError, match=r"can't read .*set.zip: Permission"):
    list_images([str(path)])


def test_names_that_are_not_utf8(tmp_path):
  folder_of(tmp_path, "a/1.png", "b/1.png")
  with open(os.fsencode(tmp_path) + b"/a/\xff.png", "wb") as file:
    file.write(image())
  with pytest.raises(UserError, match=r"file names in UTF-8, got b'a/\\xff"):
    list_images([str(tmp_path)])


def test_csv(tmp_path):
  folder_of(tmp_path, "x/2.png", "x/1.png", "y.png", "z.png")
  path = tmp_path / "list.csv"
  path.write_bytes(
    b"\xef\xbb\xbfshot,path,label,group,split\r\n"
    b"1,x/2.png,Ann,women,train\r\n"
    b'2,x/1.png,"Bob, the other",men,\r\n'
    b"\r\n"
    b"3,y.png,Greek/c01,,test\r\n"
    b"4,./z.png,\xc3\x84nne,,test\r\n"
  )
  listing = list_csv(path)
  assert found(listing) == [
    ("test", "Änne", "", "./z.png"),
    ("test", "Greek/c01", "Greek", "y.png"),
    ("train", "Bob, the other", "men", "x/1.png"),
    ("train", "Ann", "women", "x/2.png"),
  ]
  assert listing.entries[2].read() == image(1)


@pytest.mark.parametrize(
  ("text", "message"),
  [
    ("", "no column 'path'; there are none"),
    ("file,label\n", "no column 'path'; there are file, label"),
    ("path,identity\n", "no column 'label'; there are path, identity"),
    (
      "path,label\na.png,x\nb.png\n",
      ":3: expected 2 columns (path, label), got 1",
    ),
    ("path,label\na.png,\n", ":2: no label"),
    ("path,label\n\nno.png,x\n", ":3: there is no file 'no.png' in"),
    ("path,label,split\na.png,x,a-b\n", ":2: expected a split's name"),
    ("path,label\na.png,x\nb.png,x\n", "two identities or more, got one: 'x'"),
    ("path,label\n", "expected images, got none"),
    ('path,label\na.png,"x\n', "unexpected end of data"),
  ],
)
def test_mistakes_in_a_csv(tmp_path, text, message):
  folder_of(tmp_path, "a.png", "b.png")
  path = tmp_path / "list.csv"
  path.write_text(text)
  with pytest.raises(UserError, match=r"^--csv: ") as error:
    list_csv(path)
  assert message in str(error.value)


def test_csv_that_cannot_be_read(tmp_path):
  with pytest.raises(UserError, match=r"can't read .*list.csv: No such file"):
    list_csv(tmp_path / "list.csv")
  (tmp_path / "list.csv").write_bytes(b"path,label\n\xff,a\n")
  with pytest.raises(UserError, match=r"list.csv: expected UTF-8"):
    list_csv(tmp_path / "list.csv")
