"""Ready settings for TFDS's sets of identities.

omniglot's identity is `label` (a character of one alphabet), Stanford Online
Products' is `class_id` (the product; `super_class_id` is its kind).
"""

from __future__ import annotations

from typing import NamedTuple


class Settings(NamedTuple):
  """Which features of a set are what.

  Attributes:
    image_key: the image.
    label_key: the identity.
    group_key: a coarser class; "" where there is none.
    splits: the usual splits to train on and to evaluate.
  """

  image_key: str = "image"
  label_key: str = "label"
  group_key: str = ""
  splits: tuple[str, str] = ("train", "test")


CATALOG: dict[str, Settings] = {
  "omniglot": Settings(group_key="alphabet"),
  "lfw": Settings(splits=("train", "train")),
  "vgg_face2": Settings(),
  "cars196": Settings(),
  "caltech_birds2011": Settings(),
  "stanford_online_products": Settings(
    label_key="class_id", group_key="super_class_id"
  ),
  "mnist": Settings(),
  "fashion_mnist": Settings(),
  "emnist": Settings(),
  "cifar100": Settings(group_key="coarse_label"),
}


# Of the sets that are drawn here; any other is asked for a feature `group`.
_GROUPS = {"glyphs": "script"}


def settings(name: str) -> Settings:
  """The settings of a set, `name`, `name/config` or `name:version`.

  >>> settings("emnist/balanced").label_key
  'label'
  """
  base = name.partition("/")[0].partition(":")[0]
  return CATALOG.get(base, Settings(group_key=_GROUPS.get(base, "group")))
