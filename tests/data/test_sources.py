import io

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image
from prepared_sets import WRITERS, example, write_set

from tripletjax.data import sources
from tripletjax.errors import UserError


def open_tiny(data_dir, **kwargs):
  kwargs = {"split": "latin+greek"} | kwargs
  return sources.open_source("glyphs/tiny", data_dir=data_dir, **kwargs)


def test_random_access_gives_the_pictures_drawn(data_dir):
  source = open_tiny(data_dir)
  records = sources.prepare("glyphs/tiny", data_dir=data_dir).as_data_source(
    split="latin+greek", decoders={"image": tfds.decode.SkipDecoding()}
  )
  assert len(source) == len(records) == len(source.labels)
  for index in (len(source) - 1, 0, 5, np.int64(3)):
    record = records[index]
    pixels = Image.open(io.BytesIO(record["image"])).tobytes()
    image = source[index]
    assert (image.dtype, image.shape) == (np.uint8, (32, 32, 1))
    assert image.tobytes() == pixels
    name = source.label_names[source.labels[index]]
    assert name == record["label"].decode()


def test_split_expressions(data_dir):
  both = len(open_tiny(data_dir))
  parts = [open_tiny(data_dir, split=split) for split in ("latin", "greek")]
  assert sum(map(len, parts)) == both
  assert len(open_tiny(data_dir, split="latin[:7]+greek[:4]")) == 11


def test_labels_are_sorted_and_dense(data_dir):
  source = open_tiny(data_dir)
  assert source.labels.dtype == np.int32
  assert list(source.label_names) == sorted(set(source.label_names))
  assert set(source.labels.tolist()) == set(range(len(source.label_names)))


def test_any_feature_can_be_the_identity(data_dir):
  source = open_tiny(data_dir, label_key="script")
  assert source.label_names == ("greek", "latin")


@pytest.mark.parametrize("png_mode", ["1", "P", "L", "RGB", "RGBA"])
@pytest.mark.parametrize("channels", [1, 3])
def test_every_png_mode_decodes_to_the_channels_of_the_set(
  png_mode, channels, tmp_path
):
  checker = np.indices((6, 6)).sum(axis=0) % 2 * 255
  buffer = io.BytesIO()
  Image.fromarray(checker.astype(np.uint8)).convert(png_mode).save(
    buffer, "png"
  )
  features = tfds.features.FeaturesDict(
    {
      "image": tfds.features.Image(shape=(None, None, channels)),
      "label": tfds.features.Text(),
    }
  )
  examples = [{"image": buffer.getvalue(), "label": "x"}] * 2
  write_set(tmp_path, "mine", {"train": examples}, features=features)
  source = sources.open_source("mine", data_dir=tmp_path, split="train")
  expected = np.repeat(checker[..., None], channels, axis=-1)
  np.testing.assert_array_equal(source[0], expected)


@pytest.fixture(scope="module")
def formats(tmp_path_factory):
  splits = {
    "train": [example(number) for number in range(24)],
    "test": [example(number) for number in range(24, 30)],
  }
  folders = {}
  for ending in WRITERS:
    folders[ending] = tmp_path_factory.mktemp(ending)
    write_set(folders[ending], "mine", splits, ending=ending)
  return folders


@pytest.mark.parametrize("ending", WRITERS)
@pytest.mark.parametrize(
  ("split", "numbers"),
  [
    ("train", range(24)),
    ("test[1:]", range(25, 30)),
    ("train[2:5]", range(2, 5)),
    ("train[10:14]+test[:2]", [10, 11, 12, 13, 24, 25]),
    ("train[:2]+train[22:]", [0, 1, 22, 23]),
  ],
)
def test_every_format_is_read_at_random(formats, ending, split, numbers):
  source = sources.open_source("mine", data_dir=formats[ending], split=split)
  expected = [example(number) for number in numbers]
  order = np.random.default_rng(0).permutation(len(source))
  assert [source[i][0, 0, 0] for i in order] == [numbers[i] for i in order]
  both = source.images.__getitems__(order)
  assert [x[0, 0, 0] for x in both] == [numbers[i] for i in order]
  names = [source.label_names[label] for label in source.labels]
  assert names == [one["label"] for one in expected]
  groups = [source.group_names[group] for group in source.groups]
  assert groups == [one["group"] for one in expected]
  assert list(source.paths) == [one["path"] for one in expected]
  assert source.paths[-1] == expected[-1]["path"]


