# SPDX-License-Identifier: GPL-3.0-or-later
"""Base images: what every node of an operating system starts from. Made once, never changed."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from lab import apt, folders, paths
from lab.errors import LabError
from lab.spec import SUITES

PACKAGES = (
    "systemd", "systemd-sysv", "libpam-systemd", "dbus", "udev", "openssh-server", "sudo",
    "python3", "python3-apt", "python3-venv", "ca-certificates", "curl", "gnupg", "gpgv",
    "iproute2", "iptables", "nftables", "kmod", "procps", "conntrack", "socat", "ethtool",
)  # fmt: skip
# A lab's node does nothing behind one's back, and has no screen.
MASKED = (
    "apt-daily.timer", "apt-daily-upgrade.timer", "dpkg-db-backup.timer", "e2scrub_all.timer", "fstrim.timer",
    "console-getty.service", "getty.target", "systemd-networkd-wait-online.service",
)  # fmt: skip
_RECIPE = "1"

Say = Callable[[str], None]


def path_of(os_name: str) -> Path:
    """Return where the base of an operating system is kept."""
    recipe = json.dumps([_RECIPE, PACKAGES, MASKED])
    return paths.cache() / "bases" / f"{os_name}-{hashlib.sha256(recipe.encode()).hexdigest()[:12]}"


def made(folder: Path) -> int | None:
    """Return when a base was made: what tells it from another in the same place. None when there is none."""
    try:
        return (folder / "etc/machine-id").stat().st_mtime_ns
    except FileNotFoundError:
        return None


def missing(os_names: Iterable[str]) -> list[str]:
    """Return the operating systems whose base has yet to be made."""
    return sorted({name for name in os_names if not path_of(name).is_dir()})


def ensure(os_names: Iterable[str], say: Say = print) -> None:
    """Make the bases that are not there yet, side by side."""
    wanted = missing(os_names)
    if not wanted:
        return
    say(f"making the base of {' and '.join(wanted)} once (about a minute)")
    with ThreadPoolExecutor(len(wanted)) as pool:
        problems = [problem for problem in pool.map(_try, wanted) if problem]
    if problems:
        raise LabError(*problems)


def _try(os_name: str) -> str:
    try:
        make(os_name)
    except LabError as error:
        return str(error)
    return ""


def make(os_name: str) -> Path:
    """Make one base; whoever else is making it is waited for."""
    target = path_of(os_name)
    target.parent.mkdir(parents=True, exist_ok=True)
    with (target.parent / f".{os_name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for half_made in target.parent.glob(f".{os_name}-*.part"):
            folders.remove(half_made)
        if not target.is_dir():
            part = target.with_name(f".{target.name}.part")
            _bootstrap(os_name, part, target.parent / f"{os_name}.log")
            _finish(part, os_name)
            part.rename(target)
    return target


def _bootstrap(os_name: str, folder: Path, log: Path) -> None:
    sources = apt.sources_for(SUITES[os_name])
    options = [f'--aptopt={key} "{value}"' for key, value in apt.settings().items()]
    if proxy := apt.proxy():
        options.append(f'--aptopt=Acquire::http::Proxy "{proxy}"')
    # In a mount namespace of its own: what it mounts goes with it, also when it is killed.
    argv = [
        "unshare", "--mount", "--propagation=private", "--kill-child", "--fork",
        "mmdebstrap", "--mode=root", "--variant=apt", f"--include={','.join(PACKAGES)}",
        "--dpkgopt=force-unsafe-io", '--aptopt=APT::Install-Recommends "false"', "--skip=cleanup/apt/lists",
        *options, SUITES[os_name], str(folder), "-",
    ]  # fmt: skip
    listed = "".join(source.one_line() + "\n" for source in sources)
    with log.open("w") as stream:
        done = subprocess.run(
            argv, input=listed, stdout=stream, stderr=subprocess.STDOUT, text=True, check=False,
            env={**os.environ, "LC_ALL": "C.UTF-8", "TMPDIR": "/tmp", "DEBIAN_FRONTEND": "noninteractive"},
        )  # fmt: skip
    if done.returncode:
        said = [
            line for line in log.read_text(errors="replace").splitlines() if line.startswith(("E:", "Err:"))
        ]
        folders.remove(folder)
        raise LabError(
            f"the base of {os_name} could not be made from {sources[0].uri} "
            f"({'; '.join(said[-4:]) or 'no reason given'}); the whole log is {log}. "
            "Another mirror can be set: KUBESTEAD_DEBIAN_MIRROR"
        )


def _finish(folder: Path, os_name: str) -> None:
    """Take out what makes a machine this machine, and what only the making needed."""
    for path in [*folder.glob("etc/ssh/ssh_host_*"), *folder.glob("etc/apt/apt.conf.d/99mmdebstrap")]:
        path.unlink()
    for name in ("etc/resolv.conf", "etc/hostname", "etc/machine-id", "var/lib/dbus/machine-id"):
        (folder / name).unlink(missing_ok=True)
    (folder / "etc/machine-id").touch()
    for unit in MASKED:
        link = folder / "etc/systemd/system" / unit
        link.unlink(missing_ok=True)
        link.symlink_to("/dev/null")
    for source in apt.sources_for(SUITES[os_name]):
        key = Path(source.options.get("signed-by", ""))
        inside = folder / str(key).lstrip("/")
        if key.is_file() and not inside.exists():
            inside.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(key, inside)
