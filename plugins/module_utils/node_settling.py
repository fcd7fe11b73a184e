# Copyright: Kubestead contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bringing the kernel, swap, names and the clock of this host to what a node needs.

Each function notes its changes and returns what the module tells; what could not be had goes to `problems`.
"""

from __future__ import annotations

import os
import socket
import time
from pathlib import Path
from typing import Any, Mapping, Sequence

from . import host, kernel, node_names, swapping, timekeeping
from .converging import Converging

HOSTS = Path("/etc/hosts")
HOSTNAME = Path("/etc/hostname")
NETWORK_MANAGER = Path("/etc/NetworkManager/conf.d")
SWAPS = Path("/proc/swaps")


def kernel_modules(
    to: Converging, required: Sequence[str], optional: Sequence[str], path: Path, problems: list[str]
) -> dict[str, str]:
    """Load what is not there, now and at each boot; say what became of each."""
    module, release = to.module, os.uname().release
    states: dict[str, str] = {}

    def run(command: Any) -> tuple[int, str]:
        code, out, err = module.run_command(
            [module.get_bin_path(command[0]) or command[0], *command[1:]], handle_exceptions=False
        )
        return code, out + err

    for name in [*required, *optional]:
        states[name] = kernel.module_state(name, release)
        if states[name] != "absent":
            continue
        try:
            why = kernel.loadable(name, run) if module.check_mode else kernel.load_module(name, run)
        except OSError as error:
            why = f"modprobe: {error.strerror}"
        if not why:
            to.note(f"kernel module {name}", "", "loaded\n")
            states[name] = "would_load" if module.check_mode else "loaded"
            continue
        states[name] = "missing"
        if name in required:
            problems.append(kernel.module_problem(name, release, why))
    to.file(path, kernel.render_modules([name for name, state in states.items() if state != "missing"]))
    return states


def sysctls(
    to: Converging, wanted: Mapping[str, object], path: Path, more_come: bool, problems: list[str]
) -> dict[str, Any]:
    """Set them, now and at each boot. more_come: modules that are not loaded yet may bring settings."""
    settings = {str(key): kernel.sysctl_value(value) for key, value in wanted.items()}
    changes: dict[str, dict[str, Any]] = {}
    for key, value in settings.items():
        before = kernel.live_sysctl(key)
        if before == value:
            continue
        changes[key] = {"before": before, "after": value}
        problem = ""
        if to.note(f"sysctl {key}", f"{before or ''}\n", f"{value}\n"):
            problem = kernel.set_sysctl(key, value)
        elif before is None and not more_come:
            problem = kernel.no_such_sysctl(key, value)
        if problem:
            problems.append(problem)
    to.file(path, kernel.render_sysctls(settings))
    for sentence in kernel.overriding(settings, str(path)):
        to.module.warn(sentence)
    return changes


def _swapped_to() -> list[str]:
    return swapping.active(host.read_text(SWAPS) or "")


def no_swap(to: Converging, fstab: Path, problems: list[str]) -> dict[str, list[str]]:
    """Swap off, now and at each boot. What keeps it off comes first: if it stays on, a reboot finishes it."""
    module, foreign = to.module, bool(host.container_kind())
    in_use = _swapped_to()
    before = host.read_text(fstab)
    for_boot = len(to.changes)
    if before is not None and swapping.comment_fstab(before) != before:
        to.file(fstab, swapping.comment_fstab(before), fstab.stat().st_mode & 0o7777)
    units = swapping.units_to_mask()
    masks = [Path("/etc/systemd/system") / unit for unit in units]
    masks += [Path("/etc/systemd/system-generators") / name for name in swapping.generators_to_mask()]
    for path in masks:
        if to.note(str(path), "", "masked\n"):
            swapping.mask(path)
    if len(to.changes) > for_boot and not module.check_mode and Path("/run/systemd/system").is_dir():
        module.run_command(["systemctl", "daemon-reload"], check_rc=True)
        services = [unit for unit in units if unit.endswith(".service")]
        if services:
            module.run_command(["systemctl", "stop", "--", *services], check_rc=True)
    off = [] if foreign else in_use
    failed = []
    for device in off:
        if to.note(f"swap on {device}", "on\n", "off\n") and device in _swapped_to():
            code, out, err = module.run_command([module.get_bin_path("swapoff", required=True), "--", device])
            if code != 0:
                failed.append(
                    f"{device}: swapoff said: {(err or out).strip()}. Is there memory for what is swapped "
                    "out? Free some, or reboot: it stays off then."
                )
    left = [] if foreign or failed or module.check_mode else _swapped_to()
    problems += failed
    problems += [f"{device} is swapped to again: who switches it on? See: swapon --show" for device in left]
    return {
        "switched_off": off,
        "masked": [path.name for path in masks],
        "left_alone": in_use if foreign else [],
    }


def names(to: Converging, own: str, others: Sequence[tuple[str, str]] | None, links: Sequence[str]) -> str:
    """The machine's own name, those of the others, links that NetworkManager leaves; return the old name."""
    module, old = to.module, socket.gethostname()
    before = host.read_text(HOSTS) or ""
    if others is not None:
        for sentence in node_names.warnings(before, others):
            module.warn(sentence)
        to.file(HOSTS, node_names.hosts_text(before, others, old, own))
    if own:
        to.file(HOSTNAME, f"{own}\n")
        if old != own and to.note("the name of the running system", f"{old}\n", f"{own}\n"):
            socket.sethostname(own)
    if links and NETWORK_MANAGER.is_dir():
        changes = len(to.changes)
        to.file(NETWORK_MANAGER / "kubestead.conf", node_names.unmanaged_text(kernel.HEADER, links))
        if len(to.changes) > changes and not module.check_mode:
            module.run_command(["nmcli", "general", "reload", "conf"])
    return old


def _synchronised(module: Any) -> bool:
    command = ["timedatectl", "show", "--property=NTPSynchronized", "--value"]
    return bool(module.run_command(command)[1].strip() == "yes")


def clock(to: Converging, wait: int, problems: list[str]) -> dict[str, Any]:
    """A service that keeps the clock right runs and is started at boot; say which."""
    module, container = to.module, host.container_kind()
    if container:
        return {"service": "", "reason": f"a {container} container has its host's clock"}
    if not Path("/run/systemd/system").is_dir():
        problems.append("The machine's init is not systemd, which starts what keeps the clock right.")
        return {"service": ""}
    show = ["systemctl", "show", "--property=Id,LoadState,ActiveState,UnitFileState"]
    units = timekeeping.parse_units(
        module.run_command([*show, "--", *timekeeping.SERVICES], check_rc=True)[1]
    )
    service = timekeeping.choose(units)
    if not service:
        return {"service": "", "synchronised": False}
    unit = units[service]
    start = unit.active not in ("active", "activating")
    # Static and aliased units have no state of their own to enable.
    enable = unit.file_state == "disabled"
    was = f"{unit.active} {unit.file_state}\n"
    if (start or enable) and to.note(service, was, "active enabled\n"):
        if enable:
            module.run_command(["systemctl", "enable", "--", service], check_rc=True)
        if start:
            module.run_command(["systemctl", "start", "--", service], check_rc=True)
    right = _synchronised(module)
    end = time.monotonic() + (wait if start and not module.check_mode else 0)
    while not right and time.monotonic() < end:
        time.sleep(1)
        right = _synchronised(module)
    if not right and not module.check_mode:
        module.warn(
            f"The clock is not synchronised yet. Does {service} reach a time server? Certificates fail where "
            "clocks differ by minutes."
        )
    return {"service": service, "synchronised": right}
