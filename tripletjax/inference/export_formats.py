"""What a network is exported as: StableHLO, ONNX, or weights for flax.

A format writes the bytes of a file from a finished run, and opens that file
again as a function of images; neither knows of the folder around it.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np

from tripletjax.errors import UserError, printable
from tripletjax.safetensors_files import read_safetensors, write_safetensors
from tripletjax.training.finished import (
  FinishedRun,
  check_network,
  read_config,
  trained_state,
)
from tripletjax.training.state import LOSS
from tripletjax.training.step import make_embed_step
from tripletjax.training.views import make_views

# uint8 [B, H, W, C] -> float32 [B, D].
ForwardFn = Callable[[np.ndarray], np.ndarray]
Shape = tuple[int, int, int]

PLATFORMS = ("cpu", "cuda", "tpu")
IMAGES, EMBEDDINGS = "images", "embeddings"  # what ONNX calls them


class Format(NamedTuple):
  """A kind of file.

  Attributes:
    file: its name in the folder.
    writes_with: packages of the extra of the same name, to write it.
    opens_with: those of them to open it.
    write: a run and `(H, W, C)` to the file's bytes.
    open: the folder, its metadata to a function of images.
  """

  file: str
  writes_with: tuple[str, ...]
  opens_with: tuple[str, ...]
  write: Callable[[FinishedRun, Shape], bytes]
  open: Callable[[Path, Mapping[str, Any]], ForwardFn]


def make_forward(run: FinishedRun) -> Callable[[jax.Array], jax.Array]:
  """`images -> embeddings`, pure, with the run's weights and views in it.

  uint8 `[B, H, W, C]` to float32 `[B, D]`.
  """
  embed = make_embed_step(make_views(run.config))
  state = trained_state(run)

  def forward(images: jax.Array) -> jax.Array:
    return embed(state, images)

  return forward


def check_installed(what: str, packages: tuple[str, ...], extra: str) -> None:
  """Raises a `UserError` where a package is missing.

  Args:
    what: needs them.
    packages: by the names that they are imported by.
    extra: of this package, that brings them.
  """
  for package in packages:
    if importlib.util.find_spec(package) is None:
      raise UserError(
        f"{what}: expected the package {package}, which isn't installed: "
        f"pip install 'tripletjax[{extra}]'"
      )


def _write_stablehlo(run: FinishedRun, image_shape: Shape) -> bytes:
  from jax import export  # imports flatbuffers

  (batch,) = export.symbolic_shape("b")
  images = jax.ShapeDtypeStruct((batch, *image_shape), jnp.uint8)
  with _without_paths():
    exported = export.export(jax.jit(make_forward(run)), platforms=PLATFORMS)(
      images
    )
    return bytes(exported.serialize())


def _open_stablehlo(folder: Path, metadata: Mapping[str, Any]) -> ForwardFn:
  del metadata
  from jax import export

  path = folder / FORMATS["stablehlo"].file
  try:
    exported = export.deserialize(bytearray(path.read_bytes()))
  except Exception as error:
    # Whatever flatbuffers makes of a file that is something else.
    raise _unreadable(path, error) from error
  call = jax.jit(exported.call)
  return lambda images: np.asarray(call(jnp.asarray(images)))


@contextlib.contextmanager
def _without_paths() -> Iterator[None]:
  """A program doesn't say where on this machine its source lies."""
  name = "jax_traceback_in_locations_limit"
  before = jax.config.values[name]
  jax.config.update(name, 0)
  try:
    yield
  finally:
    jax.config.update(name, before)


