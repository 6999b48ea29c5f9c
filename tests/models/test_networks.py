"""Laws of all networks: shapes, sizes, devices, numbers, what they cost."""

import functools
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec

from tripletjax.errors import UserError
from tripletjax.models import HEADS, MODELS, NORMS, PIXELS, POOLINGS
from tripletjax.models.cost import network_cost
from tripletjax.models.efficientnet import STAGES

# Small enough to be compiled here; every kind of layer is still there.
TINY = {
  "convnet": {"features": (4, 8)},
  "convnet_fine": {"features": (4, 4, 8)},
  "convnet4": {"features": (4, 4, 4, 4)},
  "resnet18": {"features": (4, 4, 8, 8)},
  "resnet50": {"features": (4, 4, 4, 4)},
  "efficientnet_lite0": {
    "features": (4, 4, 4, 4, 8, 8, 8, 8, 8),
    "stages": tuple(stage._replace(depth=1) for stage in STAGES),
  },
  "inception_resnet_v1": {"features": (2,), "depths": (1, 1, 1)},
  "vit_s16": {"features": (8,), "depth": 1, "patch": 8},
}
SIDE = 20


def tiny(name, **fields):
  return MODELS[name](dimension=6, **{**TINY[name], **fields})


def images(side=(SIDE, 17), channels=3, count=4, seed=0):
  rng = np.random.default_rng(seed)
  return rng.random((count, *side, channels), np.float32)


@functools.cache
def start(name, **fields):
  """Variables at random: to draw them needs no compiler."""
  model, rng = tiny(name, **fields), np.random.default_rng(0)
  shapes = jax.eval_shape(
    lambda key, x: model.init(key, x, train=False),
    jax.random.key(0),
    images(count=1),
  )

  def drawn(keys, leaf):
    kind = keys[-1].key
    if kind in ("scale", "var", "power"):
      return jnp.asarray(rng.uniform(0.5, 1.5, leaf.shape), jnp.float32)
    fan = np.prod(leaf.shape[:-1]) if kind == "kernel" else 25
    return jnp.asarray(rng.normal(size=leaf.shape) / fan**0.5, jnp.float32)

  return jax.tree_util.tree_map_with_path(drawn, shapes)


@functools.cache
def embed(name, **fields):
  model = tiny(name, **fields)
  return jax.jit(lambda v, x: model.apply(v, x, train=False))


def test_every_network_has_its_tiny_one():
  assert set(TINY) == set(MODELS)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize(
  ("side", "channels", "dtype"),
  [
    ((1, 1), 1, jnp.float32),
    ((28, 28), 1, jnp.bfloat16),
    ((105, 80), 4, jnp.float32),
  ],
)
def test_any_size_and_channels_give_float32(name, side, channels, dtype):
  model = tiny(name, dtype=dtype, pixels="imagenet")
  x = jax.ShapeDtypeStruct((3, *side, channels), jnp.float32)
  found, variables = jax.eval_shape(
    lambda key, x: model.init_with_output(key, x, train=False),
    jax.random.key(0),
    x,
  )
  assert (found.shape, found.dtype) == ((3, 6), jnp.float32)
  assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {
    jnp.dtype("float32")
  }


@pytest.mark.parametrize("name", MODELS)
def test_embeddings_are_of_unit_length_and_of_each_image_alone(name):
  x = images()
  found = np.asarray(embed(name)(start(name), x))
  np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, rtol=1e-5)
  assert np.abs(found[0] - found[1]).max() > 1e-5
  # Other images around it: the same embedding.
  others = np.concatenate([x[:1], images(count=3, seed=1)])
  again = np.asarray(embed(name)(start(name), others))
  np.testing.assert_allclose(again[0], found[0], rtol=1e-5, atol=1e-6)
  assert np.abs(again[1] - found[1]).max() > 1e-6


@pytest.mark.parametrize("name", MODELS)
def test_embeddings_are_not_normalised_where_not_asked_for(name):
  x = images()
  raw = np.asarray(embed(name, normalize=False)(start(name), x))
  unit = np.asarray(embed(name)(start(name), x))
  norms = np.linalg.norm(raw, axis=1, keepdims=True)
  assert np.abs(norms - 1).max() > 1e-2
  np.testing.assert_allclose(raw / norms, unit, rtol=1e-4, atol=1e-5)


def train_numbers(name, axis_name=None, **fields):
  """`(variables, images, keys) -> loss, gradients, updated statistics`."""
  model = tiny(name, axis_name=axis_name, **fields)
  weights = jnp.arange(1, 7, dtype=jnp.float32)

  def run(variables, x, keys):
    def loss(params):
      found, updates = model.apply(
        {**variables, "params": params},
        x,
        train=True,
        keys=keys,
        mutable=["batch_stats"],
      )
      value = jnp.mean(found @ weights)
      if axis_name:
        value = jax.lax.pmean(value, axis_name)
      return value, updates

    (value, updates), gradients = jax.value_and_grad(loss, has_aux=True)(
      variables["params"]
    )
    if axis_name:
      gradients = jax.lax.pmean(gradients, axis_name)
    return value, gradients, updates

  return run


