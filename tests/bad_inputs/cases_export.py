"""A run as a file, and as a page; rows as in `cases_commands.py`."""

GOOD = "--workdir={w}/runs/good "
EXPORT = "export " + GOOD

EXPORTS = [
  ("none", "export", "no run", "--workdir: expected the folder of a finished "),
  ("format-none", EXPORT, "no format",
   "--format: expected stablehlo, onnx or flax, got none"),
  ("format", EXPORT + "--format=keras", "another format",
   "flag --format=keras: value should be one of <stablehlo|onnx|flax>"),
  ("nowhere", "export --workdir=no --format=flax", "no such run",
   "--workdir: no run in no: expected a config.json"),
  ("unsaved", "export --workdir={w}/runs/unsaved --format=flax",
   "no checkpoint", "--workdir: no checkpoint in ..."),
  ("unnoted", "export --workdir={w}/runs/metrics_empty --format=flax "
   "--output=out", "a run that doesn't say what its images were",
   "--workdir: ... doesn't say which images it was trained on"),
  ("checkpoint", EXPORT + "--format=flax --checkpoint=7", "no such step",
   "--checkpoint: expected latest, best or one of 1, got '7'"),
  ("output-file", EXPORT + "--format=flax --output={w}/names.txt",
   "the folder is a file", "--output: {w}/names.txt is no folder"),
  ("output-other", EXPORT + "--format=flax --output={w}/images/good",
   "somebody's folder", "--output: {w}/images/good holds something else than"),
  ("output-below", EXPORT + "--format=flax --output={w}/names.txt/out",
   "a folder in a file", "--output: can't write {w}/names.txt/out: "),
  ("output-root", EXPORT + "--format=flax --output=/", "no name",
   "--output: expected the name of a folder, got /"),
  ("page-none", "explore", "no run", "--workdir: expected the folder of a fin"),
  ("page-both", "explore --images=a --split=b " + GOOD, "two sets",
   "--split: expected no --images beside it"),
  ("page-port", "explore --port=70000 " + GOOD, "no such port",
   "flag --port=70000: 70000 is not "),
  ("page-host", "explore --host='a b' " + GOOD, "no address",
   "--host: expected an address, got 'a b'"),
  ("page-far", "explore --far=2 " + GOOD, "no rate",
   "--far: expected a rate between 0 and 1, got 2"),
  ("page-nowhere", "explore --workdir=no", "no such run",
   "--workdir: no run in no: expected a config.json"),
]  # fmt: skip
