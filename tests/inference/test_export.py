"""A finished run as a file that needs nothing of it."""

import contextlib
import importlib.util
import json
import os
import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import prepared_sets
import pytest
from tiny_runs import STEP, make_run, tiny_config, variables_of

from tripletjax import Embedder, UserError, pairwise_distance
from tripletjax.inference import export, export_folder
from tripletjax.inference.export import export_run
from tripletjax.inference.export_card import model_card
from tripletjax.inference.export_formats import FORMATS, open_network
from tripletjax.inference.exported import load_embedder, load_exported
from tripletjax.models import MODELS
from tripletjax.safetensors_files import read_safetensors, write_safetensors
from tripletjax.training import finished

HAS_ONNX = all(
  importlib.util.find_spec(name) for name in FORMATS["onnx"].writes_with
)
# jax2onnx alone takes 8 seconds to import.
ONNX = [
  pytest.mark.slow,
  pytest.mark.skipif(
    not HAS_ONNX, reason="no jax2onnx: pip install 'tripletjax[onnx]'"
  ),
]
KINDS = [
  pytest.param(kind, marks=ONNX if kind == "onnx" else ()) for kind in FORMATS
]
SUMMARY = {
  "steps": STEP,
  "trained": {"recall@1": 0.875, "map@r": None, "threshold": 0.25},
  "untrained": {"recall@1": 0.5, "map@r": 0.125, "threshold": 0.5},
}


@contextlib.contextmanager
def others_code():
  """What isn't ours promotes types and ranks, and warns."""
  with (
    jax.numpy_dtype_promotion("standard"),
    jax.numpy_rank_promotion("allow"),
  ):
    yield


@pytest.fixture(scope="module")
def run(tmp_path_factory):
  folder = tmp_path_factory.mktemp("export") / "a run"
  config = tiny_config()
  config.data.invert = True
  make_run(folder, config, summary=SUMMARY)
  return folder


@pytest.fixture(scope="module")
def folders(run, tmp_path_factory):
  """Format -> the folder of an export."""
  made = {}

  def get(kind):
    if kind not in made:
      folder = tmp_path_factory.mktemp("exports") / kind
      with others_code():
        export_run(run, format=kind, output=folder)
      made[kind] = folder
    return made[kind]

  return get


def pictures(count, shape=(12, 10, 1)):
  rng = np.random.default_rng(count)
  return rng.integers(0, 256, (count, *shape), dtype=np.uint8)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["stablehlo", "flax", "onnx"])
def test_views_are_in_it_or_it_is_refused(kind, tmp_path):
  if kind == "onnx" and not HAS_ONNX:
    pytest.skip("no jax2onnx: pip install 'tripletjax[onnx]'")
  config = tiny_config()
  config.augment.translation, config.evaluation.views = 0.2, 3
  make_run(tmp_path / "run", config, summary=SUMMARY)
  with others_code():
    if kind == "onnx":
      with pytest.raises(UserError, match=r"evaluation.views=3.*stablehlo"):
        export_run(tmp_path / "run", format=kind, output=tmp_path / kind)
      assert not (tmp_path / kind).exists()
      return
    export_run(tmp_path / "run", format=kind, output=tmp_path / kind)
    images = pictures(3)
    found = load_exported(tmp_path / kind).embed(list(images))
    expected = Embedder.load(tmp_path / "run").embed(list(images))
    config.evaluation.views = 1
    make_run(tmp_path / "plain", config, summary=SUMMARY)
    plain = Embedder.load(tmp_path / "plain").embed(list(images))
  np.testing.assert_allclose(found, expected, atol=1e-5)
  assert np.abs(found - plain).max() > 1e-3


