# Copyright: Kubestead contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Kernel modules and sysctls: what is there, what is persisted, what has to be done."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Callable, Iterable, Mapping, Sequence

from .host import read_text

HEADER = "# Managed by kubestead.homelab: changes here are overwritten.\n"

# What a kernel shows when it has the feature, however it was built.
EVIDENCE = {
    "br_netfilter": "proc/sys/net/bridge/bridge-nf-call-iptables",
    "nf_conntrack": "proc/sys/net/netfilter/nf_conntrack_max",
}

# Runs a command: exit code, and what it wrote.
Run = Callable[[Sequence[str]], "tuple[int, str]"]


def normal(name: str) -> str:
    """The kernel writes ``_`` where people write ``-``."""
    return name.replace("-", "_")


def module_state(name: str, release: str, root: Path = Path("/")) -> str:
    """``loaded``, ``built_in`` or ``absent`` (which may still be loadable)."""
    wanted = normal(name)
    if any(line.split(" ", 1)[0] == wanted for line in (read_text(root / "proc/modules") or "").splitlines()):
        return "loaded"
    for line in (read_text(root / "lib/modules" / release / "modules.builtin") or "").splitlines():
        if normal(os.path.basename(line).split(".ko", 1)[0]) == wanted:
            return "built_in"
    filesystems = (read_text(root / "proc/filesystems") or "").split()
    evidence = EVIDENCE.get(wanted)
    if wanted in filesystems or (evidence and (root / evidence).exists()):
        return "built_in"
    return "absent"


def module_problem(name: str, release: str, why: str) -> str:
    """One sentence about a module that cannot be had."""
    told = f" ({why})" if why else ""
    return (
        f"kernel module {name}: not loaded, not built in and not loadable on kernel {release}{told}. "
        "Install the kernel's modules package, or boot another; in a container load it on the host."
    )


def sysctl_path(key: str, root: Path = Path("/")) -> Path:
    """The file of a sysctl. Where the first separator is a slash, dots are part of names."""
    first = next((c for c in key if c in "./"), ".")
    parts = key.split("/") if first == "/" else [part.replace("/", ".") for part in key.split(".")]
    return root.joinpath("proc/sys", *parts)


def sysctl_value(raw: object) -> str:
    """A value as the kernel writes it: numbers for booleans, one space between several."""
    if isinstance(raw, bool):
        return str(int(raw))
    return " ".join(str(raw).split())


def render_modules(names: Iterable[str]) -> str:
    """The file for /etc/modules-load.d."""
    return HEADER + "".join(f"{name}\n" for name in names)


def render_sysctls(settings: Mapping[str, str]) -> str:
    """The file for /etc/sysctl.d."""
    return HEADER + "".join(f"{key} = {value}\n" for key, value in settings.items())


def live_sysctl(key: str, root: Path = Path("/")) -> str | None:
    """The value in force, or ``None`` when this kernel has no such setting."""
    try:
        raw = sysctl_path(key, root).read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError):
        return None
    return sysctl_value(raw)


def no_such_sysctl(key: str, value: str) -> str:
    """One sentence about a setting that this kernel does not have."""
    return f"sysctl {key}: this kernel has no such setting (is its module loaded?); wanted {value}."


def set_sysctl(key: str, value: str, root: Path = Path("/")) -> str:
    """Set it and read it back. Nothing when it holds, else one sentence that says why not."""
    path = sysctl_path(key, root)
    try:
        # Never created: what is not there is not a setting.
        handle = os.open(path, os.O_WRONLY | os.O_TRUNC)
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(value + "\n")
    except FileNotFoundError:
        return no_such_sysctl(key, value)
    except OSError as error:
        return f"sysctl {key}: could not be set to {value}: {error.strerror}. In a container its host has to."
    now = live_sysctl(key, root)
    if now != value:
        return f"sysctl {key}: set to {value}, but the kernel says {now}."
    return ""


def parse_sysctls(text: str) -> dict[str, str]:
    """The settings of a sysctl file, names written with dots."""
    found = {}
    for line in text.splitlines():
        key, equals, value = line.partition("=")
        if equals and not line.lstrip().startswith(("#", ";")):
            found[key.strip().lstrip("-").replace("/", ".")] = sysctl_value(value)
    return found


def overriding(settings: Mapping[str, str], own_file: str, root: Path = Path("/")) -> list[str]:
    """Sentences about files that are read after ours at boot and say otherwise."""
    own = os.path.basename(own_file)
    files: dict[str, Path] = {}
    for folder in ("usr/lib/sysctl.d", "run/sysctl.d", "etc/sysctl.d"):
        for path in sorted((root / folder).glob("*.conf")):
            files[path.name] = path
    wanted = {key.replace("/", "."): value for key, value in settings.items()}
    found = []
    for name in sorted(files):
        if name <= own:
            continue
        for key, value in parse_sysctls(read_text(files[name]) or "").items():
            if wanted.get(key, value) != value:
                told = f"{files[name]} sets {key} = {value} after {own} at every boot"
                found.append(f"{told}; wanted {wanted[key]}.")
    return found


def load_module(name: str, run: Run) -> str:
    """Load it. Nothing when it worked, else what modprobe said."""
    code, text = run(["modprobe", "--", name])
    return "" if code == 0 else (text.strip().splitlines() or [f"modprobe ended with {code}"])[-1]


def loadable(name: str, run: Run) -> str:
    """Nothing when it could be loaded, else what modprobe said."""
    code, text = run(["modprobe", "--dry-run", "--", name])
    return "" if code == 0 else (text.strip().splitlines() or [f"modprobe ended with {code}"])[-1]
