# SPDX-License-Identifier: GPL-3.0-or-later
"""The script that keeps a pod's namespaces for CRI-O, with real ones, mounted where only the test sees it."""

from __future__ import annotations

import os
import shlex
import subprocess
from pathlib import Path

import pytest

from bundle.recipe import PINNS


def apart(script: str) -> subprocess.CompletedProcess[str]:
    """Run a shell script where its mounts are seen by nobody else and end with it."""
    command = ["unshare", "--mount", "--propagation", "private", "sh", "-c", script]
    return subprocess.run(command, capture_output=True, text=True, check=False)


pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or apart("unshare --net --ipc true").returncode != 0,
    reason="needs root, and namespaces that may be made",
)


def namespace(kind: str) -> str:
    """Ours of a kind."""
    return os.readlink(f"/proc/self/ns/{kind}")


def test_namespaces_are_new_kept_and_set_up(tmp_path: Path) -> None:
    """A kind that is asked for is new, one of the host is the host's; settings are those of the new ones."""
    settings = "-s 'net.ipv4.ping_group_range=0 7' -s kernel.shm_rmid_forced=1"
    kinds = ("net", "ipc", "uts")
    look = " ".join(f"nsenter --{k}={tmp_path}/{k}ns/pod readlink /proc/self/ns/{k};" for k in kinds)
    done = apart(
        f"set -e; {shlex.quote(str(PINNS))} -d {tmp_path} -f pod {settings} --net --ipc --uts=host; {look}"
        f"nsenter --net={tmp_path}/netns/pod cat /proc/sys/net/ipv4/ping_group_range;"
        f"nsenter --ipc={tmp_path}/ipcns/pod cat /proc/sys/kernel/shm_rmid_forced"
    )
    assert done.returncode == 0, done.stderr
    net, ipc, uts, group_range, forced = done.stdout.splitlines()
    assert (net.startswith("net:["), net == namespace("net")) == (True, False)
    assert (ipc.startswith("ipc:["), ipc == namespace("ipc")) == (True, False)
    assert uts == namespace("uts")
    assert group_range.split() == ["0", "7"]
    assert forced == "1"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("-d {0} -f pod --user", "user namespaces are not supported"),
        ("-d {0} -f pod --uid-mapping=0:1:2", "user namespaces are not supported"),
        ("-d {0} -f pod --pid", "--pid is not known"),
        ("-f pod --net", "-d FOLDER and -f NAME are needed"),
        ("-d {0} -f pod --net -s net.ipv4.nonsense=1", "nonsense"),
    ],
)
def test_what_cannot_be_done_is_said(tmp_path: Path, arguments: str, said: str) -> None:
    """With a code that CRI-O takes for a failure."""
    done = apart(f"{shlex.quote(str(PINNS))} {arguments.format(tmp_path)}")
    assert done.returncode != 0
    assert said in done.stderr
