"""`glyphs`: letters of six scripts, drawn from fonts in a package.

A stand-in for Omniglot that needs no download: an identity is a letter, an
image is that letter in one font. The splits are the scripts, so that a split
expression such as `latin+greek+cyrillic` trains on letters and on scripts that
`armenian+georgian+lao` has never shown.
"""

from __future__ import annotations

import dataclasses
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import matplotlib
import tensorflow_datasets as tfds
from fontTools.ttLib import TTFont
from PIL import Image, ImageDraw, ImageFont

from tripletjax.data.drawn import DrawnSet

SCRIPTS = ("latin", "greek", "cyrillic", "armenian", "georgian", "lao")
SIDE = 32
POINTS = 20  # with BASELINE: all but a handful of wide ligatures fit
BASELINE = 23  # fixed, so that o and O differ in size and comma-like marks sink
FONTS = (
  "DejaVuSans",
  "DejaVuSans-Bold",
  "DejaVuSans-Oblique",
  "DejaVuSans-BoldOblique",
  "DejaVuSansMono",
  "DejaVuSansMono-Bold",
  "DejaVuSansMono-Oblique",
  "DejaVuSansMono-BoldOblique",
  "DejaVuSerif",
  "DejaVuSerif-Bold",
  "DejaVuSerif-Italic",
  "DejaVuSerif-BoldItalic",
  "STIXGeneral",
  "STIXGeneralBol",
  "STIXGeneralItalic",
  "STIXGeneralBolIta",
  "cmr10",
  "cmb10",
  "cmss10",
  "cmtt10",
)


class Picture(NamedTuple):
  """One letter in one font.

  Attributes:
    codepoint: the letter.
    font: name of the font file, without its ending.
    pixels: `SIDE * SIDE` bytes, row by row, ink is 255.
  """

  codepoint: int
  font: str
  pixels: bytes


def script_of(codepoint: int) -> str | None:
  """The script of a letter, or None when it is no letter of `SCRIPTS`.

  >>> script_of(ord("A")), script_of(ord("λ")), script_of(ord("7"))
  ('latin', 'greek', None)
  """
  character = chr(codepoint)
  if not unicodedata.category(character).startswith("L"):
    return None
  script = unicodedata.name(character, "").partition(" ")[0].lower()
  return script if script in SCRIPTS else None


def letters_of(font: str) -> list[int]:
  """Code points of the letters that a font has a glyph for, ascending."""
  with TTFont(_font_path(font), lazy=True) as file:
    cmap = file.getBestCmap()
  # Computer Modern keeps TeX's order above ASCII: its U+00A1 is a Gamma.
  limit = 0x7F if font.startswith("cm") else 0x10FFFF
  return sorted(
    codepoint
    for codepoint, glyph in cmap.items()
    if codepoint <= limit and glyph != ".notdef" and script_of(codepoint)
  )


