"""The contact sheet, and the command that draws it."""

import numpy as np
import pytest
from PIL import Image

from configs import digits
from tests.report.test_pictures import pixels, texts
from tripletjax.data.augment import AUGMENTATIONS
from tripletjax.errors import UserError
from tripletjax.report import batch
from tripletjax.training import objective, parallel, preview
from tripletjax.training.setup import prepare_run
from tripletjax.training.step import network_input, step_keys


@pytest.mark.parametrize(
  ("side", "channels", "shown"),
  [(8, 1, 64), (28, 3, 56), (100, 3, 100), (256, 1, 128)],
)
def test_every_pixel_is_drawn_as_it_is(side, channels, shown):
  levels = np.arange(6).reshape(2, 3, 1, 1, 1) / 5
  images = np.broadcast_to(levels, (2, 3, side, side, channels)).copy()
  images[0, 1, : side // 2] = 0.8  # two halves
  title = "a set\nflip (flip 0.5)"
  figure = batch.draw_batch(images, ["one", "Alphabet_of_names/07"], title)
  drawn = pixels(figure)[:, batch.LABELS :, 0].astype(int)
  top = drawn.shape[0] - 2 * shown - 3 * batch.GAP
  for row in range(2):
    for column in range(3):
      y = top + row * (shown + batch.GAP)
      x = column * (shown + batch.GAP)
      tile = drawn[y : y + shown, x : x + shown]
      expected = round(255 * (3 * row + column) / 5)
      if (row, column) == (0, 1):
        assert (tile[: shown // 2] == 204).all()
        tile = tile[shown // 2 :]
      assert (np.abs(tile - expected) <= 1).all()
  found = texts(figure)
  for words in ("one", "Alphabet_of_names/07", "a set", "(flip 0.5)"):
    assert words in found


def test_long_names_keep_their_end_and_long_titles_are_broken():
  images = np.zeros((1, 1, 8, 8, 1))
  figure = batch.draw_batch(images, ["x" * 40 + "/07"], "word " * 60)
  found = texts(figure).splitlines()
  assert any(line.startswith("…x") and line.endswith("/07") for line in found)
  assert sum("word" in line for line in found) > 2


def test_a_file_that_cannot_be_written(tmp_path):
  (tmp_path / "file").write_text("")
  figure = batch.draw_batch(np.zeros((1, 1, 8, 8, 1)), ["a"], "title")
  with pytest.raises(UserError, match="--output: can't write"):
    batch.save_batch(figure, tmp_path / "file" / "batch.png")
  with Image.open(batch.save_batch(figure, tmp_path / "new" / "b.png")) as png:
    assert png.size[0] == 520


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
  return tmp_path_factory.mktemp("data")


def sheets(data_dir, show="", step=0, **augment):
  config = digits.get_config("smoke")
  config.augment.update(augment)
  return list(preview.preview(config, data_dir=data_dir, step=step, show=show))


def test_it_is_what_training_feeds_the_network(data_dir, tmp_path):
  # On other devices, through the loader and the cache of a run.
  config = digits.get_config("smoke")
  config.augment.flip = 0.5
  config.augment.rotation_classes = True
  config.augment.identity_shear = 0.5
  config.data.cache = "device"
  devices = parallel.local_devices()[:2]
  run = prepare_run(config, tmp_path, data_dir, devices, lambda line: None)
  fed = next(run.load(3, 4))
  key, _ = step_keys(objective.run_key(config), 3)

  def see(batch, key):
    return network_input(
      batch,
      key,
      augment_fn=objective.make_augment(config),
      axis_name=parallel.AXIS,
    )

  expected = parallel.data_parallel(see, devices, replicated=(1,))(fed, key)
  (sheet,) = sheets(
    data_dir, step=3, flip=0.5, rotation_classes=True, identity_shear=0.5
  )
  assert sheet.images.shape == (10, 4, 8, 8, 1)
  np.testing.assert_allclose(
    sheet.images.reshape(40, 8, 8, 1), parallel.unshard(expected), atol=1e-6
  )
  labels = parallel.unshard(fed["label"])[::4]
  names = run.train_source.label_names
  assert sheet.identities == [names[label] for label in labels]
  assert "step 3: 10 identities x 4 images" in sheet.title
  assert "affine (rotation 10, " in sheet.title
  assert sheet.title.endswith("flip (flip 0.5)")


def test_one_augmentation_alone_and_all(data_dir):
  off = dict.fromkeys(("rotation", "scale", "shear", "translation"), 0.0)
  (plain,) = sheets(data_dir, **off)
  assert plain.title.endswith("without augmentation")
  (flipped,) = sheets(data_dir, "flip")  # of the examples: half of them
  mirrored = plain.images[..., ::-1, :]
  same = np.isclose(flipped.images, plain.images).all(axis=(2, 3, 4))
  other = np.isclose(flipped.images, mirrored).all(axis=(2, 3, 4))
  assert (same | other).all()
  assert 0 < same.mean() < 1
  (cut,) = sheets(data_dir, "cutout", cutout=1.0)
  assert "(cutout 1)" in cut.title


@pytest.mark.slow
def test_all_of_them(data_dir):
  found = sheets(data_dir, "all")
  assert [sheet.name for sheet in found] == list(AUGMENTATIONS)


@pytest.mark.parametrize(
  ("show", "step", "message"),
  [
    ("blur", 0, "--augment: expected all or one of identity_affine"),
    ("", -1, "--step: expected 0 or more, got -1"),
  ],
)
def test_what_cannot_be_shown(data_dir, show, step, message):
  with pytest.raises(UserError, match=message):
    sheets(data_dir, show, step)
