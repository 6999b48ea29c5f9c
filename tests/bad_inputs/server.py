"""Runs commands as a shell would, without paying for their imports each time.

A process that has imported what the commands import, and forks for each of
them. The child is what `python -m experiments.train --flags` is: the module
runs as `__main__`, in a folder of its own, and ends with an exit code. Nothing
of absl is touched before the fork, and no device.

Reads a JSON object a line: `module`, `arguments`, `folder`, `seconds`,
`environment`, and `offline` where the network is forbidden. Answers with `code`
(None where it took longer), `stdout` and `stderr`.
"""

import json
import os
import runpy
import signal
import sys
import tempfile
import time
import traceback
import warnings


def preload():
  import jax
  import scipy.interpolate
  import scipy.stats  # noqa: F401
  import sklearn.cluster
  import sklearn.manifold  # noqa: F401

  import tripletjax.benchmark.losses
  import tripletjax.data.importing
  import tripletjax.data.listing
  import tripletjax.explore.serving
  import tripletjax.inference.clusters
  import tripletjax.inference.comparing
  import tripletjax.inference.enrolling
  import tripletjax.inference.export
  import tripletjax.inference.unpacking
  import tripletjax.report.batch
  import tripletjax.report.evaluation
  import tripletjax.report.pictures
  import tripletjax.training.evaluate_run
  import tripletjax.training.loop
  import tripletjax.training.preview  # noqa: F401

  assert not jax._src.xla_bridge.backends_are_initialized()


NETWORK = (
  "socket.connect",
  "socket.bind",
  "socket.sendto",
  "socket.getaddrinfo",
  "socket.gethostbyname",
  "urllib.Request",
)


def forbid_network():
  """Ends whatever would connect, listen, or ask for a name."""
  import socket

  def watch(event, arguments):
    if event not in NETWORK:
      return
    first = arguments[0] if arguments else None
    if isinstance(first, socket.socket) and first.family == socket.AF_UNIX:
      return
    print("NETWORK", event, arguments[1:], file=sys.stderr, flush=True)
    raise RuntimeError(f"{event} is forbidden here")

  sys.addaudithook(watch)


def call(expression):
  """Evaluates a call; prints what it raises as Python ends a trace."""
  import jax
  import jax.numpy as jnp
  import numpy as np

  import tripletjax
  from tripletjax import metrics
  from tripletjax.data.augment import color_jitter, random_grey
  from tripletjax.data.sampling import pk_sampler
  from tripletjax.torch_files import read_state_dict

  names = {
    **vars(tripletjax),
    "metrics": metrics,
    "color_jitter": color_jitter,
    "random_grey": random_grey,
    "pk_sampler": pk_sampler,
    "read_state_dict": read_state_dict,
    "jnp": jnp,
    "X": np.arange(8, dtype=np.float32).reshape(4, 2),
    "Y": np.array([0, 0, 1, 1]),
    "KEYS": jax.random.split(jax.random.key(0), 1),
  }
  try:
    print("no exception:", eval(expression, names))
  except Exception as error:
    print(f"{type(error).__name__}: {error}")
    sys.exit(3)


def child(request, out, err):
  os.setsid()
  os.dup2(out, 1)
  os.dup2(err, 2)
  with open(os.devnull) as nothing:
    os.dup2(nothing.fileno(), 0)
  os.chdir(request["folder"])
  os.environ.update(request.get("environment", {}))
  if request.get("offline"):
    forbid_network()
  sys.path[0] = request["folder"]  # as of `python -m`
  module = request["module"]
  sys.argv = [module, *request["arguments"]]
  code = 1
  try:
    if module == "experiments.calls":
      call(*request["arguments"])
    else:
      runpy.run_module(module, run_name="__main__", alter_sys=True)
    code = 0
  except SystemExit as error:
    code = error.code
    if code is None:
      code = 0
    elif not isinstance(code, int):
      print(code, file=sys.stderr)
      code = 1
  except BaseException:
    traceback.print_exc()
  finally:
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def wait(pid, seconds):
  end = time.monotonic() + seconds
  while time.monotonic() < end:
    done, status = os.waitpid(pid, os.WNOHANG)
    if done:
      return os.waitstatus_to_exitcode(status)
    time.sleep(0.003)
  os.killpg(pid, signal.SIGKILL)
  os.waitpid(pid, 0)
  return None


def main():
  warnings.filterwarnings("ignore", message="os.fork")
  preload()
  answers = os.fdopen(os.dup(1), "w")
  for line in sys.stdin:
    request = json.loads(line)
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
      pid = os.fork()
      if not pid:
        child(request, out.fileno(), err.fileno())
      answer = {"code": wait(pid, request["seconds"])}
      for name, file in (("stdout", out), ("stderr", err)):
        file.seek(0)
        answer[name] = file.read().decode(errors="replace")
    answers.write(json.dumps(answer) + "\n")
    answers.flush()


if __name__ == "__main__":
  main()
