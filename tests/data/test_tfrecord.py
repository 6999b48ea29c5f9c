import struct
from types import SimpleNamespace

import prepared_sets
import pytest

from tripletjax.data.tfrecord import TFRecords
from tripletjax.errors import UserError

SHARDS = [[b"one", b"", b"three" * 100], [b"four"], [b"five", b"six"]]


def write(path, records):
  path.write_bytes(prepared_sets.tfrecord(records))


@pytest.fixture
def instructions(tmp_path):
  found = []
  for number, records in enumerate(SHARDS):
    path = tmp_path / f"set-train.tfrecord-{number:05d}-of-00003"
    write(path, records)
    found.append(
      SimpleNamespace(
        filename=str(path), skip=0, take=-1, examples_in_shard=len(records)
      )
    )
  return found


def test_random_access(instructions):
  records = TFRecords(instructions)
  wanted = [data for shard in SHARDS for data in shard]
  assert len(records) == len(wanted)
  order = [5, 0, 2, 2, 1, 4, 3]
  assert [records[i] for i in order] == [wanted[i] for i in order]
  assert records.__getitems__(order) == [wanted[i] for i in order]


def test_parts_of_shards(instructions):
  instructions[0].skip, instructions[0].take = 1, 2
  instructions[2].take = 1
  records = TFRecords(instructions)
  wanted = [b"", b"three" * 100, b"four", b"five"]
  assert [records[i] for i in range(len(records))] == wanted


@pytest.mark.parametrize("missing", [1, 7, 18])
def test_a_shard_cut_short_is_named(instructions, tmp_path, missing):
  path = tmp_path / "set-train.tfrecord-00001-of-00003"
  write(path, [b"four", b"cut"])
  instructions[1].examples_in_shard = 2
  path.write_bytes(path.read_bytes()[:-missing])
  with pytest.raises(UserError, match=f"{path.name} is cut short at record 1"):
    TFRecords(instructions)


def test_a_shard_with_too_few_records_is_named(instructions):
  instructions[2].examples_in_shard = 3
  with pytest.raises(UserError, match="holds 2 records, expected 3"):
    TFRecords(instructions)


def test_a_missing_or_empty_shard_is_named(instructions, tmp_path):
  (tmp_path / "set-train.tfrecord-00001-of-00003").write_bytes(b"")
  with pytest.raises(UserError, match=r"can't read .*00001-of"):
    TFRecords(instructions)
  instructions[0].filename += "x"
  with pytest.raises(UserError, match=r"can't read .*00003x: .*No such file"):
    TFRecords(instructions)


def test_the_checksum_is_the_published_one():
  # RFC 3720, B.4: CRC-32C of 32 zero bytes is 8a9136aa; masked, rotated.
  crc = 0x8A9136AA
  masked = ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF
  assert prepared_sets._checksum(bytes(32)) == struct.pack("<I", masked)


def test_a_wrong_length_is_found(instructions, tmp_path):
  path = tmp_path / "set-train.tfrecord-00001-of-00003"
  data = bytearray(prepared_sets.tfrecord([b"four", b"five"]))
  data[20] = 3  # the second record's length
  path.write_bytes(data)
  with pytest.raises(UserError, match=f"{path.name} is damaged at record 1:"):
    TFRecords(instructions)
