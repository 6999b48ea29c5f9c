"""How a config divides a set into what it trains on and what it evaluates."""

import numpy as np
import pytest
from prepared_sets import example, write_set

from configs import digits
from tripletjax.errors import UserError
from tripletjax.training.splits import describe_part, open_part, open_parts


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
  """42 images: 7 alphabets of 2 characters of 3 images."""
  root = tmp_path_factory.mktemp("sets")
  write_set(root, "mine", {"train": [example(number) for number in range(42)]})
  return root


def config(**changes):
  config = digits.get_config()
  config.data.name = "mine"
  config.data.train_split = "train"
  config.data.eval_split = ""
  for field, value in changes.items():
    config.data[field] = value
  return config


def numbers(source):
  return [int(source[index][0, 0, 0]) for index in range(len(source))]


@pytest.mark.parametrize("split_by", ["identity", "group", "image"])
@pytest.mark.parametrize("drawn", [{"split_fraction": 0.3}, {"split_folds": 3}])
def test_parts_are_disjoint_and_whole(folder, split_by, drawn):
  divided = config(split_by=split_by, split_seed=4, **drawn)
  train, evaluated = open_parts(divided, folder)
  assert sorted(numbers(train) + numbers(evaluated)) == list(range(42))
  size = {"identity": 3, "group": 6, "image": 1}[split_by]
  assert {number // size for number in numbers(train)}.isdisjoint(
    number // size for number in numbers(evaluated)
  )
  for part, source in (("train", train), ("eval", evaluated)):
    again = open_part(divided, folder, part)
    assert numbers(again) == numbers(source)
    expected = [example(number)["path"] for number in numbers(source)]
    assert list(again.paths) == expected


def test_folds_hold_each_identity_out_once(folder):
  held = [
    open_part(
      config(split_by="identity", split_folds=4, split_fold=fold),
      folder,
      "eval",
    ).label_names
    for fold in range(4)
  ]
  assert [len(names) for names in held] == [4, 4, 3, 3]
  assert len({name for names in held for name in names}) == 14


def test_named_groups_and_identities_are_held_out(folder, tmp_path):
  file = tmp_path / "held.txt"
  file.write_text("B\n\n D \n")
  for chosen in ({"split_names": ("B", "D")}, {"split_file": str(file)}):
    part = open_part(config(split_by="group", **chosen), folder, "eval")
    assert part.group_names == ("B", "D")
    assert numbers(part) == [*range(6, 12), *range(18, 24)]
  one = config(split_by="identity", split_names=("C/c1",))
  assert numbers(open_part(one, folder, "eval")) == [15, 16, 17]


def test_an_expression_is_opened_as_it_is(folder):
  divided = config(split_by="group")
  assert numbers(open_part(divided, folder, "train[:4]")) == [0, 1, 2, 3]


def test_parts_in_words():
  assert describe_part(config(eval_split="test"), "eval") == "test"
  assert describe_part(config(split_by="group"), "eval") == (
    "held out of train (group: 20%, seed 0)"
  )
  folds = config(split_by="identity", split_folds=5, split_fold=2)
  assert describe_part(folds, "train") == (
    "kept from train (identity: fold 2 of 5, seed 0)"
  )
  assert describe_part(folds, "all") == "all"


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    ({"split_by": "label"}, "data.split_by: expected one of identity, group"),
    (
      {"split_by": "group", "eval_split": "train"},
      "data.eval_split: expected nothing, since data.split_by",
    ),
    (
      {"split_by": "image", "split_names": ("A/c0",)},
      "data.split_by: expected identity or group where they are named",
    ),
    (
      {"split_by": "group", "split_names": ("Z",)},
      "data.split_names: 'Z' is no identity and no group; there are A, B, C",
    ),
    ({"split_by": "group", "split_file": "/none"}, "can't read /none: "),
    (
      {"split_by": "group", "split_file": "/none", "split_names": ("A",)},
      "data.split_file: expected nothing beside data.split_names",
    ),
    (
      {"split_by": "identity", "split_fraction": 1.0},
      "data.split_fraction: expected between 0 and 1, got 1.0",
    ),
    (
      {"split_by": "identity", "split_folds": 15},
      "data.split_by: expected at least 15 to divide, got 14",
    ),
    (
      {"split_by": "identity", "split_folds": 2, "split_fold": 2},
      "data.split_fold: expected 0 to 1",
    ),
  ],
)
def test_mistakes_are_named(folder, changes, message):
  with pytest.raises(UserError, match=message):
    open_parts(config(**changes), folder)


