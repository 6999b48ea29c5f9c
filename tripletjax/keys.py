"""Keys whose numbers are those of `jax.random`, drawn in one loop on a CPU.

A number of `jax.random` is a hash of a key and a counter (Threefry-2x32; Salmon
et al., "Parallel random numbers: as easy as 1, 2, 3", 2011). On a CPU JAX
hashes in rounds, a loop over the array each: where little is drawn at a time,
inside of another loop, the rounds are all of the time.

By a prototype on two cores, 264 x 8 numbers, each by its own key, in a loop:
0.008 ms, by JAX's own 0.22; compiled in 0.8 s and in 3.0.
"""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.random import define_prng_impl, threefry_prng_impl

_ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))
_PARITY = 0x1BD11BDA


def quick_key(key: jax.Array) -> jax.Array:
  """The same key, or keys, with the same numbers.

  Args:
    key: of `jax.random.key`, or raw, of `jax.random.PRNGKey`. One that isn't
      Threefry's draws as before, and so does any where the default backend is
      no CPU or `jax_threefry_partitionable` is off.

  Raises:
    TypeError: it is no key.

  >>> key = jax.random.key(0)
  >>> bool(jax.random.uniform(quick_key(key)) == jax.random.uniform(key))
  True
  """
  typed = isinstance(key, jax.Array) and jnp.issubdtype(
    key.dtype, jax.dtypes.prng_key
  )
  if not typed:
    key = jax.random.wrap_key_data(key)
  options: Any = jax.config  # its flags are no attributes that mypy knows
  if (
    jax.random.key_impl(key) != "threefry2x32"
    or jax.default_backend() != "cpu"
    or not options.jax_threefry_partitionable
  ):
    return key
  return jax.random.wrap_key_data(jax.random.key_data(key), impl=_QUICK)


def _hashed(
  key: jax.Array, high: jax.Array, low: jax.Array
) -> tuple[jax.Array, jax.Array]:
  """Two words of each counter `(high, low)`, by a key `[2]`; uint32."""
  first, second = key[0], key[1]
  keys = (first, second, first ^ second ^ jnp.uint32(_PARITY))
  x, y = high + first, low + second
  for number in range(1, 6):
    for bits in _ROTATIONS[(number - 1) % 2]:
      x = x + y
      y = (y << bits) | (y >> (32 - bits))
      y = x ^ y
    x = x + keys[number % 3]
    y = y + keys[(number + 1) % 3] + jnp.uint32(number)
  return x, y


def _counted(
  key: jax.Array, shape: tuple[int, ...]
) -> tuple[jax.Array, jax.Array]:
  """Two words of each place of an array, by its number."""
  if math.prod(shape) >= 2**32:
    raise ValueError(f"expected fewer than 2^32 numbers, got shape {shape}")
  low = jnp.arange(math.prod(shape), dtype=jnp.uint32).reshape(shape)
  return _hashed(key, jnp.zeros_like(low), low)


def _split(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
  return jnp.stack(_counted(key, shape), axis=-1)


def _fold_in(key: jax.Array, data: int | jax.Array) -> jax.Array:
  low = jnp.asarray(data, jnp.uint32)
  return jnp.stack(_hashed(key, jnp.zeros_like(low), low))


def _random_bits(
  key: jax.Array, width: int, shape: tuple[int, ...]
) -> jax.Array:
  first, second = _counted(key, shape)
  if width == 64:
    high, low = first.astype(jnp.uint64), second.astype(jnp.uint64)
    return (high << jnp.uint64(32)) | low
  return (first ^ second).astype(f"uint{width}")


_QUICK = define_prng_impl(
  key_shape=(2,),
  seed=threefry_prng_impl.seed,
  split=_split,
  random_bits=_random_bits,
  fold_in=_fold_in,
  name="quick_threefry2x32",
  tag="quick",
)
