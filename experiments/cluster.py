"""Groups the images of a folder by who they show, without being told.

python -m experiments.cluster --workdir=RUN --images=FOLDER --output=DIR
python -m experiments.cluster --workdir=RUN --images=FOLDER --output=DIR \
  --clusters=40 --method=kmeans --write=links

Without --clusters, images and groups of them are merged up to a distance: that
of experiments.verify, or --threshold. DIR gets a table and a contact sheet.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from absl import flags

from experiments import app, using

flags.adopt_module_key_flags(app)
using.define(*using.RUN, *using.READING, *using.CHOOSING)
IMAGES = flags.DEFINE_string("images", "", "Folder or zip of images.")
OUTPUT = flags.DEFINE_string("output", "", "New folder, for the clusters.")
METHOD = flags.DEFINE_string(
  "method", "agglomerative", "agglomerative, or kmeans with --clusters."
)
CLUSTERS = flags.DEFINE_integer("clusters", None, "How many.")
LINKAGE = flags.DEFINE_string("linkage", "average", "Or complete, or single.")
SEED = flags.DEFINE_integer("seed", 0, "Of k-means' start.", lower_bound=0)
WRITE = flags.DEFINE_string(
  "write", "csv", "csv, or links: folders of links to the images, too."
)


def main(argv: Sequence[str]) -> None:
  """Finds the clusters, writes and draws them."""
  del argv
  for flag in (IMAGES, OUTPUT):
    if not flag.value:
      app.fail(f"--{flag.name}: expected a folder, got none")
  run = using.embedder()
  from tripletjax.inference import clusters
  from tripletjax.inference.folders import embed_folder
  from tripletjax.inference.fresh_folder import check_fresh
  from tripletjax.report.contact_sheet import draw_clusters

  check_fresh(Path(OUTPUT.value))
  clusters.check_write(WRITE.value, ())
  limit, why = None, ""
  how = f"{METHOD.value}, {CLUSTERS.value} clusters asked for"
  if CLUSTERS.value is None:
    limit, why = using.threshold(run)
    how = f"{METHOD.value}, merged up to a distance of {limit:.4g}"
  embedded = embed_folder(
    run,
    IMAGES.value,
    **using.reading(),
  )
  found = clusters.cluster_images(
    run,
    embedded,
    method=METHOD.value,
    clusters=CLUSTERS.value,
    threshold=limit,
    linkage=LINKAGE.value,
    seed=SEED.value,
  )
  said = f"{len(found.sizes):,} clusters of {len(embedded.paths):,} images"
  output = clusters.write_clusters(
    OUTPUT.value,
    embedded,
    found,
    write=WRITE.value,
    draw=lambda folder: draw_clusters(
      folder / "clusters.png",
      found.cluster,
      embedded.labels,
      lambda index: run.read(embedded.images[index]),
      title=said,
      subtitle=how,
    ),
  )
  alone = int((found.sizes == 1).sum())
  print(f"{said}, {alone:,} of them a single image; {how}")
  if why:
    print(f"threshold {limit:.6g}: {why}")
  if found.agreement:
    shown = ("bcubed_precision", "bcubed_recall", "nmi")
    print(
      "beside the folders of the images: "
      + ", ".join(f"{name} {found.agreement[name]:.3f}" for name in shown)
    )
  print(output / clusters.CSV, output / "clusters.png", sep="\n")


if __name__ == "__main__":
  app.run(main)