@pytest.mark.parametrize("kind", KINDS)
def test_it_embeds_as_the_run_does(kind, run, folders):
  embedder = Embedder.load(run)
  model = load_exported(folders(kind))
  assert model.image_shape == embedder.image_shape == (12, 10, 1)
  assert model.dimension == 6
  assert model.distance == embedder.distance
  assert model.invert
  assert model.threshold == 0.25
  # Bytes, an array of another size, and one of its own.
  images = [
    prepared_sets.encode(pictures(1, (40, 30, 1))[0, ..., 0]),
    pictures(2, (9, 9, 3))[0],
    pictures(3)[0],
  ]
  expected, found = embedder.embed(images), model.embed(images, batch_size=2)
  assert found.shape == (3, 6)
  np.testing.assert_allclose(found, expected, atol=1e-5)
  np.testing.assert_array_equal(model.read(images[0]), embedder.read(images[0]))
  np.testing.assert_allclose(
    model.distances(found, found[:2]),
    pairwise_distance(expected, expected[:2], distance=model.distance),
    atol=1e-4,
  )


@pytest.mark.parametrize("kind", KINDS)
def test_the_card_says_how_to_use_it(kind, folders, monkeypatch):
  folder = folders(kind)
  card = (folder / "README.md").read_text()
  assert "# a run" in card
  assert "uint8 `[batch, 12, 10, 1]`" in card
  assert "**Inverted**" in card
  assert "at most **0.25**" in card
  assert "| recall@1 | 0.500 | 0.875 |" in card
  assert "| map@r | 0.125 | - |" in card
  assert "30 images of 5 identities" in card
  first, second = re.findall(r"```python\n(.*?)```", card, re.DOTALL)
  assert len([line for line in first.splitlines() if line]) <= 6
  monkeypatch.chdir(folder)
  names = {}
  exec(first, names)  # as it stands there
  assert names["embeddings"].shape == (2, 6)
  for name in ("a.jpg", "b.jpg"):
    Path(name).write_bytes(prepared_sets.picture(9))
  exec(second, names)
  for name in ("a.jpg", "b.jpg"):
    os.remove(name)
  assert names["distances"].shape == (2, 2)


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_of_this_machine_is_in_it(kind, run, folders):
  for path in folders(kind).iterdir():
    found = path.read_bytes()
    for place in (run.parent, Path(export.__file__).parents[2], Path.home()):
      assert str(place).encode() not in found, path


def test_what_the_metadata_says(folders):
  metadata = json.loads((folders("stablehlo") / "metadata.json").read_text())
  assert metadata["image"] == {
    "height": 12, "width": 10, "channels": 1, "dtype": "uint8",
    "layout": "NHWC", "inverted": True, "frame": "", "ink": False,
    "resize": "bilinear, antialiased, aspect not kept",
  }  # fmt: skip
  # Two convolutions of 3 x 3 and their norms, and a Dense on 3 x 3 x 8.
  count = 9 * 4 + 2 * 4 + 9 * 4 * 8 + 2 * 8 + 9 * 8 * 6 + 6
  assert metadata["parameters"] == count
  assert metadata["check"]["largest_difference"] <= 1e-5
  assert metadata["run"] == {"name": "a run", "step": STEP}


def test_a_program_is_for_all_platforms_and_batches(folders):
  from jax import export as jax_export

  data = (folders("stablehlo") / "model.stablehlo").read_bytes()
  program = jax_export.deserialize(bytearray(data))
  assert program.platforms == ("cpu", "cuda", "tpu")
  ((image,), (embedding,)) = program.in_avals, program.out_avals
  assert str(image.shape) == "(b, 12, 10, 1)"
  assert image.dtype == jnp.uint8
  assert str(embedding.shape) == "(b, 6)"
  for count in (1, 7):
    assert program.call(pictures(count)).shape == (count, 6)


@pytest.mark.slow
@pytest.mark.skipif(not HAS_ONNX, reason="no jax2onnx")
def test_onnx_has_its_weights_and_any_batch(folders):
  import onnx

  path = folders("onnx") / "model.onnx"
  model = onnx.load(path, load_external_data=False)
  onnx.checker.check_model(model)
  assert all(not w.external_data for w in model.graph.initializer)
  (image,), (embedding,) = model.graph.input, model.graph.output
  assert (image.name, embedding.name) == ("images", "embeddings")
  sizes = image.type.tensor_type.shape.dim
  assert [x.dim_value for x in sizes] == [0, 12, 10, 1]
  assert image.type.tensor_type.elem_type == onnx.TensorProto.UINT8


