"""The only file that names a device or an axis.

The per-device step is a pure function with an `axis_name`; here it is wrapped
for all devices. A batch `[B, ...]` becomes `[D, B / D, ...]`; the state is
copied to each device.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from tripletjax.errors import UserError

AXIS = "devices"
# Of devices that don't share a batch, but have members of their own.
SEATS = "seats"

Devices = Sequence[jax.Device]


def local_devices() -> Devices:
  """All devices of this process."""
  return jax.local_devices()


def all_devices() -> Devices:
  """The devices of all processes, process by process."""
  return jax.devices()


def here(devices: Devices) -> Devices:
  """Those of the devices that belong to this process."""
  own = jax.process_index()
  return [device for device in devices if device.process_index == own]


def describe_devices(devices: Devices) -> str:
  """The devices in words, for people."""
  kinds = sorted({device.device_kind for device in devices})
  platform = devices[0].platform
  count = len({device.process_index for device in devices})
  processes = f" of {count} processes" if count > 1 else ""
  return f"{len(devices)} x {platform} ({', '.join(kinds)}){processes}"


def data_parallel(
  step: Callable[..., Any],
  devices: Devices,
  *,
  replicated: Sequence[int] = (),
  donate: Sequence[int] = (),
  backend: str = "pmap",
) -> Callable[..., Any]:
  """Runs a per-device function on all devices.

  Args:
    step: a function of arrays that may name the axis `AXIS`.
    devices: where to run it.
    replicated: positions of arguments that are the same for all devices and
      come without a device axis; all others have one in front.
    donate: positions of arguments whose memory is given to the results.
    backend: a name from `BACKENDS`; the results are the same.

  Returns:
    The wrapped function; its results have a device axis in front.
  """
  return BACKENDS[backend](step, devices, tuple(replicated), tuple(donate))


def members_parallel(
  step: Callable[..., Any], devices: Devices, *, shared: str
) -> Callable[..., Any]:
  """Runs a per-device step for many members, each alone with its whole batch.

  Args:
    step: `(state, batch, key, numbers) -> results`, which may name the axis
      `AXIS`: a member is one device of its own.
    devices: D devices, which share the members evenly.
    shared: of the batch's entries, the one that all members have in common.

  Returns:
    `(states, batches, key_data, numbers) -> results`, all `[D, M / D, ...]` but
    for the shared entry, `[D, ...]`; the memory of the states is given to the
    results. Keys are given by their data, uint32.
  """

  def member(state: Any, batch: Any, key: jax.Array, numbers: Any) -> Any:
    alone = jax.vmap(
      step, in_axes=(None, None, None, None), axis_name=AXIS, axis_size=1
    )
    found = alone(state, batch, jax.random.wrap_key_data(key), numbers)
    return jax.tree.map(lambda x: x[0], found)

  def members(states: Any, batches: Any, keys: jax.Array, numbers: Any) -> Any:
    axes = {name: None if name == shared else 0 for name in batches}
    return jax.vmap(member, in_axes=(0, axes, 0, 0))(
      states, batches, keys, numbers
    )

  return jax.pmap(
    members, axis_name=SEATS, devices=devices, donate_argnums=(0,)
  )


def _pmap(
  step: Callable[..., Any],
  devices: Devices,
  replicated: tuple[int, ...],
  donate: tuple[int, ...],
) -> Callable[..., Any]:
  return jax.pmap(
    step,
    axis_name=AXIS,
    in_axes=tuple(
      None if i in replicated else 0 for i in range(_arguments(step))
    ),
    devices=devices,
    donate_argnums=donate,
  )


def _shard_map(
  step: Callable[..., Any],
  devices: Devices,
  replicated: tuple[int, ...],
  donate: tuple[int, ...],
) -> Callable[..., Any]:
  def one_device(*arguments: Any) -> Any:
    # A device's part of [D, ...] is [1, ...].
    local = (
      x if i in replicated else jax.tree.map(lambda part: part[0], x)
      for i, x in enumerate(arguments)
    )
    return jax.tree.map(lambda x: x[None], step(*local))

  return jax.jit(
    jax.shard_map(
      one_device,
      mesh=device_mesh(devices),
      in_specs=tuple(
        P() if i in replicated else P(AXIS) for i in range(_arguments(step))
      ),
      out_specs=P(AXIS),
      # As in pmap: a sum over devices is differentiated to a sum over devices,
      # which is what `pmean` of the gradients expects.
      check_vma=False,
    ),
    donate_argnums=donate,
  )


def _arguments(step: Callable[..., Any]) -> int:
  return len(inspect.signature(step).parameters)


# The choices of `config.parallel.backend`.
BACKENDS: Mapping[str, Callable[..., Callable[..., Any]]] = {
  "pmap": _pmap,
  "shard_map": _shard_map,
}


def device_mesh(devices: Devices, *, axis: str = AXIS) -> Mesh:
  """The devices in a row, along an axis."""
  return Mesh(np.asarray(devices), (axis,), axis_types=(AxisType.Auto,))


def replicate(tree: Any, devices: Devices, *, axis: str = AXIS) -> Any:
  """Copies of all arrays on every device."""
  # Laid out as pmap lays out its results: flax's `replicate` names the axis
  # otherwise, so that the step would be compiled twice, for its first call and
  # for all others.
  count = len(here(devices))

  def copy(x: jax.Array) -> jax.Array:
    host = np.asarray(x)
    copies = np.broadcast_to(host, (count, *host.shape))
    return place(copies, devices, axis=axis)

  return jax.tree.map(copy, tree)


def place(tree: Any, devices: Devices, *, axis: str = AXIS) -> Any:
  """Host arrays `[d, ...]`, of this process's d devices, as `[D, ...]`."""
  sharding = NamedSharding(device_mesh(devices, axis=axis), P(axis))
  if len(here(devices)) == len(devices):
    return jax.device_put(tree, sharding)
  return jax.tree.map(
    lambda x: jax.make_array_from_process_local_data(sharding, x), tree
  )


