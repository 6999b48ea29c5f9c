"""Each ready setting against what TFDS says about the set."""

import numpy as np
import prepared_sets
import pytest
import tensorflow_datasets as tfds

from tripletjax.data.catalog import CATALOG, settings
from tripletjax.data.sources import open_source

# vgg_face2 isn't part of TFDS 4.9.10.
NAMES = sorted(CATALOG.keys() - {"vgg_face2"})


class Serialized(list):
  def __getitems__(self, indices):
    return [self[index] for index in indices]


def value(feature):
  """Something that the feature accepts."""
  if isinstance(feature, tfds.features.Image):
    mode = "L" if feature.shape[-1] == 1 else "RGB"
    return prepared_sets.picture(200, [x or 9 for x in feature.shape[:2]], mode)
  if isinstance(feature, tfds.features.Text):
    return "0"
  if isinstance(feature, tfds.features.BBoxFeature):
    return tfds.features.BBox(0.0, 0.0, 1.0, 1.0)
  if isinstance(feature, tfds.features.FeaturesDict):
    return {key: value(feature[key]) for key in feature}
  return np.zeros(feature.shape, feature.np_dtype)


@pytest.mark.parametrize("name", NAMES)
def test_opened_under_mock_data(name, tmp_path):
  found = settings(name)
  builder = tfds.builder(name, data_dir=tmp_path / "none")
  features = builder.info.features
  if builder.builder_config:
    name = f"{name}/{builder.builder_config.name}"
  examples = [value(features) for _ in range(3)]
  examples[2][found.label_key] = (
    "1" if isinstance(features[found.label_key], tfds.features.Text) else 1
  )
  splits = dict.fromkeys(found.splits, examples)
  prepared_sets.write_set(tmp_path, name, splits, features=features)
  records = Serialized(prepared_sets.serialize(features, examples))

  def as_data_source(self, split, deserialize_method, **kwargs):
    # mock_data's own examples are serialized by TensorFlow.
    assert deserialize_method == tfds.decode.DeserializeMethod.RAW_BYTES
    return records

  with tfds.testing.mock_data(
    data_dir=tmp_path, as_data_source_fn=as_data_source
  ):
    source = open_source(
      name, data_dir=tmp_path, split=found.splits[1], image_size="8"
    )
  channels = 1 if features[found.image_key].shape[-1] == 1 else 3
  assert source.image_shape == source[2].shape == (8, 8, channels)
  assert (source[2] == 200).all()
  assert source.labels.tolist() == [0, 0, 1]
  assert (source.groups is not None) == bool(found.group_key)


def test_configs_and_versions_share_the_settings_of_the_set():
  name = "stanford_online_products"
  assert settings(f"{name}:1.0.0").label_key == "class_id"
  assert settings(f"{name}/any:1.0.0") == settings(name)
  assert settings("mine").label_key == "label"