def _write_onnx(run: FinishedRun, image_shape: Shape) -> bytes:
  with _quiet():
    from jax2onnx import to_onnx
    from jax2onnx.converter import ir_optimizations

    # It would break a sum of branches, as a ResNet has; onnxruntime moves the
    # transposes away as well.
    without = mock.patch.object(
      ir_optimizations,
      "remove_redundant_transpose_pairs_ir",
      return_value=None,
      create=True,
    )
    try:
      with without:
        model = to_onnx(
          make_forward(run),
          inputs=[jax.ShapeDtypeStruct(("b", *image_shape), jnp.uint8)],
          model_name="tripletjax",
          input_names=[IMAGES],
          output_names=[EMBEDDINGS],
        )
    except Exception as error:
      # Whatever it raises of an operation that it doesn't know.
      said = printable(f"{type(error).__name__}: {error}")[:200]
      what = f"model.name={run.config.model.name}"
      if run.config.evaluation.views > 1:
        what += f" with evaluation.views={run.config.evaluation.views}"
      raise UserError(
        f"--format=onnx: jax2onnx can't convert {what}: {said}; "
        "--format=stablehlo takes it"
      ) from error
  # Where on this machine its source lies is nobody's business.
  for place in (model, model.graph, *model.graph.node, *model.functions):
    del place.metadata_props[:]
  for node in model.graph.node:
    node.doc_string = ""
  return model.SerializeToString()


def _open_onnx(folder: Path, metadata: Mapping[str, Any]) -> ForwardFn:
  del metadata
  import onnxruntime

  path = folder / FORMATS["onnx"].file
  options = onnxruntime.SessionOptions()
  options.log_severity_level = 3  # errors
  try:
    session = onnxruntime.InferenceSession(
      path.read_bytes(), options, providers=["CPUExecutionProvider"]
    )
  except Exception as error:
    raise _unreadable(path, error) from error

  def forward(images: np.ndarray) -> np.ndarray:
    return session.run([EMBEDDINGS], {IMAGES: images})[0]

  return forward


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
  """jax2onnx prints what it looks at, and logs the traces of its own parts."""
  before = logging.root.manager.disable
  logging.disable(logging.CRITICAL)
  try:
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
      warnings.simplefilter("ignore")
      yield
  finally:
    logging.disable(before)


def _write_flax(run: FinishedRun, image_shape: Shape) -> bytes:
  del image_shape
  params = {name: tree for name, tree in run.params.items() if name != LOSS}
  variables = {"params": params, "batch_stats": run.batch_stats}
  flat = flax.traverse_util.flatten_dict(variables, sep="/")
  return write_safetensors({k: np.asarray(x) for k, x in flat.items()})


def open_network(folder: Path, metadata: Mapping[str, Any]) -> FinishedRun:
  """The network of a `flax` export: config, parameters and statistics.

  Args:
    folder: of the export.
    metadata: what its `metadata.json` says.

  Raises:
    UserError: a file can't be read, or they don't fit each other.
  """
  path = folder / FORMATS["flax"].file
  flat = {tuple(k.split("/")): x for k, x in read_safetensors(path).items()}
  variables = flax.traverse_util.unflatten_dict(flat)
  run = FinishedRun(
    workdir=folder,
    config=read_config(folder),
    step=int(metadata["run"]["step"]),
    params=variables.get("params", {}),
    batch_stats=variables.get("batch_stats", {}),
  )
  image = metadata["image"]
  check_network(run, (image["height"], image["width"], image["channels"]))
  return run


def _open_flax(folder: Path, metadata: Mapping[str, Any]) -> ForwardFn:
  call = jax.jit(make_forward(open_network(folder, metadata)))
  return lambda images: np.asarray(call(jnp.asarray(images)))


def _unreadable(path: Path, error: Exception) -> UserError:
  said = printable(str(error))[:200] or type(error).__name__
  return UserError(f"{path}: can't be read: {said}; export it again")


FORMATS: Mapping[str, Format] = {
  "stablehlo": Format(
    "model.stablehlo", (), (), _write_stablehlo, _open_stablehlo
  ),
  "onnx": Format(
    "model.onnx",
    ("jax2onnx", "onnx", "onnxruntime"),
    ("onnxruntime",),
    _write_onnx,
    _open_onnx,
  ),
  "flax": Format("model.safetensors", (), (), _write_flax, _open_flax),
}