def first(tree: Any) -> Any:
  """The first device's part of replicated arrays, as NumPy."""

  # Not x[0], which runs a program over all devices.
  def fetch(x: jax.Array) -> np.ndarray:
    return np.asarray(x.addressable_shards[0].data)[0]

  return jax.tree.map(fetch, tree)


def shard(tree: Any, count: int) -> Any:
  """Host arrays `[B, ...]` divided in order: `[D, B / D, ...]`."""
  return jax.tree.map(
    lambda x: x.reshape(count, x.shape[0] // count, *x.shape[1:]), tree
  )


def ahead(
  batches: Iterable[Any], devices: Devices
) -> Iterator[Mapping[str, jax.Array]]:
  """Batches, sharded and on the devices, the next one always under way.

  Args:
    batches: trees of host arrays `[B, ...]`; of several processes each has its
      part.
    devices: D devices that share each batch evenly.

  Yields:
    Trees of arrays `[D, B / D, ...]`.
  """
  count = len(here(devices))
  under_way = None
  for batch in batches:
    # Returns at once: the copy runs beside the step of the batch before.
    coming = place(shard(batch, count), devices)
    if under_way is not None:
      yield under_way
    under_way = coming
  if under_way is not None:
    yield under_way


def free_memory(devices: Devices) -> int | None:
  """Free bytes of the fullest device; None where a device doesn't tell."""
  free = []
  for device in here(devices):
    stats = device.memory_stats()
    if not stats or "bytes_limit" not in stats:
      return None
    free.append(stats["bytes_limit"] - stats.get("bytes_in_use", 0))
  return min(free)


def unshard(tree: Any) -> Any:
  """The inverse of `shard`, on the host."""
  return jax.tree.map(lambda x: np.asarray(x).reshape(-1, *x.shape[2:]), tree)


def check_divisible(size: int, field: str, count: int) -> None:
  """Raises a `UserError` unless the devices can share `size` evenly."""
  if size % count:
    raise UserError(
      f"{field}: expected a multiple of the {count} devices, got {size}"
    )
