"""Numbers of a key against those of `jax.random` by the key it was made of."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tripletjax.keys import quick_key

DRAWS = {
  "uniform": lambda key: jax.random.uniform(key, (3, 5)),
  "one": jax.random.uniform,
  "normal": lambda key: jax.random.normal(key, (2, 4)),
  "bernoulli": lambda key: jax.random.bernoulli(key, 0.3, (9,)),
  "randint": lambda key: jax.random.randint(key, (2,), 0, 9),
  "permutation": lambda key: jax.random.permutation(key, 9),
  "bytes": lambda key: jax.random.bits(key, (7,), "uint8"),
  "words": lambda key: jax.random.bits(key, (7,), "uint32"),
  "split": lambda key: jax.random.key_data(jax.random.split(key, (2, 3))),
  "largest": lambda key: jax.random.key_data(
    jax.random.fold_in(key, jnp.uint32(2**32 - 1))
  ),
}


@pytest.mark.parametrize("name", DRAWS)
def test_numbers_are_those_of_jax(name):
  draw, key = DRAWS[name], jax.random.key(7)

  def of_many(key):
    keys = jax.vmap(jax.random.fold_in, (None, 0))(key, jnp.arange(4))
    return draw(key), jax.vmap(draw)(keys)

  found, expected = jax.jit(of_many)(quick_key(key)), jax.jit(of_many)(key)
  jax.tree.map(np.testing.assert_array_equal, found, expected)


def test_wide_words():
  with jax.enable_x64(True):
    key = jax.random.key(3)
    found = jax.random.bits(quick_key(key), (5,), "uint64")
    np.testing.assert_array_equal(found, jax.random.bits(key, (5,), "uint64"))


def test_raw_keys_and_those_of_others():
  raw = jax.random.PRNGKey(5)
  assert jax.random.uniform(quick_key(raw)) == jax.random.uniform(raw)
  quick = quick_key(raw)
  assert quick_key(quick) is quick
  other = jax.random.key(5, impl="rbg")
  assert quick_key(other) is other


def test_elsewhere_keys_stay(monkeypatch):
  key = jax.random.key(5)
  assert quick_key(key) is not key
  monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
  assert quick_key(key) is key


def test_other_counters_stay():
  key = jax.random.key(5)
  with jax.threefry_partitionable(False):
    assert quick_key(key) is key


@pytest.mark.parametrize("key", [3, np.arange(2), jnp.zeros(2)])
def test_what_is_no_key(key):
  with pytest.raises(TypeError, match="invalid PRNG key data"):
    quick_key(key)


def test_too_many_numbers():
  key = quick_key(jax.random.key(0))
  with pytest.raises(ValueError, match=r"fewer than 2\^32 numbers"):
    jax.jit(lambda: jax.random.bits(key, (2**16, 2**16))).lower()
