"""Each ready setting against what TFDS says about the set."""

import pytest
import tensorflow_datasets as tfds

from tripletjax.data.catalog import CATALOG, settings

# vgg_face2 isn't part of TFDS 4.9.10.
NAMES = sorted(CATALOG.keys() - {"vgg_face2"})


@pytest.mark.parametrize("name", NAMES)
def test_the_keys_exist_under_mock_data(name, tmp_path):
  found = settings(name)
  with tfds.testing.mock_data(num_examples=3, data_dir=tmp_path):
    builder = tfds.builder(name)
    source = builder.as_data_source(split=found.splits[0])
    example = source[0]
    assert len(source) == 3
    features = builder.info.features
  assert isinstance(features[found.image_key], tfds.features.Image)
  assert example[found.image_key].ndim == 3
  assert found.label_key in example
  assert not found.group_key or found.group_key in example


def test_configs_and_versions_share_the_settings_of_the_set():
  name = "stanford_online_products"
  assert settings(f"{name}:1.0.0").label_key == "class_id"
  assert settings(f"{name}/any:1.0.0") == settings(name)
  assert settings("mine").label_key == "label"