def close(found, expected):
  """Equal to rounding, of the largest number of each array."""
  for ours, other in zip(
    jax.tree.leaves(found), jax.tree.leaves(expected), strict=True
  ):
    atol = 1e-3 * np.abs(other).max() + 2e-5
    np.testing.assert_allclose(ours, other, rtol=0, atol=atol)


def kinds(*slow):
  """One that is cheap to compile, and those that only CI waits for."""
  return ["convnet4", *(pytest.param(x, marks=pytest.mark.slow) for x in slow)]


@pytest.mark.parametrize(
  "name", kinds("resnet18", "efficientnet_lite0", "vit_s16")
)
def test_four_devices_are_one(name):
  # BatchNorm over all images, dropout by the keys of each.
  variables, x = start(name), images(count=8)
  keys = jax.random.split(jax.random.key(1), 8)
  expected = jax.jit(train_numbers(name, dropout=0.3))(variables, x, keys)
  mesh = jax.make_mesh(
    (4,), ("d",), axis_types=(jax.sharding.AxisType.Auto,),
    devices=jax.devices()[:4],
  )  # fmt: skip
  rows, whole = PartitionSpec("d"), PartitionSpec()
  found = jax.jit(
    jax.shard_map(
      train_numbers(name, axis_name="d", dropout=0.3),
      mesh=mesh,
      in_specs=(whole, rows, rows),
      out_specs=whole,
      check_vma=False,
    )
  )(variables, x, keys)
  assert all(np.isfinite(x).all() for x in jax.tree.leaves(found))
  close(found, expected)


@pytest.mark.parametrize("name", kinds("efficientnet_lite0", "vit_s16"))
def test_remat_changes_no_number_and_no_name(name):
  variables, x = start(name), images()
  keys = jax.random.split(jax.random.key(1), 4)
  plain = jax.jit(train_numbers(name))(variables, x, keys)
  again = jax.jit(train_numbers(name, remat=True))(variables, x, keys)
  assert jax.tree.structure(plain) == jax.tree.structure(again)
  close(again, plain)


@pytest.mark.parametrize("name", kinds("efficientnet_lite0", "vit_s16"))
def test_jit_is_eager(name):
  model, x = tiny(name), images(count=2)
  eager = model.apply(start(name), x, train=False)
  np.testing.assert_allclose(
    embed(name)(start(name), x), eager, rtol=1e-4, atol=1e-5
  )


@pytest.mark.parametrize(
  "name", kinds("efficientnet_lite0", "inception_resnet_v1")
)
def test_frozen_statistics_are_used_and_stay(name):
  variables, x = start(name), images()
  model = tiny(name, norm_frozen=True)
  found, updates = jax.jit(
    lambda v, x: model.apply(v, x, train=True, mutable=["batch_stats"])
  )(variables, x)
  np.testing.assert_allclose(
    found, embed(name)(variables, x), rtol=1e-5, atol=1e-6
  )
  for ours, before in zip(
    jax.tree.leaves(updates),
    jax.tree.leaves(variables.get("batch_stats", {})),
    strict=True,
  ):
    np.testing.assert_array_equal(ours, before)


@pytest.mark.parametrize("name", kinds("efficientnet_lite0", "vit_s16"))
def test_bfloat16_is_near_float32(name):
  variables, x = start(name), images()
  exact = np.asarray(embed(name)(variables, x))
  near = np.asarray(embed(name, dtype=jnp.bfloat16)(variables, x))
  assert (exact * near).sum(1).min() > 0.98
  assert np.abs(exact - near).max() > 1e-6


@pytest.mark.parametrize("name", kinds("inception_resnet_v1"))
def test_group_norm_needs_no_batch(name):
  fields = {"norm": "group", "head": "linear_norm"}
  variables, x = start(name, **fields), images()
  assert "batch_stats" not in variables
  model = tiny(name, **fields)
  train = jax.jit(lambda v, x: model.apply(v, x, train=True))
  np.testing.assert_allclose(
    train(variables, x), embed(name, **fields)(variables, x), rtol=1e-5
  )


def sizes(model, shape):
  variables = jax.eval_shape(
    lambda key, x: model.init(key, x, train=False),
    jax.random.key(0),
    jax.ShapeDtypeStruct((1, *shape), jnp.float32),
  )
  return sum(x.size for x in jax.tree.leaves(variables["params"]))