def test_weights_are_a_run_without_its_folder(run, folders):
  folder = folders("flax")
  metadata = json.loads((folder / "metadata.json").read_text())
  found = open_network(folder, metadata)
  theirs = Embedder.load(run).run
  assert found.step == theirs.step == STEP
  for ours, saved in (
    (found.params, theirs.params),
    (found.batch_stats, theirs.batch_stats),
  ):
    assert jax.tree.structure(ours) == jax.tree.structure(saved)
    jax.tree.map(np.testing.assert_array_equal, ours, saved)


def test_weights_are_an_embedder(run, folders):
  ours, theirs = (
    load_embedder(folders("flax"), batch_size=8),
    Embedder.load(run),
  )
  assert ours.fingerprint == theirs.fingerprint
  images = list(pictures(3))
  np.testing.assert_allclose(
    ours.embed(images), theirs.embed(images), atol=1e-6
  )
  with pytest.raises(
    UserError, match=r"expected an export of format flax, got s"
  ):
    load_embedder(folders("stablehlo"))


def test_what_is_not_equal_is_not_left(run, tmp_path, monkeypatch):
  write = FORMATS["flax"].write

  def broken(of, shape):
    first = jax.tree.map(lambda x: x + np.float32(0.01), of.params)
    return write(of._replace(params=first), shape)

  monkeypatch.setattr(
    export,
    "FORMATS",
    FORMATS | {"flax": FORMATS["flax"]._replace(write=broken)},
  )
  with pytest.raises(UserError, match=r"isn't equal to .*nothing was written"):
    export_run(run, format="flax", output=tmp_path / "out")
  assert not list(tmp_path.iterdir())


def test_nan_is_not_equal(run):
  loaded = Embedder.load(run)

  def forward(images):
    return np.full((len(images), 6), np.nan, np.float32)

  difference, tolerance = export.compare(loaded.run, forward, (12, 10, 1))
  assert not difference <= tolerance


def test_an_export_is_replaced_and_nothing_else(run, tmp_path):
  output = tmp_path / "out"
  output.mkdir()  # an empty one is as good as none
  export_run(run, format="flax", output=output)
  export_run(run, format="stablehlo", output=output)
  assert {path.name for path in output.iterdir()} == {
    "README.md", "manifest.json", "metadata.json", "model.stablehlo",
  }  # fmt: skip
  (output / "mine.txt").write_text("mine")
  with pytest.raises(UserError, match=r"an export and mine.txt"):
    export_run(run, format="flax", output=output)
  other = tmp_path / "other"
  other.mkdir()
  (other / "metadata.json").write_text("{}")
  with pytest.raises(UserError, match=r"holds something else than an export"):
    export_run(run, format="flax", output=other)
  with pytest.raises(UserError, match=r"is no folder"):
    export_run(run, format="flax", output=output / "mine.txt")
  assert (output / "mine.txt").read_text() == "mine"
  assert {path.name for path in tmp_path.iterdir()} == {"out", "other"}


def test_a_failed_swap_puts_the_old_one_back(run, tmp_path, monkeypatch):
  output = tmp_path / "out"
  export_run(run, format="flax", output=output)
  replace, calls = os.replace, []

  def failing(source, target):
    calls.append(target)
    if ".partial-" in str(source):
      raise OSError(28, "No space left on device")
    replace(source, target)

  monkeypatch.setattr(export_folder.os, "replace", failing)
  with pytest.raises(UserError, match=r"--output: can't write .*No space left"):
    export_run(run, format="stablehlo", output=output)
  assert load_exported(output).metadata["format"] == "flax"
  assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_damaged_export_is_refused(run, tmp_path):
  output = tmp_path / "out"
  export_run(run, format="flax", output=output)
  path = output / "model.safetensors"
  whole = bytearray(path.read_bytes())
  whole[-1] ^= 1
  path.write_bytes(whole)
  with pytest.raises(
    UserError, match=r"is damaged .model.safetensors has othe"
  ):
    load_exported(output)
  path.unlink()
  with pytest.raises(UserError, match=r"model\.safetensors is missing"):
    load_exported(output)
  with pytest.raises(UserError, match=r"no export in .*expected a metadata.js"):
    load_exported(tmp_path)