def test_taken_images_keep_their_names(formats):
  whole = sources.open_source(
    "mine", data_dir=formats["array_record"], split="train+test"
  )
  ids = np.array([29, 7, 6, 28])
  part = sources.take(whole, ids)
  assert part.label_names == ("B/c0", "E/c1")
  assert part.labels.tolist() == [1, 0, 0, 1]
  assert (part.group_names, part.groups.tolist()) == (("B", "E"), [1, 0, 0, 1])
  assert [part[i][0, 0, 0] for i in range(4)] == [29, 7, 6, 28]
  assert part.paths[:] == [example(number)["path"] for number in ids]
  again = sources.take(part, np.array([1]))
  assert (again[0][0, 0, 0], list(again.paths)) == (7, ["B/c0/x_0002.png"])


def test_size_and_channels_are_changed_on_request(formats):
  source = sources.open_source(
    "mine",
    data_dir=formats["array_record"],
    split="train",
    image_size="4x8",
    channels=3,
  )
  assert source.image_shape == source[5].shape == (4, 8, 3)
  assert (source[5] == 5).all()


def test_paper_becomes_black_on_request(formats):
  source = sources.open_source(
    "mine", data_dir=formats["array_record"], split="train", invert=True
  )
  assert (source[5] == 250).all()


def test_images_of_several_sizes_need_one(tmp_path):
  examples = [example(0), example(3, shape=(4, 6))]
  write_set(tmp_path, "mine", {"train": examples})
  source = sources.open_source("mine", data_dir=tmp_path, split="train")
  with pytest.raises(UserError, match="mine differ in size, such as 6x6 and 4"):
    source[1]
  sized = sources.open_source(
    "mine", data_dir=tmp_path, split="train", image_size="6"
  )
  assert sized[1].shape == (6, 6, 1)


def test_an_image_that_cannot_be_decoded_is_named(tmp_path):
  broken = example(3) | {"image": example(3)["image"][:40]}
  write_set(tmp_path, "mine", {"train": [example(0), broken]})
  source = sources.open_source("mine", data_dir=tmp_path, split="train")
  with pytest.raises(UserError, match=r"data.name: image 1 of mine can't be"):
    source[1]


@pytest.mark.parametrize(
  ("kwargs", "message"),
  [
    (
      {"split": "latin+klingon"},
      "data.train_split: no split 'latin+klingon'; choose from latin, greek, "
      "cyrillic, armenian, georgian, lao, joined by +",
    ),
    (
      {"split": "lao[", "split_field": "data.eval_split"},
      "data.eval_split: no split 'lao['; choose from latin, greek, cyrillic, "
      "armenian, georgian, lao, joined by +",
    ),
    (
      {"split": "lao[:0]"},
      "data.train_split: 'lao[:0]' is empty; choose from latin, greek, "
      "cyrillic, armenian, georgian, lao",
    ),
    (
      {"image_key": "picture"},
      "data.image_key: glyphs/tiny has no feature 'picture'; choose one of "
      "font, image, label, script",
    ),
    (
      {"label_key": "class_id"},
      "data.label_key: glyphs/tiny has no feature 'class_id'; choose one of "
      "font, image, label, script",
    ),
    (
      {"image_key": "font"},
      "data.image_key: feature 'font' is not an image",
    ),
  ],
)
def test_mistakes_name_the_field_and_the_choices(data_dir, kwargs, message):
  with pytest.raises(UserError) as error:
    open_tiny(data_dir, **kwargs)
  assert str(error.value) == message


def test_identity_counts():
  labels = np.array([3] * 5 + [1] * 2 + [7] + [0] * 4)
  assert sources.identity_counts(labels) == (12, 4, 1, 1, 3.0, 5)
  assert sources.identity_counts(np.array([], int)) == (0, 0, 0, 0, 0.0, 0)
