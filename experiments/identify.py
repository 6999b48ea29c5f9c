"""Who of a gallery do images show, if anybody?

python -m experiments.identify --workdir=RUN --gallery=g.npz A.jpg B.jpg
python -m experiments.identify --workdir=RUN --gallery=g.npz --images=FOLDER

A line for each image: who it is, or "unknown", and the nearest people with
their distances. The threshold is as in experiments.verify: at --far one in a
hundred people who aren't meant is taken for an image, each for itself.
"""

from __future__ import annotations

from collections.abc import Sequence

from absl import flags

from experiments import app, using

flags.adopt_module_key_flags(app)
using.define(*using.RUN, *using.READING, *using.CHOOSING)
GALLERY = flags.DEFINE_string("gallery", None, "File of a gallery, .npz.")
IMAGES = flags.DEFINE_string("images", "", "Folder or zip of images.")
K = flags.DEFINE_integer("k", 3, "How many people to show.", lower_bound=1)
SEARCH = flags.DEFINE_string(
  "search", "auto", "blocks (exact), faiss, or auto: faiss where installed."
)


def main(argv: Sequence[str]) -> None:
  """Prints who is nearest to each image."""
  if not GALLERY.value:
    app.fail("--gallery: expected the file of a gallery, got none")
  if bool(argv[1:]) == bool(IMAGES.value):
    app.fail("expected either images, IMAGE ..., or a folder of them, --images")
  run = using.embedder()
  from tripletjax.errors import printable
  from tripletjax.inference.folders import embed_folder, embed_some
  from tripletjax.inference.gallery import identify, load_gallery

  gallery = load_gallery(GALLERY.value, embedder=run)
  limit, why = using.threshold(run)
  paths, labels = list(argv[1:]), [""]
  if IMAGES.value:
    embedded = embed_folder(run, IMAGES.value, **using.reading())
    paths, queries = embedded.paths, embedded.embeddings
    labels = embedded.labels
  else:
    queries, kept = embed_some(run, paths, **using.reading())
    paths = [paths[index] for index in kept]
  found = identify(
    gallery, queries, k=K.value, threshold=limit, search=SEARCH.value
  )
  for path, one in zip(paths, found, strict=True):
    who = "unknown" if one.name is None else printable(one.name)
    nearest = ", ".join(
      f"{printable(name)} {distance:.4g}"
      for name, distance in zip(one.names, one.distances, strict=True)
    )
    print(f"{printable(path)}: {who} ({nearest})")
  known = sum(one.is_known for one in found)
  said = f"{known:,} of {len(found):,} known"
  if set(labels) & set(gallery.names.tolist()):
    pairs = zip(labels, found, strict=True)
    right = sum(one.name == label for label, one in pairs)
    said += f", {right:,} of them by the name of their folder"
  print(f"{said}; threshold {limit:.6g}: {why}")


if __name__ == "__main__":
  app.run(main, takes="IMAGE ...")
