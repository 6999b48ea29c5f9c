"""A finished run as something that embeds images."""

import dataclasses
import json
import os
import shutil
import zipfile

import jax
import numpy as np
import pytest
from PIL import Image
from tiny_sets import EACH, IDENTITIES, SHAPE, noise_run, pixels

import tripletjax
from tripletjax import Embedder, UserError, pairwise_distance
from tripletjax.data.images import decode_image
from tripletjax.data.listing import list_loose
from tripletjax.inference.embedder import Embedder as Direct
from tripletjax.training.evaluated_set import open_set
from tripletjax.training.evaluation import embed_source
from tripletjax.training.finished import trained_state
from tripletjax.training.views import make_views

COUNT = IDENTITIES * EACH
ONE = jax.local_devices()[:1]


@pytest.fixture(scope="module")
def expected(lab, embedder):
  """What an evaluation of the run embeds the same images as."""
  source = open_set(embedder.config, lab / "data", "eval").source
  return embed_source(trained_state(embedder.run), source, ONE, batch_size=16)


def test_it_is_what_an_evaluation_embeds_bit_for_bit(embedder, expected):
  images = [pixels(number) for number in range(COUNT)]
  told = []
  found = embedder.embed(images, progress=told.append)
  np.testing.assert_array_equal(found, expected)
  assert found.dtype == np.float32
  assert told == [16, 16, 8]
  assert not np.allclose(found[0], found[1], atol=1e-3)


def test_all_kinds_of_images_are_the_same(lab, embedder, expected, tmp_path):
  root = lab / "images"
  paths = sorted(root.rglob("*.png"))
  with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
    for path in paths:
      archive.write(path, path.relative_to(root))
  for images in (
    paths,
    [str(path) for path in paths],
    [path.read_bytes() for path in paths],
    [pixels(number)[..., None] for number in range(COUNT)],
    np.stack([pixels(number)[..., None] for number in range(COUNT)]),
    np.stack([pixels(number) for number in range(COUNT)]),
    list_loose(str(root)).entries,
    list_loose(str(tmp_path / "a.zip")).entries,
  ):
    np.testing.assert_array_equal(embedder.embed(images), expected)


@pytest.mark.parametrize("count", [1, 3])
def test_batches_and_devices_make_no_difference(lab, expected, count):
  other = Embedder.load(
    lab / "run", batch_size=7, devices=jax.local_devices()[:count]
  )
  assert other.batch_size == {1: 7, 3: 9}[count]
  found = other.embed([pixels(number) for number in range(COUNT)])
  np.testing.assert_allclose(found, expected, atol=1e-6)


def test_images_become_what_the_run_was_trained_on(lab, tmp_path):
  run = noise_run(tmp_path / "run", shape=(6, 8, 3), invert=True)
  embedder = Embedder.load(run, devices=ONE)
  path = lab / "images" / "p0" / "00.png"
  encoded = path.read_bytes()
  read = embedder.read(path)
  wanted = 255 - decode_image(encoded, channels=3, size=(6, 8))
  assert read.shape == (6, 8, 3)
  np.testing.assert_array_equal(read, wanted)
  for image in (encoded, pixels(0), pixels(0)[..., None]):
    np.testing.assert_array_equal(embedder.read(image), wanted)
  # Arrays are taken as decoded files are, whatever their size.
  ready = 255 - wanted
  np.testing.assert_array_equal(embedder.read(ready), wanted)
  one = embedder.embed([path])
  np.testing.assert_array_equal(embedder.embed(ready[None]), one)
  np.testing.assert_array_equal(embedder.embed_read(wanted[None], count=1), one)


def test_colour_and_palettes_and_16_bits(embedder, tmp_path):
  colour = np.random.default_rng(0).integers(0, 256, (12, 10, 3), np.uint8)
  path = tmp_path / "a.png"
  Image.fromarray(colour).convert("P").save(path)
  grey = np.asarray(Image.open(path).convert("RGB").convert("L"))
  np.testing.assert_array_equal(embedder.read(path)[..., 0], grey)
  Image.fromarray(np.full((12, 10), 257 * 9, np.uint16)).save(path)
  assert (embedder.read(path) == 9).all()


def test_forward_is_pure(embedder, expected):
  images = np.stack([pixels(number)[..., None] for number in range(16)])
  forward = jax.jit(embedder.forward())
  np.testing.assert_allclose(forward(images), expected[:16], atol=1e-6)
  shape = jax.eval_shape(
    embedder.forward(), jax.ShapeDtypeStruct((3, *SHAPE), np.uint8)
  )
  assert (shape.shape, shape.dtype) == ((3, embedder.dimension), np.float32)


def test_several_views_are_those_of_an_evaluation(lab, embedder, expected):
  config = embedder.config.copy_and_resolve_references()
  config.evaluation.views = 3
  run = embedder.run._replace(config=config)
  several = Embedder.of_run(run, SHAPE, devices=ONE)
  source = open_set(config, lab / "data", "eval").source
  wanted = embed_source(
    trained_state(run), source, ONE, batch_size=16, views=make_views(config)
  )
  found = several.embed([pixels(number) for number in range(COUNT)])
  np.testing.assert_array_equal(found, wanted)
  assert not np.allclose(found, expected, atol=1e-4)
  images = np.stack([pixels(number)[..., None] for number in range(16)])
  forward = jax.jit(several.forward())
  np.testing.assert_allclose(forward(images), wanted[:16], atol=1e-5)


