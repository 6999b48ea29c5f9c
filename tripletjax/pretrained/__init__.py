"""Weights that others have trained: where they lie, what they are called."""

from __future__ import annotations

from tripletjax.pretrained.fitting import Fitted, fit
from tripletjax.pretrained.names import TORCH_NAMES
from tripletjax.pretrained.places import PACKAGES, read_weights

__all__ = ["PACKAGES", "TORCH_NAMES", "Fitted", "fit", "read_weights"]