@pytest.mark.parametrize(
  ("name", "side", "head", "dimension", "published"),
  [
    # torchvision's resnet18 and resnet50, the latter without its last layer;
    ("resnet18", 224, "linear", 1000, 11_689_512),
    ("resnet50", 224, "linear", 1000, 23_508_032 + 2048 * 1000 + 1000),
    # of EfficientNet-Lite0's own table, 4.65 M;
    ("efficientnet_lite0", 224, "linear", 1000, 4_652_008),
    # facenet-pytorch's InceptionResnetV1; timm's vit_small_patch16_224.
    ("inception_resnet_v1", 160, "linear_norm", 512, 23_482_624),
    ("vit_s16", 224, "linear", 1000, 22_050_664),
  ],
)
def test_the_number_of_parameters_is_the_published_one(
  name, side, head, dimension, published
):
  model = MODELS[name](features=(), dimension=dimension, head=head)
  assert sizes(model, (side, side, 3)) == published


def test_the_few_shot_network_by_arithmetic():
  # As the papers have it: 3 x 3 x 64 and a norm four times; 84 pixels to 5.
  layers = 9 * 3 * 64 + 3 * 9 * 64 * 64 + 4 * 2 * 64
  model = MODELS["convnet4"](features=(), dimension=64)
  assert sizes(model, (84, 84, 3)) == layers + 5 * 5 * 64 * 64 + 64


@pytest.mark.parametrize(
  ("name", "side", "giga"),
  # Multiplications with an addition, in 10^9, as torchvision's and timm's
  # tables have them.
  [("resnet18", 224, 1.81), ("resnet50", 224, 4.09), ("vit_s16", 224, 4.6)],
)
def test_flops_are_the_published_ones(name, side, giga):
  model = MODELS[name](features=(), dimension=1000)
  cost = network_cost(model, (side, side, 3))
  np.testing.assert_allclose(cost.flops / 2e9, giga, rtol=4e-3)


def test_flops_by_arithmetic():
  model = MODELS["convnet4"](features=(4, 8, 8, 8), dimension=5)
  cost = network_cost(model, (8, 6, 3))
  # 8 x 6, 4 x 3, 2 x 1 and 1 x 1 pixels.
  products = 48 * 9 * 3 * 4 + 12 * 9 * 4 * 8 + (2 + 1) * 9 * 8 * 8 + 8 * 5
  assert cost.flops == 2 * products
  assert cost.parameters == sizes(model, (8, 6, 3))


def test_flops_of_a_depthwise_convolution():
  one = TINY["efficientnet_lite0"]["stages"][0]._replace(size=5)
  model = MODELS["efficientnet_lite0"](
    features=(4, 6, 7), dimension=5, stages=(one,)
  )
  # 8 x 8 pixels to 4 x 4: stem, depthwise, project, last; the head.
  products = 16 * (9 * 3 * 4 + 25 * 4 + 4 * 6 + 6 * 7) + 7 * 5
  assert network_cost(model, (8, 8, 3)).flops == 2 * products
  assert network_cost(model.clone(remat=True), (8, 8, 3)).flops == 2 * products


class Bare(MODELS["convnet4"]):
  """A network without a trunk, which keeps what a trunk would get."""

  def trunk(self, x, widths, shared):
    self.sow("intermediates", "seen", x)
    return x


@pytest.mark.parametrize("pooling", POOLINGS)
def test_pooling_by_arithmetic(pooling):
  x = np.arange(1, 13, dtype="f4").reshape(1, 2, 3, 2)
  net = Bare((), 6, normalize=False, pooling=pooling)
  variables = net.init(jax.random.key(0), x, train=False)
  values = x[0].reshape(6, 2)
  expected = {
    "average": values.mean(0),
    "gem": (values**3).mean(0) ** (1 / 3),
    "flatten": values.reshape(-1),
    "places": values,
  }[pooling]
  head = jax.tree.map(np.asarray, variables["params"]["Dense_0"])
  if pooling == "places":  # a dimension at each of the six
    assert head["kernel"].shape == (2, 1)
  np.testing.assert_allclose(
    net.apply(variables, x, train=False)[0],
    (expected @ head["kernel"] + head["bias"]).reshape(-1),
    rtol=1e-5,
  )


@pytest.mark.parametrize("head", HEADS)
def test_a_head_sees_each_place_by_itself(head):
  x = np.random.default_rng(0).normal(size=(4, 2, 3, 5)).astype("f4")
  net = Bare((), 12, normalize=False, pooling="places", head=head)
  variables = net.init(jax.random.key(0), x, train=False)
  one = net.clone(dimension=2, pooling="average")
  alone = [
    one.apply(variables, x[:, i : i + 1, j : j + 1], train=False)
    for i in range(2)
    for j in range(3)
  ]
  np.testing.assert_allclose(
    net.apply(variables, x, train=False),
    np.concatenate(alone, axis=1),
    rtol=1e-5,
    atol=1e-6,
  )


