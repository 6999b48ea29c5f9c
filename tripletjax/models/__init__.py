"""Embedding networks: images in, embeddings out."""

from __future__ import annotations

from collections.abc import Mapping

from tripletjax.models.convnet import ConvNet, ConvNet4, ConvNetFine
from tripletjax.models.efficientnet import EfficientNetLite0
from tripletjax.models.ends import HEADS, PIXELS, POOLINGS
from tripletjax.models.inception import InceptionResNetV1
from tripletjax.models.layers import DTYPES, NORMS
from tripletjax.models.network import EmbeddingNetwork
from tripletjax.models.resnet import ResNet18, ResNet50
from tripletjax.models.vit import ViTS16

MODELS: Mapping[str, type[EmbeddingNetwork]] = {
  "convnet": ConvNet,
  "convnet_fine": ConvNetFine,
  "convnet4": ConvNet4,
  "resnet18": ResNet18,
  "resnet50": ResNet50,
  "efficientnet_lite0": EfficientNetLite0,
  "inception_resnet_v1": InceptionResNetV1,
  "vit_s16": ViTS16,
}

__all__ = [
  "DTYPES",
  "HEADS",
  "MODELS",
  "NORMS",
  "PIXELS",
  "POOLINGS",
  "ConvNet",
  "ConvNet4",
  "ConvNetFine",
  "EfficientNetLite0",
  "EmbeddingNetwork",
  "InceptionResNetV1",
  "ResNet18",
  "ResNet50",
  "ViTS16",
]
