"""ResNet-18: its size by arithmetic, its stems, and what chunks save."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import digits
from tests.emitters import NEW_EMITTERS
from tripletjax import UserError
from tripletjax.models import NORMS, ResNet18
from tripletjax.training import objective
from tripletjax.training.chunks import batch_value_and_grad
from tripletjax.training.network import make_model


def shapes(side, features=(), dimension=1000, **fields):
  model = ResNet18(features=features, dimension=dimension, **fields)
  return jax.eval_shape(
    lambda key: model.init(key, jnp.zeros((1, side, side, 3)), train=False),
    jax.random.key(0),
  )


def size(tree):
  return sum(x.size for x in jax.tree.leaves(tree))


def conv_norm(side, inputs, outputs):
  return side * side * inputs * outputs + 2 * outputs


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize(("side", "kernel"), [(224, 7), (128, 7), (127, 3)])
def test_the_number_of_parameters(side, kernel, norm):
  params = shapes(side, norm=norm)["params"]
  expected = conv_norm(kernel, 3, 64)
  inputs = 64
  for width in (64, 128, 256, 512):
    expected += conv_norm(3, inputs, width) + 3 * conv_norm(3, width, width)
    if width != inputs:
      expected += conv_norm(1, inputs, width)
    inputs = width
  if kernel == 7:
    # As torchvision says of its resnet18, without and with 1,000 classes.
    assert expected == 11_176_512
    assert expected + 512 * 1000 + 1000 == 11_689_512
  assert size(params["Dense_0"]) == 512 * 1000 + 1000
  assert size(params) == expected + 512 * 1000 + 1000


def test_computing_again_has_the_same_parameters_by_name():
  plain, remat = shapes(32), shapes(32, remat=True)
  assert jax.tree.structure(plain) == jax.tree.structure(remat)


def test_the_resolution_of_the_stages():
  # What the shortcuts get tells the resolution: 4 x 8 x 8 ... of 64 pixels in
  # the small stem, a quarter of that from 128 pixels on.
  for side, expected in ((64, [64, 32, 16, 8]), (128, [32, 16, 8, 4])):
    model = ResNet18(features=(4, 8, 8, 8), dimension=2, norm="group")
    _, found = jax.eval_shape(
      lambda key, side=side, model=model: model.init_with_output(
        key,
        jnp.zeros((1, side, side, 1)),
        train=False,
        capture_intermediates=True,
        mutable=["params", "intermediates"],
      ),
      jax.random.key(0),
    )
    blocks = found["intermediates"]
    sides = [
      blocks[f"stage_{stage}_block_2"]["__call__"][0].shape[1]
      for stage in (1, 2, 3, 4)
    ]
    assert sides == expected


def test_the_channels_of_its_stages_are_checked():
  config = digits.get_config("smoke")
  config.model.name = "resnet18"
  with pytest.raises(UserError, match=r"features: expected channels of 4 stag"):
    objective.check_config(config)
  config.model.features = ()
  objective.check_config(config)
  assert make_model(config, axis_name="devices").features == ()
  config.model.name = "convnet"
  with pytest.raises(UserError, match="expected channels of one block or more"):
    objective.check_config(config)


@functools.cache
def temporaries(batch, chunk, side=160, features=()):
  """Bytes that value and gradient hold beside images, weights and gradients."""
  model = ResNet18(features, 128, norm="group")
  params = shapes(side, features, 128, norm="group")["params"]
  run = batch_value_and_grad(
    lambda params, part: (
      model.apply(
        {"params": params},
        part["image"].astype(jnp.float32) / 255,
        train=True,
      ),
      {},
    ),
    lambda e, params: (jnp.mean((e @ e.T) ** 2), None),
    chunk=chunk,
  )
  images = jax.ShapeDtypeStruct((batch, side, side, 3), jnp.uint8)
  lowered = jax.jit(run).lower(params, {"image": images})
  compiled = lowered.compile(NEW_EMITTERS)
  return compiled.memory_analysis().temp_size_in_bytes


@pytest.mark.slow
def test_1800_faces_fit_into_4_gib_in_chunks():
  weights = 4 * size(shapes(160, dimension=128, norm="group")["params"])
  images = 1800 * 160 * 160 * 3
  # Weights, gradients and two moments of Adam stay as well.
  assert temporaries(1800, 20) + images + 4 * weights < 4 * 2**30
  assert temporaries(1800, 0) > 16 * 2**30


@pytest.mark.slow
def test_chunks_hold_fewer_activations():
  whole = temporaries(32, 0, side=32, features=(8, 8, 8, 8))
  assert temporaries(32, 4, side=32, features=(8, 8, 8, 8)) < whole / 4


def test_remat_keeps_the_inputs_of_blocks_only():
  # What autodiff keeps; XLA for CPUs undoes it, and computes nothing again.
  def kept(remat):
    model = ResNet18((8, 8, 8, 8), 4, norm="group", remat=remat)
    images = jnp.zeros((16, 32, 32, 3))
    params = shapes(32, (8, 8, 8, 8), 4, norm="group")["params"]
    pull = jax.eval_shape(
      lambda params: jax.vjp(
        lambda params: model.apply({"params": params}, images, train=True),
        params,
      )[1],
      params,
    )
    return size(pull) - size(params)

  assert kept(True) < kept(False) / 3


def test_it_embeds_on_the_unit_sphere():
  model = ResNet18(features=(4, 4, 8, 8), dimension=5)
  images = np.random.default_rng(0).random((3, 32, 32, 1), np.float32)
  found, _ = model.init_with_output(jax.random.key(0), images, train=False)
  assert found.shape == (3, 5)
  np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, rtol=1e-5)
  assert np.abs(found[0] - found[1]).max() > 1e-4
