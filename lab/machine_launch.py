# SPDX-License-Identifier: GPL-3.0-or-later
"""Run one machine's QEMU, in the lab's network.

    machine_launch.py FOLDER

Run as a file by a bare interpreter (`python -I -S`). It writes down who it is before anything can go wrong,
so that the machine is found whatever becomes of the one who started it. The tap is opened here and handed
over as a descriptor: with the processes, however they end, it is gone from the bridge. QEMU ends with this
process, and is started again where the machine was to be reset (see qemu.py).
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import time

EVENTS = "events.sock"
_CLONE_NEWNET = 0x40000000
_PR_SET_PDEATHSIG = 1
_TUNSETIFF = 0x400454CA
_TAP_WITHOUT_HEADER = 0x0002 | 0x1000 | 0x4000  # IFF_TAP, IFF_NO_PI, IFF_VNET_HDR
_libc = ctypes.CDLL(None, use_errno=True)


def _claim() -> bool:
    """Be the only process of this machine; the lock is QEMU's afterwards and goes with it."""
    lock = os.open("run.lock", os.O_RDWR | os.O_CREAT, 0o600)
    os.set_inheritable(lock, True)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    with open("/proc/self/stat") as stream:
        started = int(stream.read().rpartition(")")[2].split()[19])
    with open("/proc/sys/kernel/random/boot_id") as stream:
        boot = stream.read().strip()
    with open("run.json.new", "w") as stream:
        json.dump({"pid": os.getpid(), "started": started, "boot": boot}, stream)
    os.rename("run.json.new", "run.json")
    return True


def _enter(namespace: str) -> None:
    descriptor = os.open(namespace, os.O_RDONLY | os.O_CLOEXEC)
    if _libc.setns(descriptor, _CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), f"enter {namespace}")
    os.close(descriptor)


def _open_tap(name: str) -> int:
    """Make the machine's port; the last owner of the name may just be ending."""
    descriptor = os.open("/dev/net/tun", os.O_RDWR)
    os.set_inheritable(descriptor, True)
    request = struct.pack("16sH22x", name.encode(), _TAP_WITHOUT_HEADER)
    until = time.monotonic() + 5
    while True:
        try:
            fcntl.ioctl(descriptor, _TUNSETIFF, request)
        except OSError as error:
            if error.errno != errno.EBUSY or time.monotonic() > until:
                raise
            time.sleep(0.02)
        else:
            return descriptor


def _start(argv: list[str]) -> int:
    qemu = os.fork()
    if not qemu:
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        os.execvp(argv[0], argv)
    return qemu


def _ended_to_reset(argv: list[str]) -> bool:
    """Run QEMU to its end; say whether that was because the machine was to be reset."""
    qemu, reason = _start(argv), ""
    with socket.socket(socket.AF_UNIX) as events:
        while True:
            try:
                events.connect(EVENTS)
            except OSError:  # not yet there, or that of the QEMU before
                if os.waitpid(qemu, os.WNOHANG)[0]:
                    return False
                time.sleep(0.02)
            else:
                break
        with events.makefile("rw") as stream:
            try:
                stream.write('{"execute": "qmp_capabilities"}\n')
                stream.flush()
                for line in stream:
                    said = json.loads(line)
                    reason = said["data"]["reason"] if said.get("event") == "SHUTDOWN" else reason
            except OSError:  # it has ended
                pass
    os.waitpid(qemu, 0)
    return reason == "guest-reset"


def main() -> None:
    """Do what the folder's launch.json says."""
    os.chdir(sys.argv[1])
    with open("launch.json") as stream:
        config = json.load(stream)
    if not _claim():
        sys.exit("the machine runs already")
    _enter(config["namespace"])
    tap = _open_tap(config["tap"])
    subprocess.run(["ip", "link", "set", config["tap"], "master", config["bridge"], "up"], check=True)
    argv = [word.replace(config["placeholder"], str(tap)) for word in config["argv"]]
    while _ended_to_reset(argv):
        pass


if __name__ == "__main__":
    main()
