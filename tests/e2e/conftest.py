# SPDX-License-Identifier: GPL-3.0-or-later
"""What several end-to-end tests share: a lab that machines are installed in takes minutes to set up."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

from lab import MachineSpec
from tests.e2e.install_lab import InstallLab, boot_sector
from tests.e2e.needs import require_machines

# Files run side by side, but not those of one group: this computer's kernel has limits that the nodes of all
# of them would outgrow, and whole installations share one lab. Every other file is a group of its own.
# What matters most comes first. The numbers: minutes that a file takes on a slow day, both processors busy.
GROUPS = {
    "nodes": {
        "test_homelab": 35,
        "test_high_availability": 16,
        "test_boot_servers": 7,
        "test_first_boot": 3,
        "test_lab": 1,
        "test_ssh_access": 1,
        "test_cycle": 16,
        "test_kube_vip": 8,
        "test_minors": 16,
        "test_pod_networks": 15,
        "test_faults": 40,
        "test_high_availability_faults": 30,
    },
    "install": {"test_provision": 35, "test_provision_faults": 11},
}
OTHERS = {"test_boot_laptop": 4, "test_installers": 8, "test_machines": 3, "test_power": 3}
MINUTES = {**GROUPS["nodes"], **GROUPS["install"], **OTHERS}
ORDER = list(MINUTES)

GIB = 1 << 30
MACHINES = [
    MachineSpec("bios", "10.77.0.41", "52:54:00:77:00:41", "bios", 4 * GIB),
    # Somebody's disk, that boots and must stay as it is, though it is large enough.
    MachineSpec("stone", "10.77.0.43", "52:54:00:77:00:43", "bios", GIB * 5 // 4),
    MachineSpec("small", "10.77.0.44", "52:54:00:77:00:44", "bios", GIB // 16),
]


class Groups(LoadScopeScheduling):
    """What xdist gives to a worker at a time."""

    def _split_scope(self, nodeid: str) -> str:
        stem = Path(nodeid.partition("::")[0]).stem
        return next((group for group, files in GROUPS.items() if stem in files), stem)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What matters most first; a file's tests stay in their order, and so do those of other folders."""
    here = {item.path.stem for item in items if item.path.parent == Path(__file__).parent}
    if unknown := sorted(here - set(ORDER)):
        raise pytest.UsageError(f"tests/e2e/conftest.py does not say how long these take: {unknown}")
    items.sort(key=lambda item: ORDER.index(item.path.stem) if item.path.stem in here else -1)


@cache
def no_time_for(stem: str) -> str:
    """Why a file is not begun: the run has an end, and what is begun is a story that is not broken off."""
    until = os.environ.get("KUBESTEAD_TESTS_UNTIL", "")
    if not until or time.time() + 60 * MINUTES[stem] <= int(until):
        return ""
    return (
        f"{stem} takes {MINUTES[stem]} min, and this run ends before that (KUBESTEAD_TESTS_UNTIL): "
        f"python -m pytest tests/e2e/{stem}.py"
    )


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Begin no file that cannot be ended."""
    if reason := no_time_for(item.path.stem):
        pytest.skip(reason)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> LoadScopeScheduling:
    """Keep each group together."""
    return Groups(config, log)


@pytest.fixture(scope="session")
def install_lab() -> Iterator[InstallLab]:
    require_machines()
    one = InstallLab({spec.name: spec for spec in MACHINES})
    one.lab.down()
    try:
        one.up()
        one.make(*one.machines)
        with one["stone"].disk.open("r+b") as disk:
            disk.write(boot_sector())
        yield one
    finally:
        left = one.lab.down()
    assert left == []
