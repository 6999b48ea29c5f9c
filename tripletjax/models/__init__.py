"""Embedding networks: images in, embeddings out."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from flax import linen as nn

from tripletjax.models.convnet import ConvNet
from tripletjax.models.layers import DTYPES, NORMS

MODELS: Mapping[str, Callable[..., nn.Module]] = {"convnet": ConvNet}

__all__ = ["DTYPES", "MODELS", "NORMS", "ConvNet"]
