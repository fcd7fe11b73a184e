# SPDX-License-Identifier: GPL-3.0-or-later
"""Start one node, and start it again when it reboots.

Run as a file by a bare interpreter (`python -I -S`), so that it is up at once and imports nothing of ours:

    launch.py exec CONFIG        enter cgroups and a mount namespace, mount the root, become systemd-nspawn
    launch.py supervise CONFIG   the same in a child, again after each reboot, console kept in a file

The root is mounted in a mount namespace of its own: when the last process of the node is gone, so is the
mount, whatever ended it.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import json
import os
import signal
import sys
from typing import Any

_CLONE_NEWNS = 0x00020000
_MS_REC_SLAVE = 0x4000 | 0x80000
_PR_SET_PDEATHSIG = 1
_REBOOT = 133
_CONSOLE_LIMIT = 1 << 20
_libc = ctypes.CDLL(None, use_errno=True)


def _check(result: int, what: str) -> None:
    if result:
        raise OSError(ctypes.get_errno(), what)


def _become_node(config: dict[str, Any]) -> None:
    for cgroup in config["cgroups"]:
        with open(cgroup + "/cgroup.procs", "w") as stream:
            stream.write("0")
    _check(_libc.unshare(_CLONE_NEWNS), "unshare")
    _check(_libc.mount(b"none", b"/", None, _MS_REC_SLAVE, None), "mount / as slave")
    options = "lowerdir={lower},upperdir={upper},workdir={work}".format(**config)
    _check(
        _libc.mount(b"overlay", config["root"].encode(), b"overlay", 0, options.encode()), "mount the root"
    )
    os.execvpe(config["argv"][0], config["argv"], {**os.environ, **config["env"]})


def _clear(cgroup: str) -> None:
    """Remove what the node made below its cgroup: systemd does not start in a used one."""
    for folder, _, _ in os.walk(cgroup, topdown=False):
        if folder != cgroup:
            with contextlib.suppress(OSError):
                os.rmdir(folder)


def _boot(config: dict[str, Any], console: int) -> int:
    """Boot once; return the exit code."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)  # without a supervisor no node
        os.dup2(writing, 1)
        os.dup2(writing, 2)
        try:
            _become_node(config)
        except OSError as error:
            os.write(2, f"{error}\n".encode())
        os._exit(1)
    os.close(writing)
    # nspawn takes SIGTERM as the wish to shut down in order.
    signal.signal(signal.SIGTERM, lambda *_: os.kill(child, signal.SIGTERM))
    # A console that nobody reads fills up and stops the machine.
    while data := os.read(reading, 1 << 16):
        if os.fstat(console).st_size > _CONSOLE_LIMIT:
            os.ftruncate(console, 0)
        os.write(console, data)
    os.close(reading)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _claim(folder: str) -> bool:
    """Be the node's only supervisor, and write down who that is; the lock goes with the process."""
    lock = os.open(folder + "/run.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    with open("/proc/self/stat") as stream:
        started = int(stream.read().rpartition(")")[2].split()[19])
    with open("/proc/sys/kernel/random/boot_id") as stream:
        boot = stream.read().strip()
    with open(folder + "/run.json.new", "w") as stream:
        json.dump({"pid": os.getpid(), "started": started, "boot": boot}, stream)
    os.rename(folder + "/run.json.new", folder + "/run.json")
    return True


def main() -> int:
    """Do what the arguments say."""
    mode, path = sys.argv[1:]
    with open(path) as stream:
        config = json.load(stream)
    if mode == "exec":
        _become_node(config)
    if not _claim(os.path.dirname(path)):
        print("the node has a supervisor already", file=sys.stderr)
        return 1
    console = os.open(config["console"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    while True:
        for cgroup in config["cgroups"]:
            _clear(cgroup)
        code = _boot(config, console)
        if code != _REBOOT:
            return code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(main())
