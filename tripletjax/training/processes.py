"""Several processes that train together: how they meet, and who writes.

Each sees its own devices and loads its share of each batch. The first one
evaluates, prints and writes; the others need neither its folder nor its
checkpoints, since what they have to know is sent to them.
"""

from __future__ import annotations

import contextlib
import os
import sys
import traceback
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from tripletjax.errors import UserError
from tripletjax.training.launcher import say_failed

# Of clusters that JAX knows: what has to be set, and the number of processes.
CLUSTERS: Mapping[str, tuple[tuple[str, ...], str]] = {
  "Slurm": (
    ("SLURM_JOB_ID", "SLURM_STEP_NODELIST", "SLURM_PROCID", "SLURM_LOCALID"),
    "SLURM_NTASKS",
  ),
  "Open MPI": (("OMPI_MCA_orte_hnp_uri",), "OMPI_COMM_WORLD_SIZE"),
}
# How long an ended process waits for the others, in seconds.
SHUTDOWN = 30


@contextlib.contextmanager
def together(
  coordinator: str | None = None,
  num_processes: int | None = None,
  process_id: int | None = None,
) -> Iterator[bool]:
  """Meets the other processes, if there are any; to be entered before all else.

  Without arguments they are looked for in the environment: of JAX
  (`JAX_COORDINATOR_ADDRESS`, `JAX_NUM_PROCESSES`, `JAX_PROCESS_ID`), of Slurm
  (`srun`) and of Open MPI (`mpirun`).

  Args:
    coordinator: `host:port` of the first process.
    num_processes: how many there are.
    process_id: which one this is, from 0.

  Yields:
    Whether this is the first process.

  Raises:
    UserError: some of the arguments, but not all; or they can't be right.
  """
  given = (coordinator, num_processes, process_id)
  if any(value is not None for value in given):
    _check(*given)
    _start(*given)
  elif found := _of_jax(os.environ):
    _check(*found)
    _start(*found)
  elif in_cluster(os.environ):
    _start(None, None, None)
  try:
    yield is_first()
  except BaseException as error:
    if jax.process_count() == 1:
      raise
    say_failed(jax.process_index())
    # To exit as usual would wait for the others, and they wait for this one.
    os._exit(_say_why(error))


def in_cluster(environment: Mapping[str, str]) -> bool:
  """Whether several processes were started by a cluster's launcher."""
  return any(
    all(name in environment for name in (*needed, count))
    and int(environment[count]) > 1
    for needed, count in CLUSTERS.values()
  )


def is_first() -> bool:
  """Whether this process is the one that writes."""
  return jax.process_index() == 0


def is_alone() -> bool:
  """Whether there is no other process."""
  return jax.process_count() == 1


@contextlib.contextmanager
def first_goes_first() -> Iterator[None]:
  """The first process does what follows, and then the others do it."""
  if not is_first():
    wait("first_goes_first")
  yield
  if is_first():
    wait("first_goes_first")


def wait(name: str) -> None:
  """Waits until all processes are here."""
  if jax.process_count() > 1:
    multihost_utils.sync_global_devices(name)


def from_first(tree: Any) -> Any:
  """What the first process has of this, in all of them; on the host."""
  if jax.process_count() == 1:
    return tree
  return multihost_utils.broadcast_one_to_all(jax.tree.map(np.asarray, tree))


def text_from_first(text: str) -> str:
  """As `from_first`, of a text, whose length the others needn't know."""
  if jax.process_count() == 1:
    return text
  letters = np.frombuffer(text.encode(), np.uint8)
  buffer = np.zeros(int(from_first(np.int32(len(letters)))), np.uint8)
  return bytes(from_first(letters if is_first() else buffer)).decode()


def any_of(flag: bool) -> bool:
  """Whether it holds in any process; all have to ask at the same step."""
  if jax.process_count() == 1:
    return flag
  return bool(multihost_utils.process_allgather(np.int32(flag)).any())


def blocks_of_this(count: int, size: int) -> np.ndarray:
  """Which of `count` rows this process takes: each so-manieth block of `size`.

  Whole blocks, so that a row is computed beside the same ones as by one
  process.
  """
  turn = np.arange(count) // size % jax.process_count()
  return np.flatnonzero(turn == jax.process_index())


def joined(rows: np.ndarray, count: int, size: int) -> np.ndarray:
  """The rows of all processes, each of which took its blocks; in all of them.

  Args:
    rows: of this process, those of `blocks_of_this`, `[n, ...]`.
    count: how many there are in all.
    size: of a block.

  Returns:
    `[count, ...]`.
  """
  several = jax.process_count()
  turn = np.arange(count) // size % several
  most = int(np.bincount(turn, minlength=several).max())
  padding = [(0, most - len(rows))] + [(0, 0)] * (rows.ndim - 1)
  parts = multihost_utils.process_allgather(np.pad(rows, padding))
  whole = np.empty((count, *rows.shape[1:]), rows.dtype)
  for number, part in enumerate(parts):
    (places,) = np.nonzero(turn == number)
    whole[places] = part[: len(places)]
  return whole


def share(sampler: Any) -> Any:
  """The part of each batch that this process loads."""
  if jax.process_count() == 1:
    return sampler
  return sampler.shard(jax.process_index(), jax.process_count())


def _start(
  coordinator: str | None, num_processes: int | None, process_id: int | None
) -> None:
  # For CPUs; other devices have collectives of their own.
  jax.config.update("jax_cpu_collectives_implementation", "gloo")
  # Nobody here asks whether the job is preempted: SIGTERM is to end it.
  jax.config.update("jax_enable_preemption_service", False)
  jax.distributed.initialize(
    coordinator,
    num_processes,
    process_id,
    shutdown_timeout_seconds=SHUTDOWN,
  )


def _of_jax(
  environment: Mapping[str, str],
) -> tuple[str | None, int | None, int | None] | None:
  if "JAX_COORDINATOR_ADDRESS" not in environment:
    return None
  count = environment.get("JAX_NUM_PROCESSES")
  number = environment.get("JAX_PROCESS_ID")
  return (
    environment["JAX_COORDINATOR_ADDRESS"],
    None if count is None else int(count),
    None if number is None else int(number),
  )


def _check(
  coordinator: str | None, num_processes: int | None, process_id: int | None
) -> None:
  if coordinator is None or num_processes is None or process_id is None:
    raise UserError(
      "--coordinator, --num_processes and --process_id: expected all or none"
    )
  host, _, port = coordinator.rpartition(":")
  if not host or not port.isdecimal():
    raise UserError(f"--coordinator: expected host:port, got {coordinator!r}")
  if num_processes < 1:
    raise UserError(f"--num_processes: expected 1 or more, got {num_processes}")
  if not 0 <= process_id < num_processes:
    raise UserError(
      f"--process_id: expected 0 to {num_processes - 1}, got {process_id}"
    )


def _say_why(error: BaseException) -> int:
  """Prints why this process ends, and returns its exit code."""
  code: Any = 1
  if isinstance(error, UserError):
    print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
    code = 2
  elif isinstance(error, SystemExit):
    code = error.code if isinstance(error.code, int) else 1
  else:
    traceback.print_exception(error)
  sys.stdout.flush()
  sys.stderr.flush()
  return code
