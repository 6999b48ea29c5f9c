import io

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

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
def test_every_png_mode_decodes_to_the_channels_asked_for(png_mode, channels):
  checker = np.indices((6, 6)).sum(axis=0) % 2 * 255
  buffer = io.BytesIO()
  Image.fromarray(checker.astype(np.uint8)).convert(png_mode).save(
    buffer, "png"
  )
  image = tfds.features.Image(shape=(6, 6, channels))
  features = tfds.features.FeaturesDict({"image": image})
  serializer = tfds.core.example_serializer.ExampleSerializer(
    features.get_serialized_info()
  )
  raw = [serializer.serialize_example({"image": buffer.getvalue()})]
  mode = {1: "L", 3: "RGB"}[channels]
  records = sources._Records(raw, "image", features, mode)
  expected = np.repeat(checker[..., None], channels, axis=-1)
  np.testing.assert_array_equal(records[0], expected)


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
