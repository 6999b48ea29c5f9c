"""One loss for many devices: `python -m tripletjax.benchmark.scaling_worker`.

Arguments: the loss's name, the size of the global batch, and the numbers of
devices, as 1,2,4. Prints a line of JSON: for each number `flops` and `bytes` of
one device, and bytes of its `collectives` by kind.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import jax
import jax.numpy as jnp

from tripletjax.benchmark.cases import known_losses
from tripletjax.benchmark.data import DIMENSION, Size, parse_size
from tripletjax.benchmark.scaling import collective_bytes
from tripletjax.losses import rows
from tripletjax.training import parallel


def compile_for(name: str, size: Size, count: int) -> jax.stages.Compiled:
  """Value and gradient by the embeddings on `count` devices; float32.

  Args:
    name: of a loss, as `known_losses` has them.
    size: of the global batch.
    count: number of devices.
  """
  loss_fn = known_losses()[name]

  def step(embeddings: jax.Array, labels: jax.Array, key: jax.Array) -> Any:
    return jax.value_and_grad(loss_fn)(
      embeddings, labels, key, axis_name=parallel.AXIS
    )

  run = parallel.data_parallel(
    step,
    parallel.local_devices()[:count],
    replicated=(2,),
    backend="shard_map",
  )
  shape = (count, size.batch // count)
  return run.lower(  # type: ignore[attr-defined]
    jax.ShapeDtypeStruct((*shape, DIMENSION), jnp.float32),
    jax.ShapeDtypeStruct(shape, jnp.int32),
    jax.eval_shape(jax.random.key, 0),
  ).compile()


def work(compiled: jax.stages.Compiled) -> dict[str, Any]:
  """What one device does, as XLA counts it: a loop's body once."""
  costs: Any = compiled.cost_analysis()
  return {
    "flops": costs["flops"],
    "bytes": costs["bytes accessed"],
    "collectives": collective_bytes(compiled.as_text() or ""),
  }


def main(name: str, size: str, devices: str) -> None:
  """Compiles one loss for each number of devices and prints its work."""
  # All rows in one block: of a loop over blocks one would be counted.
  rows.WHOLE = sys.maxsize
  counts = [int(count) for count in devices.split(",")]
  print(
    json.dumps(
      [
        {"devices": count, **work(compile_for(name, parse_size(size), count))}
        for count in counts
      ]
    )
  )


if __name__ == "__main__":
  main(*sys.argv[1:])
