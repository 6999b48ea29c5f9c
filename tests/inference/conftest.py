"""One tiny run and its data, for all tests of using a finished run."""

import jax
import pytest
from tiny_sets import noise_run, write_images, write_noise

from tripletjax import Embedder


@pytest.fixture(scope="session")
def lab(tmp_path_factory):
  """A folder with `data`, `images` and `run`; not to be changed."""
  folder = tmp_path_factory.mktemp("inference")
  write_noise(folder / "data")
  write_images(folder / "images")
  noise_run(folder / "run")
  return folder


@pytest.fixture(scope="session")
def embedder(lab):
  return Embedder.load(lab / "run", devices=jax.local_devices()[:1])


@pytest.fixture(scope="session")
def embedded(lab, embedder):
  """All images of the folder, embedded."""
  from tripletjax.inference.folders import embed_folder

  return embed_folder(embedder, str(lab / "images"), say=lambda line: None)
