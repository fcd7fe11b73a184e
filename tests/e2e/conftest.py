# SPDX-License-Identifier: GPL-3.0-or-later
"""What several end-to-end tests share: a lab that machines are installed in takes minutes to set up."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

from lab import MachineSpec
from tests.e2e.install_lab import InstallLab, boot_sector
from tests.e2e.needs import require_machines

# Files run side by side, but not those of one group: this computer's kernel has limits that the nodes of all
# of them would outgrow, and whole installations share one lab. Every other file is a group of its own.
GROUPS = {
    "nodes": (
        "test_boot_servers",
        "test_cycle",
        "test_faults",
        "test_first_boot",
        "test_high_availability",
        "test_high_availability_faults",
        "test_homelab",
        "test_kube_vip",
        "test_lab",
        "test_minors",
        "test_pod_networks",
        "test_ssh_access",
    ),
    "install": ("test_provision", "test_provision_faults"),
}

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
        return next((group for group, stems in GROUPS.items() if stem in stems), stem)


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