def test_places_that_a_dimension_has_no_whole_part_for():
  net = Bare((), 8, pooling="places")
  with pytest.raises(UserError, match=r"model\.dimension: .* of 6, .* got 8"):
    net.init(jax.random.key(0), np.zeros((1, 2, 3, 2), "f4"), train=False)


@pytest.mark.parametrize(
  ("name", "places"), [("convnet", 4), ("convnet_fine", 49)]
)
def test_a_fine_network_halves_twice(name, places):
  def made(dimension):
    net = MODELS[name]((4, 4, 4, 5), dimension, pooling="places")
    return jax.eval_shape(
      lambda key, x: net.init(key, x, train=False)["params"],
      jax.random.key(0),
      jax.ShapeDtypeStruct((1, 28, 28, 1), jnp.float32),
    )

  assert made(places * 3)["Dense_0"]["kernel"].shape == (5, 3)
  with pytest.raises(UserError, match=f"multiple of {places},"):
    made(places + 1)


@pytest.mark.parametrize(
  ("name", "channels", "expected"),
  [
    ("unit", 3, [0.0, 0.5, 1.0]),
    ("symmetric", 3, [-1.0, 0.0, 1.0]),
    (
      "imagenet",
      3,
      [-0.485 / 0.229, (0.5 - 0.456) / 0.224, (1 - 0.406) / 0.225],
    ),
    ("imagenet", 1, [-0.449 / 0.226]),
    ("lite", 3, [-127 / 128, 0.5 / 128, 1.0]),
    ("facenet", 3, [-127.5 / 128, 0.0, 127.5 / 128]),
  ],
)
def test_pixels_by_arithmetic(name, channels, expected):
  x = np.array([0.0, 0.5, 1.0], "f4")[None, None, None, :channels]
  net = Bare((), 2, pixels=name)
  _, found = net.init_with_output(
    jax.random.key(0), x, train=False, mutable=["params", "intermediates"]
  )
  (seen,) = found["intermediates"]["seen"]
  np.testing.assert_allclose(seen[0, 0, 0], expected, rtol=1e-4, atol=1e-6)


def test_every_choice_is_tested():
  assert set(PIXELS) == {"unit", "symmetric", "imagenet", "lite", "facenet"}
  assert set(POOLINGS) == {"average", "gem", "flatten", "places"}
  assert set(HEADS) == {"linear", "mlp", "linear_norm"}
  assert set(NORMS) == {"batch", "group"}


def test_heads_by_arithmetic():
  # The last block has 4 channels; 20 x 17 pixels to 10 x 9.
  wide, found = 10 * 9 * 4, {}
  for head in HEADS:
    model = MODELS["convnet"]((4,), 2, head=head)
    params = jax.eval_shape(
      lambda key, x, model=model: model.init(key, x, train=False),
      jax.random.key(0),
      images(),
    )["params"]
    found[head] = {
      name: {part: leaf.shape for part, leaf in params[name].items()}
      for name in params
      if name not in ("Conv_0", "BatchNorm_0")
    }
  assert found["linear"] == {"Dense_0": {"kernel": (wide, 2), "bias": (2,)}}
  assert found["mlp"] == {
    "Dense_0": {"kernel": (wide, 8), "bias": (8,)},
    "Dense_1": {"kernel": (8, 2), "bias": (2,)},
  }
  assert found["linear_norm"] == {
    "Dense_0": {"kernel": (wide, 2)},
    "BatchNorm_1": {"scale": (2,), "bias": (2,)},
  }


def test_the_hidden_layer_of_an_mlp_is_bent():
  x = np.random.default_rng(0).normal(size=(4, 1, 1, 3)).astype("f4")
  net = Bare((), 2, normalize=False, head="mlp")
  variables = net.init(jax.random.key(0), x, train=False)
  first, second = (
    jax.tree.map(np.asarray, variables["params"][f"Dense_{i}"]) for i in (0, 1)
  )
  hidden = np.maximum(x[:, 0, 0] @ first["kernel"] + first["bias"], 0)
  np.testing.assert_allclose(
    net.apply(variables, x, train=False),
    hidden @ second["kernel"] + second["bias"],
    rtol=1e-4,
    atol=1e-6,
  )


@pytest.mark.slow
def test_the_table_of_the_documentation_is_what_is_measured():
  from tripletjax.training.network import networks_table

  page = Path(__file__).parent.parent.parent / "docs" / "models.md"
  assert networks_table((64, 64, 3), dimension=128) in page.read_text()
