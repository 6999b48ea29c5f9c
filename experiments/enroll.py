"""Adds people to a gallery, and removes them.

python -m experiments.enroll --workdir=RUN --gallery=g.npz --name=Ann A.jpg ...
python -m experiments.enroll --workdir=RUN --gallery=g.npz --images=FOLDER
python -m experiments.enroll --gallery=g.npz --remove=Ann

In a FOLDER, or a zip, an image lies in the folder of its person. What is in the
gallery already isn't added again.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from absl import flags

from experiments import app, using

flags.adopt_module_key_flags(app)
using.define(*using.RUN, *using.READING)
GALLERY = flags.DEFINE_string("gallery", None, "File of a gallery, .npz.")
NAME = flags.DEFINE_string("name", "", "Of whom the images are that follow.")
IMAGES = flags.DEFINE_string("images", "", "Folder or zip, a folder a person.")
REMOVE = flags.DEFINE_multi_string("remove", [], "Whom to remove; repeatable.")


def main(argv: Sequence[str]) -> None:
  """Changes the gallery, and says who is in it."""
  images = argv[1:]
  if not GALLERY.value:
    app.fail("--gallery: expected the file of a gallery, got none")
  if bool(images) != bool(NAME.value):
    app.fail("--name: expected it together with images, IMAGE ...")
  if bool(images or IMAGES.value) == bool(REMOVE.value):
    app.fail(
      "expected either images (--name and IMAGE ..., --images) or --remove"
    )
  path = Path(GALLERY.value)
  if REMOVE.value:
    from tripletjax.inference.enrolling import remove_people

    gallery, done = remove_people(path, REMOVE.value), "removed"
    count = len(REMOVE.value)
  else:
    run = using.embedder()
    from tripletjax.inference.enrolling import enroll_images

    gallery, count = enroll_images(
      run,
      path,
      name=NAME.value,
      images=images,
      folder=IMAGES.value,
      **using.reading(),
    )
    done = "new"
  people = _of(len(gallery.people()), "person", "people")
  print(f"{path}: {people}, {_of(len(gallery), 'image')}; {count:,} {done}")


def _of(count: int, one: str, more: str = "") -> str:
  return f"{count:,} {one if count == 1 else more or one + 's'}"


if __name__ == "__main__":
  app.run(main, takes="IMAGE ...")