@pytest.mark.parametrize("kind", ["stablehlo", "onnx"])
def test_a_file_that_is_something_else_is_refused(kind, run, tmp_path):
  if kind == "onnx":
    pytest.importorskip("onnxruntime", reason="no onnxruntime")
  name = FORMATS[kind].file
  (tmp_path / name).write_bytes(b"no such thing" * 20)
  with pytest.raises(UserError, match=f"{name}: can't be read"):
    FORMATS[kind].open(tmp_path, {})


def test_a_later_version_is_refused(run, tmp_path):
  output = tmp_path / "out"
  export_run(run, format="flax", output=output)
  (output / "manifest.json").unlink()
  path = output / "metadata.json"
  path.write_text(path.read_text().replace('_export": 1', '_export": 2'))
  with pytest.raises(UserError, match=r"expected version 1 or less, got 2"):
    load_exported(output)
  path.write_text('{"tripletjax_export": 1, "format": "nope"}')
  with pytest.raises(UserError, match=r"expected the metadata of an export"):
    load_exported(output)


def test_a_missing_extra_is_named(run, tmp_path, monkeypatch):
  find = importlib.util.find_spec
  monkeypatch.setattr(
    importlib.util,
    "find_spec",
    lambda name: None if name == "jax2onnx" else find(name),
  )
  with pytest.raises(UserError) as caught:
    export_run(run, format="onnx", output=tmp_path / "out")
  assert str(caught.value) == (
    "--format=onnx: expected the package jax2onnx, which isn't installed: "
    "pip install 'tripletjax[onnx]'"
  )


def test_scores_of_another_step_are_not_shown(tmp_path):
  folder = tmp_path / "run"
  make_run(folder, summary={**SUMMARY, "steps": STEP + 1})
  embedder = Embedder.load(folder)
  metadata = export.describe(embedder, "flax")
  assert metadata["scores"] is metadata["threshold"] is None
  metadata["check"] = {
    "largest_difference": 0.0, "tolerance": 1e-5, "batches": [1], "said": "",
  }  # fmt: skip
  card = model_card(metadata)
  assert "Not measured at this step." in card
  assert "The run has no threshold." in card
  evaluation = folder / "evaluation" / "summary.json"
  evaluation.parent.mkdir()
  evaluation.write_text(
    json.dumps({"step": STEP, "split": "lao", "trained": {"threshold": 0.5}})
  )
  metadata = export.describe(embedder, "flax")
  assert metadata["threshold"]["value"] == 0.5
  assert metadata["scores"]["split"] == "lao"
  kept = {
    "fingerprint": embedder.fingerprint, "split": "eval", "asked": 0.01,
    "value": 0.125, "far": 0.01, "tar": None, "same_pairs": 0,
    "different_pairs": 200, "data": "glyphs lao", "images": 21,
    "identities": 21,
  }  # fmt: skip
  others = [kept | {"fingerprint": "x", "value": 1.0}, kept | {"asked": 0.5}]
  (folder / "threshold.json").write_text(
    json.dumps({"thresholds": [*others, kept]})
  )
  threshold = export.describe(embedder, "flax")["threshold"]
  assert threshold == {
    "value": 0.125,
    "said": "false-accept rate 0.01 (2 of 200 different pairs), on glyphs lao",
  }


def test_ink_is_seen_in_what_was_measured(tmp_path):
  assert not export.shows_ink(tmp_path)
  path = tmp_path / "evaluation.npz"
  images = np.zeros((3, 8, 8, 1), np.uint8)
  images[:, 2:6, 2:6] = 255
  for array, is_ink in (
    (images, True),
    (255 - images, False),
    (np.repeat(images, 3, axis=-1), False),
    (images[:0], False),
  ):
    np.savez(path, images=array)
    assert export.shows_ink(tmp_path) is is_ink
  path.write_text("no archive")
  assert not export.shows_ink(tmp_path)


