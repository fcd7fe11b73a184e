# SPDX-License-Identifier: GPL-3.0-or-later
"""What several end-to-end tests share: a lab that machines are installed in takes minutes to set up."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from lab import MachineSpec
from tests.e2e.install_lab import InstallLab, boot_sector
from tests.e2e.needs import require_machines

# Tests whose labs are mostly nodes. The others are mostly emulated machines, of which one keeps one processor
# busy: so the two halves run side by side, each in its order.
NODES = ("test_first_boot", "test_homelab", "test_lab", "test_ssh_access")

GIB = 1 << 30
MACHINES = [
    MachineSpec("bios", "10.77.0.41", "52:54:00:77:00:41", "bios", 4 * GIB),
    MachineSpec("uefi", "10.77.0.42", "52:54:00:77:00:42", "uefi", 4 * GIB),
    # Somebody's disk, that boots and must stay as it is, though it is large enough.
    MachineSpec("stone", "10.77.0.43", "52:54:00:77:00:43", "bios", GIB * 5 // 4),
    MachineSpec("small", "10.77.0.44", "52:54:00:77:00:44", "bios", GIB // 16),
    MachineSpec("faulty", "10.77.0.45", "52:54:00:77:00:45", "bios", 4 * GIB),
]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Make two groups for --dist loadgroup."""
    for item in items:
        half = "nodes" if item.path.stem in NODES else "machines"
        item.add_marker(pytest.mark.xdist_group(half))


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
