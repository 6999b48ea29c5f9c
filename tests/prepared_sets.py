"""Prepared sets as TFDS lays them out, in each of its formats."""

import io
import struct

import numpy as np
import tensorflow_datasets as tfds
from array_record.python.array_record_module import ArrayRecordWriter
from PIL import Image

FEATURES = tfds.features.FeaturesDict(
  {
    "image": tfds.features.Image(shape=(None, None, 1)),
    "label": tfds.features.Text(),
    "group": tfds.features.Text(),
    "path": tfds.features.Text(),
  }
)


def encode(pixels, mode="L"):
  buffer = io.BytesIO()
  Image.fromarray(pixels).convert(mode).save(buffer, "png")
  return buffer.getvalue()


def picture(value, shape=(6, 6), mode="L"):
  return encode(np.full(shape, value, np.uint8), mode)


def example(number, *, shape=(6, 6)):
  """Image `number` is of grey `number`; three a character, six an alphabet."""
  alphabet, character = "ABCDEFG"[number // 6], f"c{number // 3 % 2}"
  return {
    "image": picture(number, shape),
    "label": f"{alphabet}/{character}",
    "group": alphabet,
    "path": f"{alphabet}/{character}/x_{number % 3 + 1:04d}.png",
  }


def serialize(features, examples):
  serializer = tfds.core.example_serializer.ExampleSerializer(
    features.get_serialized_info()
  )
  return [
    serializer.serialize_example(features.encode_example(one))
    for one in examples
  ]


def write_set(root, name, splits, *, features=FEATURES, ending="array_record"):
  """Writes `splits`, name to examples; two shards each, of `name[/config]`."""
  folder = root / name / "1.0.0"
  folder.mkdir(parents=True)
  name = name.partition("/")[0]
  infos = []
  for split, examples in splits.items():
    records = serialize(features, examples)
    middle = len(records) // 2
    shards = [records[:middle], records[middle:]]
    for number, shard in enumerate(shards):
      path = folder / f"{name}-{split}.{ending}-{number:05d}-of-00002"
      WRITERS[ending](path, shard)
    infos.append(
      tfds.core.SplitInfo(
        name=split,
        shard_lengths=[len(shard) for shard in shards],
        num_bytes=sum(map(len, records)),
        filename_template=tfds.core.ShardedFileTemplate(
          dataset_name=name,
          data_dir=folder,
          split=split,
          filetype_suffix=ending,
        ),
      )
    )
  tfds.folder_dataset.write_metadata(
    data_dir=folder, features=features, split_infos=infos, check_data=False
  )
  return folder


def _write_array_record(path, records):
  writer = ArrayRecordWriter(str(path), "group_size:1")
  for record in records:
    writer.write(record)
  writer.close()


def _write_tfrecord(path, records):
  path.write_bytes(tfrecord(records))


def tfrecord(records):
  """The bytes of a TFRECORD shard."""
  parts = []
  for data in records:
    length = struct.pack("<Q", len(data))
    parts += [length, _checksum(length), data, _checksum(data)]
  return b"".join(parts)


def _checksum(data):
  """CRC-32C bit by bit (RFC 3720, B.4), masked as TensorFlow masks it."""
  crc = 0xFFFFFFFF
  for byte in data:
    crc ^= byte
    for _ in range(8):
      crc = crc >> 1 ^ 0x82F63B78 * (crc & 1)
  crc ^= 0xFFFFFFFF
  masked = (crc >> 15 | crc << 17) + 0xA282EAD8
  return struct.pack("<I", masked & 0xFFFFFFFF)


def _write_parquet(path, records):
  import pyarrow as pa
  from pyarrow import parquet

  table = pa.Table.from_arrays([pa.array(records, pa.binary())], names=["data"])
  parquet.write_table(table, path)


WRITERS = {
  "array_record": _write_array_record,
  "tfrecord": _write_tfrecord,
  "parquet": _write_parquet,
}
