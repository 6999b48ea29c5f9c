"""Damaged and invented files end in a `UserError`, and in nothing else.

Few examples, the same each time, in the fast suite; many behind `slow`. What is
found becomes a row of the corpus.
"""

import zipfile
from types import SimpleNamespace

import numpy as np
import prepared_sets
import pytest
import weights
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from world import IMAGES

from tripletjax.data.importing import import_images
from tripletjax.data.listing import list_images
from tripletjax.data.pairs import read_pairs
from tripletjax.data.tfrecord import TFRecords
from tripletjax.errors import UserError
from tripletjax.torch_files import read_state_dict

EXAMPLES = pytest.mark.parametrize(
  "examples",
  [
    pytest.param(30, id="few"),
    pytest.param(1500, id="many", marks=pytest.mark.slow),
  ],
)


def fuzz(examples, **strategies):
  """Runs a function on examples, the same each time."""

  def run(function):
    settings(
      max_examples=examples,
      derandomize=True,
      database=None,
      deadline=None,
      suppress_health_check=list(HealthCheck),
    )(given(**strategies)(function))()

  return run


@st.composite
def damaged(draw, whole):
  """Bytes with some overwritten, taken out, put in, or cut off."""
  data = bytearray(whole)
  for _ in range(draw(st.integers(1, 4))):
    at = draw(st.integers(0, len(data)))
    piece = draw(st.binary(max_size=12))
    kind = draw(st.sampled_from(["overwrite", "insert", "delete", "cut"]))
    if kind == "cut":
      del data[at:]
    else:
      stop = {"overwrite": at + len(piece), "insert": at, "delete": at + 7}
      data[at : stop[kind]] = piece if kind != "delete" else b""
  return bytes(data)


def only_user_errors(call):
  try:
    return call()
  except UserError as error:
    text = str(error)
    assert text
    assert "\n" not in text, text
    return None


@EXAMPLES
def test_pairs(tmp_path, examples):
  source = SimpleNamespace(
    paths=["A/x_0001.png", "A/x_0002.png", "B/x_0001.png"],
    labels=np.array([0, 0, 1]),
    label_names=("A", "B"),
  )
  whole = "1\t1\nA\t1\t2\nA\t1\tB\t1\n"
  path = tmp_path / "pairs.txt"
  path.write_text(whole)
  assert len(read_pairs(path, source).first) == 2
  words = st.sampled_from(
    ["A", "B", "1", "2", "0", "-1", "²", "٣", "1e9", "9" * 30, " ", "\t", "\n"]
  )
  invented = st.lists(words, max_size=20).map(lambda x: "".join(x).encode())

  @fuzz(examples, data=damaged(whole.encode()) | invented | st.binary())
  def check(data):
    path.write_bytes(data)
    found = only_user_errors(lambda: read_pairs(path, source))
    if found is not None:
      assert len(found.first) == len(found.fold) > 0
      assert (found.first < 3).all()
      assert (found.second < 3).all()


@EXAMPLES
def test_tfrecord(tmp_path, examples):
  records = [b"one", b"", b"three" * 9]
  whole = prepared_sets.tfrecord(records)
  path = tmp_path / "a.tfrecord-00000-of-00001"
  shard = SimpleNamespace(
    filename=str(path), skip=0, take=-1, examples_in_shard=3
  )

  @fuzz(examples, data=damaged(whole) | st.binary(max_size=200))
  def check(data):
    path.write_bytes(data)
    found = only_user_errors(lambda: TFRecords([shard]))
    if found is not None:
      lengths = [len(found[index]) for index in range(3)]
      assert sum(lengths) + 3 * 16 == len(data)


@EXAMPLES
def test_weights(tmp_path, examples):
  array = np.arange(6, dtype="<f4").reshape(2, 3)
  value = {"w": weights.Tensor("0", array), "v": weights.Tensor("0", array)}
  program = weights.program(value)
  path = tmp_path / "a.pth"
  weights.torch_zip(path, program, {"0": array.tobytes()})
  whole = path.read_bytes()
  np.testing.assert_array_equal(read_state_dict(path)["w"], array)
  # Of the program alone too: the zip has checksums, which hide it.
  instructions = st.lists(
    st.sampled_from(
      [b"(", b")", b"}", b"]", b"t", b"R", b"b", b"s", b"u", b"a", b"e", b"Q",
       b"\x85", b"q\x00", b"h\x00", b"K\x01", b"N", b"0", b"2", b"c",
       b"ctorch\nFloatStorage\n", b"cos\nsystem\n", b"X\x01\x00\x00\x00w",
       b"ccollections\nOrderedDict\n", b"\x81", b"\x93", b"i", b"o", b"r"]
    ),
    max_size=30,
  ).map(lambda x: b"\x80\x02" + b"".join(x) + b".")  # fmt: skip
  described = (damaged(program) | instructions).map(lambda x: (False, x))
  tensors = weights.safetensors(
    {"w": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}},
    array.tobytes(),
  )
  files = (damaged(whole) | damaged(tensors)).map(lambda x: (True, x))

  @fuzz(examples, case=described | files)
  def check(case):
    is_file, data = case
    if is_file:
      path.write_bytes(data)
    else:
      weights.torch_zip(path, data, {"0": array.tobytes()})
    for found in (
      only_user_errors(lambda: read_state_dict(path)) or {}
    ).values():
      assert isinstance(found, np.ndarray)
      assert found.nbytes <= max(len(data), 24)
      found.sum()  # all of it can be read


@EXAMPLES
def test_images(tmp_path, examples):
  images = tmp_path / "images"
  archive = tmp_path / "images.zip"
  with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
    for name, data in IMAGES.items():
      file.writestr(name, data)
  zipped = archive.read_bytes()
  for name, data in IMAGES.items():
    (images / name).parent.mkdir(parents=True, exist_ok=True)
    (images / name).write_bytes(data)
  hostile = images / "a" / "hostile.png"
  texts = st.text(
    st.characters(blacklist_characters="/\0", blacklist_categories=["Cs"]),
    min_size=1,
    max_size=20,
  )
  png = IMAGES["a/0.png"]
  number = iter(range(10**9))

  # The whole importer takes a while of each.
  @fuzz(
    max(8, examples // 10),
    image=damaged(png) | st.binary(max_size=60),
    folder=texts.filter(lambda name: name.strip(".")),
    data=damaged(zipped),
  )
  def check(image, folder, data):
    hostile.write_bytes(image)
    place = images / folder
    made = not place.exists() and len(folder.encode()) < 200
    if made:
      place.mkdir()
      (place / "1.png").write_bytes(png)
    archive.write_bytes(data)
    for path in (images, archive):
      sets = tmp_path / f"sets-{next(number)}"

      def prepare(path=path, sets=sets):
        found = import_images(
          list_images([str(path)]),
          name="fuzzed",
          data_dir=sets,
          say=lambda line: None,
        )
        assert (found / "findings.json").exists()
        return found

      found = only_user_errors(prepare)
      assert (sets / "fuzzed").exists() == (found is not None)
    if made:
      (place / "1.png").unlink()
      place.rmdir()
