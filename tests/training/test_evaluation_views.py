"""Test-time augmentation: the mean over views, the same for any batch."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from ml_collections import ConfigDict

from configs import digits
from tripletjax import UserError
from tripletjax.data.augment import augment
from tripletjax.data.sources import Source
from tripletjax.metrics import episodes, nearest_views
from tripletjax.models import ConvNet
from tripletjax.training import parallel
from tripletjax.training.evaluation import make_embed
from tripletjax.training.evaluation_settings import Labelled, Settings
from tripletjax.training.protocols import measure_set
from tripletjax.training.state import create_state
from tripletjax.training.views import make_evaluated_views, make_views

SHEAR = {"affine": {"rotation": 0, "scale": 0, "shear": 0.5, "translation": 0}}


def config(views, **augment):
  fields = digits.get_config("smoke")
  fields.evaluation.views = views
  fields.augment.update(
    {"rotation": 0.0, "scale": 0.0, "shear": 0.0, "translation": 0.0, **augment}
  )
  return fields


def images(count=5):
  rng = np.random.default_rng(0)
  return jnp.asarray(rng.random((count, 8, 8, 1)), jnp.float32)


def embed(images):
  """A few pixels."""
  return images[:, 2:4, 1:4, 0].reshape(len(images), -1)


def loop(count):
  """The views of each image by itself, one after another."""
  found = []
  for image in images():
    views = [image]
    for number in range(1, count):
      key = jax.random.fold_in(jax.random.key(0), number)
      views.append(augment(image[None], key[None], chosen=SHEAR)[0])
    found.append(np.mean([embed(view[None])[0] for view in views], axis=0))
  return np.array(found)


def test_it_is_the_mean_over_the_views_of_each_image():
  expected = loop(3)
  fields = config(3, shear=0.5, identity_rotation=90.0)
  fields.model.normalize = False
  run = jax.jit(make_views(fields)(embed))
  found = run(images())
  np.testing.assert_allclose(found, expected, atol=1e-6)
  assert np.abs(found - embed(images())).max() > 0.01
  # Whatever it is embedded with.
  np.testing.assert_allclose(run(images()[3:4]), found[3:4], atol=1e-6)
  fields.model.normalize = True
  unit = jax.jit(make_views(fields)(embed))(images())
  norms = np.linalg.norm(expected, axis=1, keepdims=True)
  np.testing.assert_allclose(unit, expected / norms, atol=1e-6)


def test_each_view_stands_behind_their_mean():
  fields = config(3, shear=0.5)
  fields.model.normalize = False
  found = jax.jit(make_views(fields, each=True)(embed))(images())
  assert found.shape == (5, 1 + 3, 6)
  np.testing.assert_allclose(found[:, 0], loop(3), atol=1e-6)
  np.testing.assert_allclose(found[:, 1], embed(images()), atol=1e-6)
  np.testing.assert_allclose(found[:, 1:].mean(axis=1), loop(3), atol=1e-6)
  # Only where the config has tasks that compare them.
  fields.evaluation.view_temperature = 0.1
  assert make_evaluated_views(fields)(embed)(images()).shape == (5, 6)
  fields.evaluation.episodes = 10
  each = jax.jit(make_evaluated_views(fields)(embed))(images())
  np.testing.assert_allclose(each, found, atol=1e-6)
  fields.evaluation.view_temperature = 0.0
  assert make_evaluated_views(fields)(embed)(images()).shape == (5, 6)


def test_only_one_shot_tasks_compare_views():
  rng = np.random.default_rng(3)
  views = rng.normal(size=(12, 1 + 4, 3)).astype(np.float32)
  data = Labelled(labels=np.repeat(np.arange(4), 3))
  settings = Settings(
    ways=4, episodes=30, view_temperature=0.5, metrics=("one_shot", "retrieval")
  )
  whole = measure_set(views, data, "euclidean", settings)
  of_means = measure_set(views[:, 0], data, "euclidean", settings)
  assert whole["one_shot_error"] != of_means["one_shot_error"]
  assert whole["map@r"] == of_means["map@r"]
  expected = episodes(
    views.reshape(12, -1),
    data.labels,
    distance=nearest_views("euclidean", views=4, temperature=0.5),
    ways=4,
    episodes=30,
  )
  assert whole["one_shot_error"] == expected["one_shot_error"]


def test_one_view_is_the_image():
  assert make_views(config(1, shear=0.5)) is None


def test_devices_and_padding_do_not_matter():
  state = create_state(
    ConvNet(features=(4,), dimension=4, axis_name=parallel.AXIS),
    optax.identity(),
    image_shape=(8, 8, 1),
    key=jax.random.key(0),
  )
  rng = np.random.default_rng(1)
  pixels = rng.integers(0, 256, (7, 8, 8, 1)).astype(np.uint8)
  source = Source(pixels, np.zeros(7, np.int32), ("",), (8, 8, 1))
  found = []
  for count, size in ((1, 7), (2, 4)):
    devices = parallel.local_devices()[:count]
    run = make_embed(
      devices, batch_size=size, views=make_views(config(4, shear=0.5))
    )
    found.append(run(parallel.replicate(state, devices), source))
  np.testing.assert_allclose(found[0], found[1], atol=1e-5)
  np.testing.assert_allclose(np.linalg.norm(found[0], axis=1), 1, atol=1e-5)


@pytest.mark.parametrize(
  ("change", "message"),
  [
    ({}, "expected 1 where the config augments nothing, got 2"),
    ({"identity_shear": 0.5}, "expected 1 where the config augments nothing"),
  ],
)
def test_nothing_to_differ_by(change, message):
  with pytest.raises(UserError, match=message):
    make_views(config(2, **change))


@pytest.mark.parametrize("augment", [None, {}, {"rotation": 3.0}])
def test_a_run_of_before_a_field_came(augment):
  fields = ConfigDict({"evaluation": {"views": 2}})
  if augment is not None:
    fields.augment = augment
  with pytest.raises(UserError, match="augments nothing"):
    make_views(fields)


def test_a_saved_config_may_hold_anything():
  fields = config(2)
  with fields.ignore_type():
    fields.augment.shear = "much"
  with pytest.raises(UserError, match=r"augment.shear: expected a number"):
    make_views(fields)