def draw(font: str, codepoints: Iterable[int]) -> Iterator[Picture]:
  """Draws letters; a blank one, or one that doesn't fit, is left out."""
  # The basic layout: the other one depends on a library that may be missing.
  face = ImageFont.truetype(
    str(_font_path(font)), POINTS, layout_engine=ImageFont.Layout.BASIC
  )
  origin = (SIDE // 2, BASELINE)
  for codepoint in codepoints:
    canvas = Image.new("L", (SIDE, SIDE))
    pen = ImageDraw.Draw(canvas)
    left, top, right, bottom = pen.textbbox(
      origin, chr(codepoint), font=face, anchor="ms"
    )
    if min(left, top) < 0 or max(right, bottom) > SIDE:
      continue
    pen.text(origin, chr(codepoint), fill=255, font=face, anchor="ms")
    pixels = canvas.tobytes()
    if any(pixels):
      yield Picture(codepoint, font, pixels)


def merge_alike(pictures: Iterable[Picture]) -> dict[int, int]:
  """The class of each letter: the lowest code point of those drawn alike.

  Letters with identical pixels in any one font are one class, and so are those
  they are chained to (Latin A, Greek Alpha, Cyrillic A). The class takes the
  script of its lowest code point, so it stands in one script only.
  """
  parent: dict[int, int] = {}

  def root(codepoint: int) -> int:
    while parent[codepoint] != codepoint:
      parent[codepoint] = parent[parent[codepoint]]
      codepoint = parent[codepoint]
    return codepoint

  first: dict[tuple[str, bytes], int] = {}
  for codepoint, font, pixels in pictures:
    parent.setdefault(codepoint, codepoint)
    twin = first.setdefault((font, pixels), codepoint)
    low, high = sorted((root(codepoint), root(twin)))
    parent[high] = low
  return {codepoint: root(codepoint) for codepoint in parent}


def select(
  pictures: Sequence[Picture], merged: Mapping[int, int], min_fonts: int
) -> dict[int, list[Picture]]:
  """Pictures of each class, every picture once, classes by code point.

  A picture that two fonts give for the same class is kept from the first one.
  A picture that two fonts give for different classes names neither, and is
  dropped from both. A class that is then left with fewer than `min_fonts`
  fonts is left out.
  """
  owners: dict[bytes, set[int]] = defaultdict(set)
  for picture in pictures:
    owners[picture.pixels].add(merged[picture.codepoint])
  chosen: dict[int, dict[bytes, Picture]] = defaultdict(dict)
  for picture in pictures:
    if len(owners[picture.pixels]) == 1:
      own = chosen[merged[picture.codepoint]]
      own.setdefault(picture.pixels, picture)
  return {
    label: list(own.values())
    for label, own in sorted(chosen.items())
    if len({picture.font for picture in own.values()}) >= min_fonts
  }


def draw_all(
  fonts: Sequence[str], *, letters: int | None, min_fonts: int
) -> dict[int, list[Picture]]:
  """Draws, merges and selects.

  Args:
    fonts: names of font files.
    letters: takes that many letters of each script, the lowest; None takes all.
    min_fonts: the least number of fonts for a class.

  Returns:
    Pictures of each class, by the class's lowest code point.
  """
  available = {font: letters_of(font) for font in fonts}
  by_script: dict[str | None, list[int]] = defaultdict(list)
  for codepoint in sorted(set().union(*available.values())):
    by_script[script_of(codepoint)].append(codepoint)
  wanted = {c for members in by_script.values() for c in members[:letters]}
  pictures = [
    picture
    for font in fonts
    for picture in draw(font, (c for c in available[font] if c in wanted))
  ]
  return select(pictures, merge_alike(pictures), min_fonts)


@dataclasses.dataclass(eq=False)
class GlyphsConfig(tfds.core.BuilderConfig):
  """How much of the glyphs is drawn; the fields are those of `draw_all`."""

  fonts: tuple[str, ...] = FONTS
  letters: int | None = None
  min_fonts: int = 8


class Glyphs(DrawnSet):
  """The TFDS builder; its splits are the scripts."""

  BUILDER_CONFIGS: ClassVar[list[GlyphsConfig]] = [
    GlyphsConfig(name="full", description="All letters in 20 fonts."),
    GlyphsConfig(
      name="tiny",
      description="The first 40 letters of each script in 4 fonts.",
      fonts=FONTS[:6:2] + FONTS[8:9],
      letters=40,
      min_fonts=2,
    ),
  ]

  def _info(self) -> tfds.core.DatasetInfo:
    return self.described(
      "Letters of the Latin, Greek, Cyrillic, Armenian, Georgian and Lao "
      "scripts, drawn at one size and one baseline from the fonts inside "
      "Matplotlib. Letters that look the same in a font are one class.",
      side=SIDE,
      texts=("label", "font", "script"),
    )

  def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
    del dl_manager  # everything is drawn here
    config = self.builder_config
    classes = draw_all(
      config.fonts, letters=config.letters, min_fonts=config.min_fonts
    )
    return {
      script: self._generate_examples(
        {c: own for c, own in classes.items() if script_of(c) == script}
      )
      for script in SCRIPTS
    }

  def _generate_examples(
    self, classes: Mapping[int, Sequence[Picture]]
  ) -> Iterator[tuple[str, dict[str, Any]]]:
    for label, pictures in classes.items():
      for codepoint, font, pixels in pictures:
        yield (
          f"{codepoint:04X}/{font}",
          {
            "image": Image.frombytes("L", (SIDE, SIDE), pixels),
            "label": f"U+{label:04X}",
            "font": font,
            "script": script_of(label),
          },
        )


def _font_path(font: str) -> Path:
  return Path(matplotlib.get_data_path(), "fonts", "ttf", f"{font}.ttf")
