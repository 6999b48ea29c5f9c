"""Small files such as a run writes; a picture is a filled square."""

import numpy as np


def squares(count):
  """Pictures `[count, 8, 8, 1]` with a filled 4x4 square in the middle."""
  images = np.zeros((count, 8, 8, 1), np.uint8)
  images[:, 2:6, 2:6] = 255
  return images


def evaluation_arrays():
  """Three classes of four points; point 8 of class 2 lies in class 0."""
  labels = np.repeat(np.arange(3, dtype=np.int32), 4)
  centres = np.array([[0, 0], [10, 0], [0, 10]], np.float32)
  embeddings = np.zeros((12, 4), np.float32)
  embeddings[:, :2] = centres[labels]
  embeddings[:, 2] = np.tile(np.array([0, 0.1, 0.3, 0.6], np.float32), 3)
  embeddings[8] = (-0.01, 0, 0, 0)
  return {
    "embeddings": embeddings,
    "labels": labels,
    "label_names": np.array(["U+0561", "3", "U+10D0"]),
    "images": squares(12),
  }


def triplet_arrays(count=5):
  return {
    "anchors": squares(count),
    "positives": squares(count),
    "negatives": squares(count),
    "distance_ap": np.linspace(0.1, 0.5, count, dtype=np.float32),
    "distance_an": np.full(count, 0.3, np.float32),
    "anchor_labels": np.array(["U+0561"] * count),
    "negative_labels": np.array(["3"] * count),
    "margin": np.float32(0.25),
    "miner": np.array("batch_hard"),
  }
