"""Strict settings for every test: types, ranks, shapes, devices, warnings."""

import jax
from jaxtyping import install_import_hook

jax.config.update("jax_num_cpu_devices", 8)
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_numpy_dtype_promotion", "strict")
# Compiling is most of the time: results are the same but for rounding.
jax.config.update("jax_disable_most_optimizations", True)

# Shape annotations of the array layer are checked at every call.
install_import_hook(
  [
    "tripletjax.distances",
    "tripletjax.losses",
    "tripletjax.masks",
    "tripletjax.metrics",
    "tripletjax.miners",
    "tripletjax.reductions",
  ],
  "beartype.beartype",
)