def test_names_do_not_become_markdown(tmp_path):
  config = tiny_config()
  config.data.train_split = "`x` <script> | [a](b)"
  config.loss.miner = "```"
  folder = tmp_path / "*run*"
  make_run(folder, config, summary=SUMMARY)
  export_run(folder, format="flax", output=tmp_path / "out")
  card = (tmp_path / "out" / "README.md").read_text()
  assert "# \\*run\\*" in card
  assert "\\`x\\` \\<script\\> \\| \\[a\\](b)" in card
  assert card.count("```") == 6


def tiny_network(name, **fields):
  """A config with a network of few channels."""
  stages = len(MODELS[name].WIDTHS)
  widths = (8,) * stages if stages else (4, 8)
  return tiny_config(name=name, features=widths, **fields)


def export_network(folder, config, shape, kind):
  make_run(folder / "run", config, shape)
  # One batch is half of the compiling.
  with others_code(), pytest.MonkeyPatch.context() as patch:
    patch.setattr(export, "BATCHES", (2,))
    found = export_run(folder / "run", format=kind, output=folder / "out")
  return found["check"]["largest_difference"]


PROGRAMS = [param for param in KINDS if "flax" not in param.values]


@pytest.mark.slow
@pytest.mark.parametrize("kind", PROGRAMS)
@pytest.mark.parametrize("name", MODELS)
def test_every_network_is_a_program(name, kind, tmp_path):
  # As large as its stem needs to be as it is for photographs.
  side = {"resnet18": 128, "inception_resnet_v1": 80, "vit_s16": 32}.get(name)
  shape = (side or 24, side or 20, 3)
  config = tiny_network(name, pixels="imagenet")
  assert export_network(tmp_path, config, shape, kind) <= 1e-5


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_every_network_is_weights(name, tmp_path):
  config, shape = tiny_network(name), (32, 32, 1)
  variables = variables_of(config, shape)
  variables = {"batch_stats": {}} | variables
  run = finished.FinishedRun(tmp_path, config, STEP, **variables)
  data = FORMATS["flax"].write(run, shape)
  (tmp_path / FORMATS["flax"].file).write_bytes(data)
  (tmp_path / "config.json").write_text(config.to_json())
  image = dict(zip(("height", "width", "channels"), shape, strict=True))
  found = open_network(tmp_path, {"image": image, "run": {"step": STEP}})
  for name, tree in variables.items():
    jax.tree.map(np.testing.assert_array_equal, tree, getattr(found, name))


@pytest.mark.slow
@pytest.mark.parametrize("kind", PROGRAMS)
@pytest.mark.parametrize(
  "fields",
  [
    {"norm": "group", "pooling": "gem", "dropout": 0.5},
    {"normalize": False, "head": "mlp", "remat": True},
    {"dtype": "bfloat16", "head": "linear_norm"},
  ],
  ids=str,
)
def test_every_way_is_a_program(fields, kind, tmp_path):
  config = tiny_network("resnet18", **fields)
  found = export_network(tmp_path, config, (16, 20, 1), kind)
  card = (tmp_path / "out" / "README.md").read_text()
  in_float32 = kind == "onnx" and "dtype" in fields
  assert ("compared, in float32" in card) == in_float32
  if "dtype" not in fields or in_float32:
    assert found <= 1e-4  # embeddings up to 10


def test_weights_are_written_as_they_are_read(tmp_path):
  arrays = {
    "a/b": np.arange(6, dtype=np.float32).reshape(2, 3),
    "c": np.array(7, np.int64),
    "d": np.array([True, False, True]),
    "e": np.zeros((0, 4), np.float16),
  }
  path = tmp_path / "x.safetensors"
  path.write_bytes(write_safetensors(arrays))
  found = read_safetensors(path)
  assert found.keys() == arrays.keys()
  for name, array in arrays.items():
    assert found[name].dtype == array.dtype
    np.testing.assert_array_equal(found[name], array)
  with pytest.raises(ValueError, match="expected x of bool, uint8, "):
    write_safetensors({"x": np.array(["text"])})
