"""The model card: what a network is, for whoever gets the file alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tripletjax.errors import printable

# Of the scores, those that stand in the card where they were measured.
SCORES = (
  "recall@1",
  "map@r",
  "accuracy",
  "auc",
  "eer",
  "tar@far=1e-02",
  "tar@far=1e-03",
)
SPACES = ("raw_pixels", "untrained", "trained")

_USE = {
  "stablehlo": """\
from pathlib import Path
import numpy as np
from jax import export

model = export.deserialize(bytearray(Path("{file}").read_bytes()))
images = np.zeros((2, {shape}), np.uint8)
embeddings = np.asarray(model.call(images))  # float32 [2, {dimension}]""",
  "onnx": """\
import numpy as np
import onnxruntime

session = onnxruntime.InferenceSession("{file}")
images = np.zeros((2, {shape}), np.uint8)
(embeddings,) = session.run(None, {{"images": images}})""",
  "flax": """\
import numpy as np
from tripletjax.inference.exported import load_exported

model = load_exported(".")
images = np.zeros((2, {shape}), np.uint8)
embeddings = model.forward(images)  # float32 [2, {dimension}]""",
}
_ANY = """\
from tripletjax.inference.exported import load_exported

model = load_exported(".")
embeddings = model.embed(["a.jpg", "b.jpg"])  # files, bytes or arrays
distances = model.distances(embeddings, embeddings)"""
_ABOUT = {
  "stablehlo": "StableHLO, by `jax.export`, for cpu, cuda and tpu, of batches "
  "of any size",
  "onnx": "ONNX, by jax2onnx, of batches of any size, with the weights in it; "
  'input "images", output "embeddings"',
  "flax": "weights in safetensors, by names of flax, beside the `config.json` "
  "that the network is made from",
}


def model_card(metadata: Mapping[str, Any]) -> str:
  """The card as Markdown.

  Args:
    metadata: as in `metadata.json`.
  """
  kind = metadata["format"]
  parts = [
    f"# {_word(metadata['run']['name'])}",
    f"{_about_network(metadata)} `{metadata['file']}` is {_ABOUT[kind]}.",
    "## Images",
    *_images(metadata),
    "## Use",
    _code(
      _USE[kind].format(
        file=metadata["file"],
        shape=", ".join(map(str, _shape(metadata))),
        dimension=metadata["embedding"]["dimension"],
      )
    ),
    "With tripletjax installed, files of any size are read as in training:",
    _code(_ANY),
    "## Distances",
    *_distances(metadata),
    "## Data",
    *_data(metadata),
    "## Scores",
    *_scores(metadata),
    "## Equal to the run",
    _check(metadata),
    "## Config",
    *_config(metadata),
    "## Versions",
    ", ".join(f"{k} {_word(v)}" for k, v in metadata["versions"].items()) + ".",
  ]
  return "\n\n".join(parts) + "\n"


def _about_network(metadata: Mapping[str, Any]) -> str:
  model, embedding = metadata["model"], metadata["embedding"]
  return (
    f"An embedding network, {_word(model['name'])} of "
    f"{metadata['parameters']:,} parameters: an image to "
    f"{embedding['dimension']} numbers, so that images of one identity lie "
    f"near each other. Trained by tripletjax, step {metadata['run']['step']:,}."
  )


def _images(metadata: Mapping[str, Any]) -> list[str]:
  height, width, channels = _shape(metadata)
  colour = "grey" if channels == 1 else "red, green and blue"
  lines = [
    f"* uint8 `[batch, {height}, {width}, {channels}]`: height, width, "
    f"channels ({colour}), 0 to 255.",
    "* Resized to that size, bilinear and antialiased (Pillow's `BILINEAR`), "
    "whatever the aspect.",
    "* They aren't scaled before: division by 255, and what "
    f"`model.pixels={_word(metadata['model']['pixels'])}` says, is part of the "
    "network.",
  ]
  if metadata["image"]["inverted"]:
    lines.insert(
      1,
      "* **Inverted**: 255 - pixel of a picture with dark ink on white paper. "
      "The file doesn't do that; `load_exported` does.",
    )
  if metadata["image"].get("frame"):
    lines.insert(
      1,
      f"* **Framed** before that, by `{metadata['image']['frame']}`: the ink "
      "is moved to the middle and scaled. The file doesn't do that; "
      "`load_exported` does.",
    )
  if metadata["image"]["ink"]:
    lines.append(
      "* Light on dark: the images that it was measured on are drawn in white "
      "ink on black."
    )
  return ["\n".join(lines)]


def _distances(metadata: Mapping[str, Any]) -> list[str]:
  embedding = metadata["embedding"]
  sphere = (
    "Embeddings have length 1."
    if embedding["normalized"]
    else "Embeddings aren't normalised."
  )
  lines = [
    f"{sphere} The distance that it was trained with: "
    f"{_word(embedding['distance'])}."
  ]
  if threshold := metadata["threshold"]:
    lines.append(
      "Same identity where the distance is at most "
      f"**{threshold['value']:.6g}**: {_word(threshold['said'])}."
    )
  else:
    lines.append("The run has no threshold.")
  return lines


def _data(metadata: Mapping[str, Any]) -> list[str]:
  data = metadata["data"]
  said = f"Trained on {_word(data['name'])}, {_word(data['train'])}"
  if data.get("images"):
    said += f": {data['images']:,} images of {data['identities']:,} identities"
  return [f"{said}. Evaluated on {_word(data['eval'])}."]


def _scores(metadata: Mapping[str, Any]) -> list[str]:
  scores = metadata["scores"]
  if not scores:
    return ["Not measured at this step."]
  spaces = [space for space in SPACES if space in scores["spaces"]]
  rows = [
    [_word(name), *(_number(scores["spaces"][s].get(name)) for s in spaces)]
    for name in SCORES
    if any(name in scores["spaces"][space] for space in spaces)
  ]
  head = ["", *(space.replace("_", " ") for space in spaces)]
  lines = [head, ["---"] * len(head), *rows]
  table = "\n".join("| " + " | ".join(row) + " |" for row in lines)
  return [table, f"On {_word(scores['split'])}."]


def _check(metadata: Mapping[str, Any]) -> str:
  check = metadata["check"]
  said = (
    f"The largest difference from the run's own embeddings, over batches of "
    f"{', '.join(map(str, check['batches']))} random images, is "
    f"{check['largest_difference']:.1e} (allowed: {check['tolerance']:.0e})."
  )
  return f"{said} {check['said']}".rstrip()


def _config(metadata: Mapping[str, Any]) -> list[str]:
  lines = [
    f"{section}.{name} = {value!r}"
    for section in ("model", "loss")
    for name, value in metadata[section].items()
    if not isinstance(value, Mapping)
  ]
  text = "\n".join(printable(line) for line in lines)
  return [_code(text.replace("`", "'"), "")]


def _shape(metadata: Mapping[str, Any]) -> tuple[int, int, int]:
  image = metadata["image"]
  return image["height"], image["width"], image["channels"]


def _number(value: float | None) -> str:
  return "-" if value is None else f"{value:.3f}"


def _code(text: str, language: str = "python") -> str:
  return f"```{language}\n{text}\n```"


def _word(text: object) -> str:
  """Text from a file, without what Markdown would take for its own."""
  return "".join(
    f"\\{letter}" if letter in "\\`*<>[]|#" else letter
    for letter in printable(str(text))
  )
