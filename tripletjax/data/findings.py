"""What a preparation found: counts, lone identities, duplicates, damage.

Duplicates are images of the same pixels, whatever their file's format.
"""

from __future__ import annotations

import collections
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tripletjax.data.entries import Entry, Listing
from tripletjax.data.shards import Part

EXAMPLES = 10  # named of each kind


def find(
  listing: Listing, sidecars: Sequence[tuple[Part, Mapping[str, Any]]]
) -> dict[str, Any]:
  """Counts what was written.

  Args:
    listing: all images.
    sidecars: the parts and what `write_part` said of them.

  Returns:
    A dict for JSON: `images`, `identities`, `groups`, `images_per_identity`
    (`smallest`, `median`, `largest`, `counts`: images -> identities), `lone`
    (identities of one image: `count`, `examples`), `splits` (`images` and
    `identities` of each), `shared_identities` (those in several splits),
    `duplicates`, `unreadable`, `passed_over`, `formats`, `sizes` (`HxW` ->
    images, or the `smallest` and `largest` sides), `channels`.
  """
  entries = listing.entries
  kept: list[Entry] = []
  hashes: list[str] = []
  unreadable: list[tuple[str, str]] = []
  for part, sidecar in sidecars:
    gone = {index for index, _ in sidecar["skipped"]}
    kept += [
      entries[index]
      for index in range(part.start, part.stop)
      if index not in gone
    ]
    hashes += sidecar["hashes"]
    unreadable += [
      (entries[index].path, reason) for index, reason in sidecar["skipped"]
    ]
  per_identity = collections.Counter(entry.label for entry in kept)
  lone = sorted(label for label, count in per_identity.items() if count == 1)
  splits = {entry.split: collections.Counter[str]() for entry in entries}
  for entry in kept:
    splits[entry.split][entry.label] += 1
  shared = collections.Counter(
    label for held in splits.values() for label in held
  )
  return {
    "images": len(kept),
    "identities": len(per_identity),
    "groups": len({entry.group for entry in kept} - {""}),
    "images_per_identity": _spread(per_identity),
    "lone": {"count": len(lone), "examples": lone[:EXAMPLES]},
    "splits": {
      split: {"images": held.total(), "identities": len(held)}
      for split, held in splits.items()
    },
    "shared_identities": sum(count > 1 for count in shared.values()),
    "duplicates": _duplicates(kept, hashes),
    "unreadable": {
      "count": len(unreadable),
      "examples": unreadable[:EXAMPLES],
    },
    "passed_over": listing.passed_over,
    **{
      key: dict(_total(sidecar[key] for _, sidecar in sidecars))
      for key in ("formats", "channels")
    },
    "sizes": _sizes(_total(sidecar["sizes"] for _, sidecar in sidecars)),
  }


def _spread(per_identity: Mapping[str, int]) -> dict[str, Any]:
  counts = np.array(list(per_identity.values()) or [0])
  histogram = collections.Counter(per_identity.values())
  return {
    "smallest": int(counts.min()),
    "median": float(np.median(counts)),
    "largest": int(counts.max()),
    "counts": {str(count): histogram[count] for count in sorted(histogram)},
  }


def _duplicates(kept: Sequence[Entry], hashes: Sequence[str]) -> dict[str, Any]:
  """Pictures that are there more than once.

  `pictures` counts each of them once, `surplus` its further images;
  `within_identity`, `across_identities` and `across_splits` count the pictures
  that are twice in one identity of one split, in two identities, in two
  splits.
  """
  first: dict[str, int] = {}
  copies: dict[int, list[int]] = {}
  for index, digest in enumerate(hashes):
    start = first.setdefault(digest, index)
    if start != index:
      copies.setdefault(start, [start]).append(index)
  sets = [[kept[index] for index in same] for _, same in sorted(copies.items())]
  kinds = {
    "within_identity": [
      same
      for same in sets
      if len({(e.split, e.label) for e in same}) < len(same)
    ],
    "across_identities": [
      same for same in sets if len({e.label for e in same}) > 1
    ],
    "across_splits": [
      same for same in sets if len({e.split for e in same}) > 1
    ],
  }
  return {
    "pictures": len(sets),
    "surplus": sum(len(same) - 1 for same in sets),
    **{
      kind: {
        "count": len(found),
        "examples": [
          [f"{entry.split}: {entry.path}" for entry in same[:EXAMPLES]]
          for same in found[:EXAMPLES]
        ],
      }
      for kind, found in kinds.items()
    },
  }


def _total(counts: Any) -> collections.Counter[str]:
  total: collections.Counter[str] = collections.Counter()
  for some in counts:
    total.update(some)
  return total


def _sizes(sizes: Mapping[str, int]) -> dict[str, list[int]]:
  """The smallest and the largest height and width."""
  sides = np.array([list(map(int, size.split("x"))) for size in sizes])
  return {
    "smallest": sides.min(axis=0).tolist(),
    "largest": sides.max(axis=0).tolist(),
  }