def test_distances_are_the_runs(embedder, expected, monkeypatch):
  from tripletjax.metrics import blocks

  wanted = pairwise_distance(expected, distance=embedder.distance)
  for tile in (blocks.TILE, 16):
    monkeypatch.setattr(blocks, "TILE", tile)
    found = embedder.distances(expected[:5], expected)
    np.testing.assert_allclose(found, wanted[:5], atol=1e-6)
  assert embedder.distances(expected[:0], expected).shape == (0, COUNT)


def test_what_is_known_of_the_run(lab, embedder):
  assert Direct is Embedder is tripletjax.Embedder
  assert embedder.workdir == lab / "run"
  assert embedder.step == 20
  assert embedder.image_shape == SHAPE
  assert embedder.dimension == 6
  assert embedder.distance == "squared_euclidean"
  with pytest.raises(AttributeError, match="no attribute 'Embeder'"):
    tripletjax.Embeder  # noqa: B018


def test_the_fingerprint_changes_with_what_changes_an_embedding(
  lab, embedder, tmp_path
):
  again = Embedder.load(lab / "run", batch_size=3, devices=ONE)
  assert again.fingerprint == embedder.fingerprint
  changed = jax.tree.map(lambda x: x, embedder.run.params)
  name = next(iter(changed))
  changed[name] = jax.tree.map(lambda x: x + np.float32(1e-3), changed[name])
  run = embedder.run
  others = [
    dataclasses.replace(embedder, run=run._replace(params=changed)),
    dataclasses.replace(embedder, image_shape=(13, 10, 1)),
  ]
  for field, value in (
    ("data.invert", True),
    ("loss.distance", "cosine"),
    ("model.normalize", False),
    ("evaluation.views", 3),
  ):
    config = run.config.copy_and_resolve_references()
    config.update_from_flattened_dict({field: value})
    others.append(
      dataclasses.replace(embedder, run=run._replace(config=config))
    )
  for field, value in (("model.remat", True), ("loss.margin", 9.0)):
    config = run.config.copy_and_resolve_references()
    config.update_from_flattened_dict({field: value})
    same = dataclasses.replace(embedder, run=run._replace(config=config))
    assert same.fingerprint == embedder.fingerprint
  prints = [other.fingerprint for other in (embedder, *others)]
  assert len(set(prints)) == len(prints)


def test_an_image_that_is_none_is_named(lab, embedder, tmp_path):
  bad = tmp_path / "b\x1b[31m.png"
  bad.write_bytes(b"hello")
  good = lab / "images" / "p0" / "00.png"
  with pytest.raises(UserError, match=r"b\\x1b\[31m.png can't be read: cannot"):
    embedder.embed([good, bad])
  with pytest.raises(UserError, match="image 1 can't be read: "):
    embedder.embed([good, b""])
  with pytest.raises(UserError, match=r"image 0 .* expected uint8 pixels"):
    embedder.embed([np.zeros((12, 10), np.float32)])
  with pytest.raises(UserError, match=r"image 0 .* expected an image \[H, W\]"):
    embedder.embed([np.zeros((12, 10, 2), np.uint8)])
  for missing in (tmp_path / "no.png", tmp_path):
    with pytest.raises(UserError, match="can't be read"):
      embedder.embed([missing])
  os.mkfifo(tmp_path / "pipe")
  with pytest.raises(UserError, match="not a file, but a folder, a pipe"):
    embedder.embed([tmp_path / "pipe"])
  with pytest.raises(UserError, match="expected images to embed, got none"):
    embedder.embed([])


def test_unreadable_ones_are_left_out(embedder, expected):
  images = [pixels(number) for number in range(COUNT)]
  images[3], images[20] = b"", b"hello"
  told = {}
  found = embedder.embed(images, on_unreadable=told.__setitem__)
  assert sorted(told) == [3, 20]
  assert "image 20 can't be read" in str(told[20])
  assert np.isnan(found[[3, 20]]).all()
  kept = np.setdiff1d(np.arange(COUNT), [3, 20])
  np.testing.assert_array_equal(found[kept], expected[kept])


def test_weights_that_diverged(embedder):
  params = jax.tree.map(lambda x: np.full_like(x, np.nan), embedder.run.params)
  state = jax.tree.map(
    lambda x: jax.numpy.full_like(x, jax.numpy.nan), embedder.state.params
  )
  broken = dataclasses.replace(
    embedder,
    run=embedder.run._replace(params=params),
    state=embedder.state.replace(params=state),
  )
  with pytest.raises(UserError, match=r"step 20 gives NaN .* 1 of 1 images"):
    broken.embed([pixels(0)])


def test_a_run_that_cannot_embed(lab, tmp_path):
  run = shutil.copytree(lab / "run", tmp_path / "run")
  (run / "data.json").unlink()
  with pytest.raises(UserError, match=r"which images .* expected a data.json"):
    Embedder.load(run)
  (run / "data.json").write_text(json.dumps({"image_shape": [12, 10, 3]}))
  with pytest.raises(UserError, match="doesn't take images of 12 x 10 x 3"):
    Embedder.load(run)
  shutil.rmtree(run / "checkpoints")
  with pytest.raises(UserError, match="no checkpoint in"):
    Embedder.load(run)
  with pytest.raises(UserError, match="no run in"):
    Embedder.load(tmp_path)
  with pytest.raises(UserError, match="--batch_size: expected at least 1"):
    Embedder.load(lab / "run", batch_size=0)
