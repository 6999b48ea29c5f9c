import io
import unicodedata
from collections import defaultdict

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from tripletjax.data import glyphs, preparation
from tripletjax.data.glyphs import Picture

LOOKALIKES_OF_A = (0x41, 0x391, 0x410)  # Latin, Greek, Cyrillic
LOOKALIKES = (
  *LOOKALIKES_OF_A,
  *(0x61, 0x430),  # a
  *(0x4F, 0x39F, 0x41E, 0x555),  # O, with Armenian
  *(0x6F, 0x3BF, 0x43E, 0x585),  # o
)
TINY = glyphs.Glyphs.builder_configs["tiny"]


@pytest.fixture(scope="module")
def examples(data_dir):
  """All examples of glyphs/tiny: (split, image bytes, label, font, script)."""
  builder = preparation.prepare("glyphs/tiny", data_dir=data_dir)
  found = []
  for split in glyphs.SCRIPTS:
    for example in builder.as_data_source(
      split=split, decoders={"image": tfds.decode.SkipDecoding()}
    ):
      image = Image.open(io.BytesIO(example["image"]))
      assert (image.format, image.mode, image.size) == ("PNG", "L", (32, 32))
      texts = [example[key].decode() for key in ("label", "font", "script")]
      found.append((split, image.tobytes(), *texts))
  return found


def ink(character, font="DejaVuSans"):
  (picture,) = glyphs.draw(font, [ord(character)])
  return np.frombuffer(picture.pixels, np.uint8).reshape(32, 32)


def test_every_script_is_a_split_with_identities(examples):
  labels = defaultdict(set)
  for split, _, label, _, script in examples:
    assert script == split
    labels[split].add(label)
  assert set(labels) == set(glyphs.SCRIPTS)
  assert min(len(members) for members in labels.values()) >= 10


def test_no_picture_is_there_twice_and_no_class_in_two_splits(examples):
  assert len({image for _, image, *_ in examples}) == len(examples)
  splits = defaultdict(set)
  for split, _, label, *_ in examples:
    splits[label].add(split)
  assert all(len(members) == 1 for members in splits.values())


def test_a_class_has_the_name_and_script_of_its_letter(examples):
  for split, _, label, *_ in examples:
    assert label.startswith("U+")
    name = unicodedata.name(chr(int(label[2:], 16)))
    assert name.split()[0].lower() == split


def test_pictures_are_those_drawn_directly(examples):
  drawn = glyphs.draw_all(
    TINY.fonts, letters=TINY.letters, min_fonts=TINY.min_fonts
  )
  expected = {
    (f"U+{label:04X}", font, pixels)
    for label, pictures in drawn.items()
    for _, font, pixels in pictures
  }
  assert {(label, f, image) for _, image, label, f, _ in examples} == expected
  assert len(examples) == len(expected)


def test_letters_that_look_alike_are_one_class():
  pictures = [
    picture for font in TINY.fonts for picture in glyphs.draw(font, LOOKALIKES)
  ]
  # Slow oracle: spread the lowest code point along alike pairs until it rests.
  lowest = {picture.codepoint: picture.codepoint for picture in pictures}
  for _ in lowest:
    for one in pictures:
      for other in pictures:
        if (one.font, one.pixels) == (other.font, other.pixels):
          low = min(lowest[one.codepoint], lowest[other.codepoint])
          lowest[one.codepoint] = lowest[other.codepoint] = low
  merged = glyphs.merge_alike(pictures)
  assert merged == lowest
  assert {merged[c] for c in LOOKALIKES_OF_A} == {0x41}
  assert len({merged[ord(c)] for c in "AaOo"}) == 4


def test_alike_in_one_font_is_enough_and_chains():
  pictures = [
    Picture(1, "f", b"x"),
    Picture(2, "f", b"x"),
    Picture(3, "f", b"y"),
    Picture(2, "g", b"p"),
    Picture(3, "g", b"p"),
    Picture(4, "h", b"x"),  # the same pixels, but in another font
  ]
  assert glyphs.merge_alike(pictures) == {1: 1, 2: 1, 3: 1, 4: 4}


def test_selection_drops_repeats_ambiguous_pictures_and_rare_classes():
  a_f, a_g, a_h = (Picture(1, font, font.encode()) for font in "fgh")
  repeated = Picture(1, "k", b"f")
  ambiguous = Picture(1, "m", b"?"), Picture(2, "n", b"?")
  b_f, b_g = Picture(2, "f", b"1"), Picture(2, "g", b"2")
  pictures = [a_f, a_g, a_h, repeated, *ambiguous, b_f, b_g]
  merged = {1: 1, 2: 2}
  assert glyphs.select(pictures, merged, 3) == {1: [a_f, a_g, a_h]}
  assert glyphs.select(pictures, merged, 2)[2] == [b_f, b_g]


def test_computer_modern_gives_ascii_letters_only():
  upper = list(range(ord("A"), ord("Z") + 1))
  lower = list(range(ord("a"), ord("z") + 1))
  assert glyphs.letters_of("cmr10") == upper + lower


def test_size_and_baseline_are_fixed():
  def rows(character):
    return np.flatnonzero(ink(character).max(axis=1))

  assert rows("x")[-1] == rows("X")[-1] == glyphs.BASELINE - 1
  assert rows("x")[0] > rows("X")[0]
  assert rows("p")[-1] > rows("x")[-1]
  assert ink("x").max() == 255
  assert ink("x")[0].max() == 0


def test_what_does_not_fit_is_left_out():
  # U+01C4 is as wide as D and a Z with caron together, U+00A0 is blank.
  letters = [0x01C4, 0x00A0, ord("a")]
  drawn = glyphs.draw("DejaVuSerif-BoldItalic", letters)
  assert [picture.codepoint for picture in drawn] == [ord("a")]


def test_only_letters_of_the_six_scripts():
  assert glyphs.script_of(ord("ж")) == "cyrillic"
  assert glyphs.script_of(ord("ກ")) == "lao"
  for other in ("4", "+", "א", "中", "\x00"):
    assert glyphs.script_of(ord(other)) is None
