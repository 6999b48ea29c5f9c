"""Small networks of ours, each beside the same one of PyTorch's."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import network_oracles as oracles
import numpy as np

from tripletjax.models import MODELS
from tripletjax.models.efficientnet import Stage
from tripletjax.pretrained import fit

STAGES = (
  (1, 3, 1, 1),
  (2, 3, 2, 6),
  (1, 5, 2, 6),
  (1, 3, 2, 6),
  (1, 5, 1, 6),
  (1, 5, 2, 6),
  (1, 3, 1, 6),
)


class Case(NamedTuple):
  """A network.

  Attributes:
    name: in `MODELS`.
    shape: of its images, `(H, W, C)`.
    fields: of ours.
    oracle: PyTorch's.
    keywords: of the oracle.
    mean, deviation: what the oracle's pixels are, of those in [0, 1].
    dimension: of what comes out.
  """

  name: str
  shape: tuple[int, int, int]
  fields: dict[str, Any]
  oracle: Any
  keywords: dict[str, Any]
  mean: Any = 0.5
  deviation: Any = 0.5
  dimension: int = 5

  def model(self):
    return MODELS[self.name](dimension=self.dimension, **self.fields)

  def images(self):
    rng = np.random.default_rng(0)
    return rng.random((2, *self.shape), np.float32)

  def expected(self, state, ops, wrap=lambda x: x):
    """The oracle's output; fills `state` with its weights."""
    x = (self.images() - np.float32(self.mean)) / np.float32(self.deviation)
    x = np.ascontiguousarray(x.transpose(0, 3, 1, 2))
    return self.oracle(state, ops, wrap(x), **self.keywords)

  def shapes(self):
    images = jax.ShapeDtypeStruct((1, *self.shape), jnp.float32)
    return jax.eval_shape(
      lambda key, x: self.model().init(key, x, train=False),
      jax.random.key(0),
      images,
    )

  def found(self, weights):
    """Ours, with the weights."""
    shapes = self.shapes()

    def path(keys):
      return jax.tree_util.keystr(keys[1:], simple=True, separator="/")

    leaves = jax.tree_util.tree_leaves_with_path(shapes)
    fitted = fit(
      weights,
      {path(keys): leaf.shape for keys, leaf in leaves},
      network=self.name,
      ignore="",
      grid=self.model().grid(self.shape),
    )
    assert fitted.fresh == ()
    variables = jax.tree_util.tree_map_with_path(
      lambda keys, _: fitted.arrays[path(keys)], shapes
    )
    run = jax.jit(lambda v, x: self.model().apply(v, x, train=False))
    return np.asarray(run(variables, self.images()))


def resnet(name, depths, bottleneck):
  return Case(
    name,
    (128, 131, 3),
    {"features": (4, 4, 8, 8), "normalize": False, "pixels": "imagenet"},
    oracles.resnet,
    {
      "widths": (4, 4, 8, 8),
      "depths": depths,
      "bottleneck": bottleneck,
      "classes": 5,
    },
    (0.485, 0.456, 0.406),
    (0.229, 0.224, 0.225),
  )


WIDTHS = (4, 4, 6, 8, 8, 8, 12, 12, 16)
CASES = {
  "resnet18": resnet("resnet18", (2, 2, 2, 2), False),
  "resnet50": resnet("resnet50", (3, 4, 6, 3), True),
  "efficientnet_lite0": Case(
    "efficientnet_lite0",
    (37, 50, 3),
    {
      "features": WIDTHS,
      "stages": tuple(Stage(*stage) for stage in STAGES),
      "normalize": False,
      "pixels": "lite",
    },
    oracles.efficientnet_lite,
    {"widths": WIDTHS, "stages": STAGES, "classes": 5},
    127 / 255,
    128 / 255,
  ),
  "inception_resnet_v1": Case(
    "inception_resnet_v1",
    (79, 83, 3),
    {
      "features": (4,),
      "depths": (1, 2, 1),
      "pixels": "facenet",
      "head": "linear_norm",
    },
    oracles.inception_resnet_v1,
    {"base": 4, "depths": (1, 2, 1), "dimension": 5},
    127.5 / 255,
    128 / 255,
  ),
  "vit_s16": Case(
    "vit_s16",
    (12, 8, 3),
    {
      "features": (128,),
      "depth": 2,
      "patch": 4,
      "normalize": False,
      "pixels": "symmetric",
    },
    oracles.vit,
    {"width": 128, "depth": 2, "heads": 2, "patch": 4, "classes": 5},
  ),
}