def test_a_set_without_groups_says_so(tmp_path):
  from tensorflow_datasets import features

  kept = features.FeaturesDict(
    {"image": features.Image(shape=(6, 6, 1)), "label": features.Text()}
  )
  examples = [
    {key: example(number)[key] for key in kept} for number in (0, 3, 6)
  ]
  write_set(tmp_path, "mine", {"train": examples}, features=kept)
  with pytest.raises(UserError, match="mine has no groups; name their feature"):
    open_parts(config(split_by="group"), tmp_path)
  train, evaluated = open_parts(config(split_by="identity"), tmp_path)
  assert np.array_equal(train.labels, [0, 1])
  assert (len(evaluated), evaluated.groups, evaluated.paths) == (1, None, ())


@pytest.fixture(scope="module")
def two(tmp_path_factory):
  """Split `one` of alphabets A to C, `other` of B to E."""
  root = tmp_path_factory.mktemp("two")
  splits = {
    "one": [example(number) for number in range(18)],
    "other": [example(number) for number in range(6, 30)],
  }
  # The first character of B is in the one, and both are in the other.
  splits["one"] = [x for x in splits["one"] if x["label"] != "B/c1"]
  write_set(root, "mine", splits)
  return root


@pytest.mark.parametrize(
  ("unseen", "expected"),
  [
    ("", [*range(6, 30)]),
    ("identity", [9, 10, 11, *range(18, 30)]),
    ("group", [*range(18, 30)]),
  ],
)
def test_what_train_has_is_left_out_of_evaluation(two, unseen, expected):
  fields = config(unseen=unseen, train_split="one", eval_split="other")
  train, evaluated = open_parts(fields, two)
  assert len(train) == 15
  assert numbers(evaluated) == expected
  assert numbers(open_part(fields, two, "other")) == expected
  # Where the config divides, an expression is without all of it.
  fields.data.update({"split_by": "group", "eval_split": ""})
  assert numbers(open_part(fields, two, "other")) == expected
  assert len(open_part(fields, two, "eval")) in (3, 6)


def test_what_is_left_out_in_words(two):
  fields = config(unseen="group", train_split="one", eval_split="other")
  assert describe_part(fields, "eval") == "other without groups of one"
  assert describe_part(fields, "train") == "one"
  fields.data.eval_split = "one"
  with pytest.raises(UserError, match="each group of one is in one too"):
    open_parts(fields, two)


def test_another_set_is_trained_on_beside(two, tmp_path):
  write_set(
    tmp_path, "more", {"some": [example(number) for number in (0, 1, 9)]}
  )
  (tmp_path / "mine").symlink_to(two / "mine")
  fields = config(train_split="one", eval_split="other", unseen="group")
  alone = open_parts(fields, tmp_path)
  fields.data.update({"beside": "more", "beside_split": "some"})
  train, evaluated = open_parts(fields, tmp_path)
  assert numbers(train) == [*numbers(alone[0]), 0, 1, 9]
  assert train.label_names[-2:] == ("more:A/c0", "more:B/c1")
  assert train.group_names == ("A", "B", "C", "more:A", "more:B")
  assert numbers(evaluated) == numbers(alone[1])
  assert numbers(open_part(fields, tmp_path, "train")) == numbers(train)
  assert describe_part(fields, "train") == "one, and some of more"
  # What is held out isn't trained on; the other set is, whole.
  fields.data.update(
    {"split_by": "group", "split_names": ("B", "C"), "eval_split": ""}
  )
  train, evaluated = open_parts(fields, tmp_path)
  assert numbers(train) == [0, 1, 2, 3, 4, 5, 0, 1, 9]
  assert train.group_names == ("A", "more:A", "more:B")
  assert numbers(open_part(fields, tmp_path, "train")) == numbers(train)
  assert evaluated.group_names == ("B", "C")
  assert describe_part(fields, "train") == (
    "kept from one (group: by name, seed 0), and some of more"
  )


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    ({"beside": "mroe"}, r"data\.beside: 'mroe' isn't prepared in"),
    ({"beside": "digits/x"}, r"data\.beside: unknown 'digits/x'; choose"),
    (
      {"beside": "mine", "beside_split": "all!"},
      r"data\.beside_split: no split 'all!'; choose from one, other",
    ),
    (
      {"beside": "digits", "channels": 1},
      r"data\.beside: images of digits are 8x8x1, those beside them 6x6x1",
    ),
  ],
)
def test_mistakes_of_what_is_beside(two, changes, message):
  with pytest.raises(UserError, match=message):
    open_parts(config(eval_split="other", train_split="one", **changes), two)
