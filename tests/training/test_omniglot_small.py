"""Omniglot with little data: the same code for a folder's set and TFDS's."""

import jax
import numpy as np
import prepared_sets
import pytest
import tensorflow_datasets as tfds

from configs import omniglot_small
from tripletjax.training.loop import train_and_evaluate
from tripletjax.training.splits import describe_part, open_parts

# Two alphabets in both files, one in each alone.
FILES = {"small1": ("Greek", "Latin", "Korean"), "small2": ("Greek", "Tagalog")}
ALPHABETS = sorted({name for names in FILES.values() for name in names})
CHARACTERS, DRAWERS = 3, 5
# As TFDS has it: https://www.tensorflow.org/datasets/catalog/omniglot
TFDS = tfds.features.FeaturesDict(
  {
    "alphabet": tfds.features.ClassLabel(names=ALPHABETS),
    "alphabet_char_id": np.int64,
    "image": tfds.features.Image(shape=(105, 105, 3)),
    "label": tfds.features.ClassLabel(num_classes=CHARACTERS * len(ALPHABETS)),
  }
)


def examples(names, *, of_tfds):
  """Ink on paper: a character is a rectangle of its own, a drawer its place."""
  for alphabet in names:
    for character in range(CHARACTERS):
      number = ALPHABETS.index(alphabet) * CHARACTERS + character
      for drawer in range(DRAWERS):
        pixels = np.full((105, 105), 255, np.uint8)
        top = 5 + 3 * drawer
        pixels[top : top + 6 * number + 6, 10 : 80 - 5 * number] = 0
        image = prepared_sets.encode(pixels, "RGB" if of_tfds else "L")
        if of_tfds:
          yield {
            "alphabet": alphabet,
            "alphabet_char_id": character,
            "image": image,
            "label": number,
          }
          continue
        label = f"{alphabet}/character{character + 1:02d}"
        yield {
          "image": image,
          "label": label,
          "group": alphabet,
          "path": f"{label}/{number:04d}_{drawer + 1:02d}.png",
        }


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
  root = tmp_path_factory.mktemp("omniglot")
  for name, features in (("omniglot_small", None), ("omniglot", TFDS)):
    splits = {
      split: list(examples(names, of_tfds=features is not None))
      for split, names in FILES.items()
    }
    keywords = {"features": features} if features else {}
    prepared_sets.write_set(root, name, splits, **keywords)
  return root


def config(name, variant):
  fields = omniglot_small.get_config(variant)
  fields.data.name = name
  if name == "omniglot":
    fields.evaluation.cameras = ""  # which TFDS doesn't say
  return fields


@pytest.mark.parametrize("name", ["omniglot_small", "omniglot"])
def test_the_test_is_of_alphabets_that_only_the_other_file_has(data_dir, name):
  for variant, seen, asked in (
    ("small1", FILES["small1"], ("Tagalog",)),
    ("small2", FILES["small2"], ("Korean", "Latin")),
  ):
    train, evaluated = open_parts(config(name, variant), data_dir)
    assert set(train.group_names) == set(seen)
    assert evaluated.group_names == asked
    assert len(evaluated) == len(asked) * CHARACTERS * DRAWERS
    size = int(omniglot_small.get_config().data.image_size)
    assert train.image_shape == evaluated.image_shape == (size, size, 1)
    # Ink is white: most of a picture is black.
    assert np.mean(train[0]) < 128
  said = describe_part(config(name, "small2"), "eval")
  assert said == "small1 without groups of small2"


@pytest.mark.parametrize("name", ["omniglot_small", "omniglot"])
def test_invented_alphabets_are_trained_on_beside(data_dir, name):
  for variant in ("small1", "small2"):
    alone = config(name, variant)
    fields = config(name, f"{variant}_strokes")
    assert fields.data.beside == "strokes"
    fields.data.beside = "strokes/tiny"
    (own, asked), (train, evaluated) = (
      open_parts(each, data_dir) for each in (alone, fields)
    )
    # 4 alphabets of 8 letters by 4 hands.
    assert len(train) == len(own) + 4 * 8 * 4
    assert train.group_names[: len(own.group_names)] == own.group_names
    assert train.group_names[-1] == "strokes/tiny:invented003"
    assert evaluated.group_names == asked.group_names
    assert train[len(own)].shape == own[0].shape
    # Bright ink, framed, on black, as the others.
    assert np.mean(train[len(own)]) < 128


@pytest.mark.slow
@pytest.mark.parametrize("name", ["omniglot_small", "omniglot"])
def test_a_run_measures_one_shot_errors(data_dir, tmp_path, name):
  with jax.numpy_dtype_promotion("standard"):
    summary = train_and_evaluate(
      config(name, "smoke"),
      tmp_path,
      data_dir=data_dir,
      devices=jax.local_devices()[:1],
    )
  for row in ("raw_pixels", "untrained", "trained"):
    assert 0 <= summary[row]["one_shot_error"] <= 0.5
