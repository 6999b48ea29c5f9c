"""Embedding networks: images in, embeddings out."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from flax import linen as nn

from tripletjax.models.convnet import ConvNet
from tripletjax.models.layers import DTYPES, NORMS
from tripletjax.models.resnet import ResNet18

MODELS: Mapping[str, Callable[..., nn.Module]] = {
  "convnet": ConvNet,
  "resnet18": ResNet18,
}

__all__ = ["DTYPES", "MODELS", "NORMS", "ConvNet", "ResNet18"]
