"""What a network costs: its parameters, and the products of one image."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn

from tripletjax.models.depthwise import NAME as DEPTHWISE


class Cost(NamedTuple):
  """The size of a network.

  Attributes:
    parameters: that are learned.
    flops: of embedding one image: two for each multiplication and addition of
      convolutions and matrix products, those with padding among them; nothing
      else is counted. Papers often count one for both.
  """

  parameters: int
  flops: int


def network_cost(model: nn.Module, image_shape: tuple[int, int, int]) -> Cost:
  """The size of a network, by shapes: nothing is computed or compiled.

  Args:
    model: an embedding network.
    image_shape: `(H, W, C)`.
  """
  images = jax.ShapeDtypeStruct((1, *image_shape), jnp.float32)
  variables = jax.eval_shape(
    lambda key, x: model.init(key, x, train=False), jax.random.key(0), images
  )
  program = jax.make_jaxpr(lambda v, x: model.apply(v, x, train=False))(
    variables, images
  )
  return Cost(
    sum(x.size for x in jax.tree.leaves(variables["params"])),
    2 * multiply_adds(program.jaxpr),
  )


def multiply_adds(program: Any) -> int:
  """Multiplications, each with an addition, of convolutions and products.

  Args:
    program: a jaxpr. Of branches the costliest one counts.
  """
  total = 0
  for equation in program.eqns:
    name, parameters = equation.primitive.name, equation.params
    if name == "conv_general_dilated":
      kernel = equation.invars[1].aval.shape
      outputs = kernel[parameters["dimension_numbers"].rhs_spec[0]]
      total += equation.outvars[0].aval.size * math.prod(kernel) // outputs
    elif name == "dot_general":
      (contracted, _), _ = parameters["dimension_numbers"]
      left = equation.invars[0].aval.shape
      total += equation.outvars[0].aval.size * math.prod(
        left[axis] for axis in contracted
      )
    elif parameters.get("name") == DEPTHWISE:
      taps = math.prod(equation.invars[1].aval.shape[:2])
      total += equation.outvars[0].aval.size * taps
    elif name == "cond":
      total += max(map(multiply_adds, _programs(parameters["branches"])))
    else:
      times = parameters["length"] if name == "scan" else 1
      total += times * sum(
        multiply_adds(inner)
        for value in parameters.values()
        for inner in _programs(value)
      )
  return total


def _programs(value: Any) -> Iterator[Any]:
  """The programs in a parameter of an equation."""
  if isinstance(value, tuple | list):
    for one in value:
      yield from _programs(one)
  elif hasattr(value, "jaxpr"):  # closed over its constants
    yield from _programs(value.jaxpr)
  elif hasattr(value, "eqns"):
    yield value
