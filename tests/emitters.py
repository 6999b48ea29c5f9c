"""Which of XLA's emitters compile: the old ones are twice as fast at it."""

from jaxlib import version

# Another version may not know the flag, and would end.
_KNOWN = version.__version__.startswith("0.10.")
OLD_EMITTERS = "--xla_cpu_use_fusion_emitters=false" if _KNOWN else ""
# What users run, where memory is measured: it is the emitters' layout.
NEW_EMITTERS = {"xla_cpu_use_fusion_emitters": True} if _KNOWN else {}
