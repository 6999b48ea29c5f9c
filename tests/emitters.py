"""Which of XLA's emitters compile: the old ones are twice as fast at it."""

import os

from jaxlib import version

# Another version may not know the flag, and would end.
_KNOWN = version.__version__.startswith("0.10.")
OLD_EMITTERS = "--xla_cpu_use_fusion_emitters=false" if _KNOWN else ""
# What users run, where memory is measured: it is the emitters' layout.
NEW_EMITTERS = {"xla_cpu_use_fusion_emitters": True} if _KNOWN else {}


def new_emitters(devices, cache):
  """Environment of a process with so many devices, and users' emitters.

  It keeps what it compiled in the folder `cache`.
  """
  return {
    **os.environ,
    "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}",
    "JAX_COMPILATION_CACHE_DIR": str(cache),
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
  }
