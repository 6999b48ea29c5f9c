"""Strict settings for every test: types, ranks, shapes, devices, warnings."""

import atexit
import os
import shutil
import tempfile

# Compiling is most of the time of the tests, here and in processes that they
# start: results are the same but for rounding. The emitters before the present
# ones compile twice as fast; another version may not know the flag, and end.
from tests.emitters import OLD_EMITTERS

os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] = "1"
os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {OLD_EMITTERS}"

import jax
import pytest
from jaxtyping import install_import_hook

jax.config.update("jax_num_cpu_devices", 8)
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_numpy_dtype_promotion", "strict")
# A training that goes on compiles the same again. Not for other processes: one
# might read what another one is still writing.
CACHE = tempfile.mkdtemp(prefix="tripletjax-tests-")
atexit.register(shutil.rmtree, CACHE, ignore_errors=True)
jax.config.update("jax_compilation_cache_dir", CACHE)
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)

# Shape annotations of the array layer are checked at every call.
install_import_hook(
  [
    "tripletjax.distances",
    "tripletjax.losses",
    "tripletjax.masks",
    "tripletjax.metrics",
    "tripletjax.miners",
    "tripletjax.reductions",
  ],
  "beartype.beartype",
)


@pytest.fixture(scope="module", autouse=True)
def _few_programs():
  """Forgets compiled programs between files before there are too many."""
  yield
  # Not before the hook is there.
  from tripletjax.training.programs import forget_programs

  forget_programs()


@pytest.fixture(scope="session")
def lab(tmp_path_factory):
  """Of tests/inference: a folder with `data`, `images`, `run`; to be read."""
  from tiny_sets import noise_run, write_images, write_noise

  folder = tmp_path_factory.mktemp("inference")
  write_noise(folder / "data")
  write_images(folder / "images")
  noise_run(folder / "run")
  return folder


@pytest.fixture(scope="session")
def embedder(lab):
  from tripletjax import Embedder

  return Embedder.load(lab / "run", devices=jax.local_devices()[:1])


@pytest.fixture(scope="session")
def embedded(lab, embedder):
  """All images of the folder, embedded."""
  from tripletjax.inference.folders import embed_folder

  return embed_folder(embedder, str(lab / "images"), say=lambda line: None)
