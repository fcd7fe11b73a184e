# SPDX-License-Identifier: GPL-3.0-or-later
"""Debian's own installers, really booted: as far as their first words to the State API."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator

import pytest

from kubestead.model.lifecycle import INSTALL_PENDING, INSTALLING
from lab import MachineSpec
from lab.host import problems
from tests.e2e.installer_lab import InstallerLab, installer, installer_lab

pytestmark = pytest.mark.skipif(bool(os.geteuid() or problems()), reason="python -m lab check says why")

#: Emulated, on processors that others use too.
SECONDS = 1200
SPECS = {
    f"debian-{release}": MachineSpec(f"debian-{release}", f"10.77.0.{release}", disk=512 << 20, memory=1024)
    for release in ("12", "13")
}


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[InstallerLab]:
    entries = {
        name: {
            "role": "worker",
            "architecture": "amd64",
            "os": name,
            "ip": spec.ip,
            "disk": f"/dev/disk/by-id/virtio-{spec.serial}",
        }
        for name, spec in SPECS.items()
    }
    with installer_lab("installers", tmp_path_factory.mktemp("installers"), SPECS, entries) as running:
        yield running


@pytest.mark.parametrize("release", ["13", "12"])
def test_the_installer_reports_itself(lab: InstallerLab, release: str) -> None:
    name = f"debian-{release}"
    spec, machine = SPECS[name], lab.lab.machines.known(name)
    shutil.copytree(installer(release), lab.folder / "boot" / "installers" / f"{name}-amd64")
    assert lab.ask(f"/api/machines/{spec.mac}/install", {})["state"] == INSTALL_PENDING
    begun = time.monotonic()
    lab.lab.machines_up([spec])
    try:
        lab.wait_for(spec.mac, lambda now: now["state"] == INSTALLING, SECONDS)
        print(f"{name}: {time.monotonic() - begun:.0f} s from power-on to its boot script")
        now = lab.wait_for(spec.mac, lambda now: bool(now["message"] and name in now["message"]), SECONDS)
        print(f"{name}: {time.monotonic() - begun:.0f} s from power-on to its first words")
    finally:
        lab.off(machine)
    assert (now["state"], now["phase"]) == (INSTALLING, "boot")
    assert now["message"] == f"the installer of {name} has started"
    assert now["install"]["attempts"] == 1
    with machine.disk.open("rb") as disk:
        assert not any(block.strip(b"\0") for block in iter(lambda: disk.read(1 << 24), b""))
    # The secret with which it reports is in what it fetches, and in no log.
    for path in (lab.folder / "api.log", machine.folder / "serial.log"):
        assert "token=" not in path.read_text(errors="replace")
