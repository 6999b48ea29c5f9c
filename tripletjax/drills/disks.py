"""Drills of the disk: it is full while saving, or can't be written at all."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from tripletjax.drills.comparing import differences
from tripletjax.drills.lab import Lab, refused, resumable, steps_of
from tripletjax.drills.running import Ended, run

# In a mount namespace of its own, which needs no root where the system allows
# namespaces of users: a small disk, a training on it, room, the training again.
SMALL_DISK = """
size=$1 disk=$2 out=$3; shift 3
mount -t tmpfs -o size="$size" drill "$disk" || exit 97
"$@" >"$out/full.log" 2>&1; echo $? >"$out/full.code"
ls "$disk/checkpoints" >"$out/full.steps"
mount -o remount,size=1g "$disk" || exit 97
"$@" >"$out/room.log" 2>&1; echo $? >"$out/room.code"
cp -R "$disk" "$out/copy"
"""
READ_ONLY = """
disk=$1; shift
mount --bind "$disk" "$disk" && mount -o remount,ro,bind "$disk" || exit 97
exec "$@"
"""
# No namespaces: no file may be longer, which root can't overcome either.
SHORT_FILES = (
  "import os, resource, sys; size = int(sys.argv[1]); "
  "resource.setrlimit(resource.RLIMIT_FSIZE, (size, size)); "
  "os.execv(sys.argv[2], sys.argv[2:])"
)
PAGE = 4096


def namespace() -> list[str]:
  """The command in front of one that may mount; empty where none may."""
  if shutil.which("unshare") is None:
    return []
  for flags in (["-rm"], ["-m"]):
    tried = subprocess.run(
      ["unshare", *flags, "mount", "-t", "tmpfs", "drill", "/mnt"],
      capture_output=True,
    )
    if not tried.returncode:
      return ["unshare", *flags]
  return []


def size_of(folder: Path) -> int:
  """Bytes of a folder's files on a disk with pages of 4 KiB."""
  return sum(
    -(-path.stat().st_size // PAGE) * PAGE
    for path in folder.rglob("*")
    if path.is_file()
  )


def disk_full(lab: Lab) -> list[str]:
  """The disk is full while a checkpoint is saved; later there is room."""
  workdir = lab.folder / "disk-full"
  workdir.mkdir()
  newest = lab.reference / "checkpoints" / str(steps_of(lab.reference)[-1])
  mount = namespace()
  if not mount:
    return _short_files(lab, workdir, newest)
  # Room for one checkpoint, and not for two.
  size = 3 * size_of(newest) // 2 + sum(
    size_of(lab.reference / name) for name in ("tensorboard",)
  )
  out = lab.folder / "disk-full-out"
  out.mkdir()
  lab.say(
    f"disk-full: {' '.join(mount)}, a tmpfs of {size // 1024} KiB where a "
    f"checkpoint takes {size_of(newest) // 1024}"
  )
  ended = run(
    [
      *mount,
      *("sh", "-c", SMALL_DISK, "sh", str(size), str(workdir), str(out)),
      *lab.job.command(workdir),
    ],
    lab.log("disk-full"),
    lab.job,
  )
  if ended.code:
    return [f"the drill itself: {ended.out[-300:]}"]
  full, room = _read(out, "full"), _read(out, "room")
  saved = [x for x in (out / "full.steps").read_text().split() if x.isdigit()]
  lab.say(f"disk-full: {(full.errors or ['no line'])[-1]}")
  lab.say(f"disk-full: with room from step {room.resumed}")
  problems = refused(full, "disk-full")
  problems += resumable(room, max(map(int, saved), default=0))
  return problems + differences(lab.reference, out / "copy")


def _short_files(lab: Lab, workdir: Path, newest: Path) -> list[str]:
  """Where nothing can be mounted: no file as long as a checkpoint's."""
  files = [path for path in newest.rglob("*") if path.is_file()]
  size = max(path.stat().st_size for path in files) // 2
  lab.say(f"disk-full: RLIMIT_FSIZE of {size} bytes")
  full = run(
    [sys.executable, "-c", SHORT_FILES, str(size), *lab.job.command(workdir)],
    lab.log("disk-full"),
    lab.job,
  )
  lab.say(f"disk-full: {(full.errors or ['no line'])[-1]}")
  return refused(full, "disk-full") + lab.ends_equal(workdir)


def _read(out: Path, name: str) -> Ended:
  code = int((out / f"{name}.code").read_text())
  return Ended(code, (out / f"{name}.log").read_text(errors="replace"), 0.0)


def read_only(lab: Lab) -> list[str]:
  """A folder that can't be written: a new one, and one of half a training."""
  new, half = lab.folder / "read-only-new", lab.folder / "read-only-half"
  new.mkdir()
  lab.killed(half)
  problems = []
  for workdir in (new, half):
    before = _files(workdir)
    found = list(_refusal(lab, workdir))
    if not found and _files(workdir) != before:
      found.append("files have changed")
    found += lab.ends_equal(workdir)
    problems += [f"{workdir.name}: {problem}" for problem in found]
  return problems


def _refusal(lab: Lab, workdir: Path) -> Iterator[str]:
  command = lab.job.command(workdir)
  if os.geteuid() == 0:  # whom no mode keeps from writing
    mount = namespace()
    if not mount:
      yield "as root nothing can be made read-only here; run it as a user"
      return
    command = [*mount, "sh", "-c", READ_ONLY, "sh", str(workdir), *command]
    ended = run(command, lab.log(workdir.name), lab.job)
  else:
    _set_modes(workdir, writable=False)
    ended = run(command, lab.log(workdir.name), lab.job)
    _set_modes(workdir, writable=True)
  lab.say(
    f"{workdir.name}: {(ended.errors or [f'exit code {ended.code}'])[-1]}"
  )
  yield from refused(ended, "--workdir")


def _set_modes(workdir: Path, *, writable: bool) -> None:
  for path in (workdir, *workdir.rglob("*")):
    mode = path.stat().st_mode
    path.chmod(mode | 0o200 if writable else mode & ~0o222)


def _files(workdir: Path) -> dict[str, bytes]:
  return {
    str(path.relative_to(workdir)): path.read_bytes()
    for path in workdir.rglob("*")
    if path.is_file()
  }
