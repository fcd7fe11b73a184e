# SPDX-License-Identifier: GPL-3.0-or-later
"""Debian 13 by its own installer, from an empty disk to a system that has reported itself. Half an hour."""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from kubestead.model.debian_installer import SUITES, Source
from kubestead.model.lifecycle import FAILED, INSTALL_PENDING, INSTALLED
from lab import MachineSpec, network, paths
from lab.host import problems
from lab.spec import GATEWAY
from tests.e2e.installer_lab import InstallerLab, archive, installer, installer_lab
from tests.figures import tell
from tests.install.debian_archive import SUITE, LackingError, Parts, kernel_of, make_server

pytestmark = pytest.mark.skipif(bool(os.geteuid() or problems()), reason="python -m lab check says why")

NAME, RELEASE = "debian", "13"
SPEC = MachineSpec(NAME, "10.77.0.51", disk=8 << 30, memory=1536)
SECONDS = 5400  # emulated, on processors that others use too
# The console, parts of the installer that this computer's archive may lack, and what makes it quicker where
# the machine is emulated: a small kernel, and no waiting for a disk that is not one.
ARGUMENTS = (
    f"console=ttyS0,115200n8 mirror/udeb/suite={SUITE} debian-installer/allow_unauthenticated=true "
    "base-installer/kernel/image=linux-image-cloud-amd64 base-installer/initramfs-tools/driver-policy=dep "
    "anna/choose_modules=eatmydata-udeb"
)


@pytest.fixture(scope="module")
def boot() -> Path:
    return installer(RELEASE)


@pytest.fixture(scope="module")
def parts(boot: Path, tmp_path_factory: pytest.TempPathFactory) -> Parts:
    source = Source(archive(), RELEASE, "amd64", paths.cache() / "installers" / f"apt-{SUITES[RELEASE]}")
    made = Parts(tmp_path_factory.mktemp("parts"), archive(), RELEASE, kernel_of(boot / "linux"))
    try:
        made.build(source)
    except LackingError as error:
        pytest.skip(str(error))
    tell(f"the archive lacks {len(made.lacking)} parts of the installer: {' '.join(made.lacking)}")
    tell(f"made of ordinary packages: {' '.join(made.made) or 'none'}")
    return made


@pytest.fixture(scope="module")
def lab(parts: Parts, boot: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[InstallerLab]:
    folder = tmp_path_factory.mktemp("installer")
    entries = {
        NAME: {
            "role": "worker",
            "architecture": "amd64",
            "os": f"debian-{RELEASE}",
            "ip": SPEC.ip,
            "disk": f"/dev/disk/by-id/virtio-{SPEC.serial}",
        }
    }
    settings = {"mirrors": {"debian": f"http://{GATEWAY}/debian"}, "proxy": "", "kernel_arguments": ARGUMENTS}
    with installer_lab("fullinstall", folder, {NAME: SPEC}, entries, **settings) as running:
        shutil.copytree(boot, folder / "boot" / "installers" / f"debian-{RELEASE}-amd64")
        cache = paths.cache() / "apt"
        web = network.inside(
            running.lab.namespace,
            lambda: make_server((GATEWAY, 80), parts.archive, parts.folder / "www", cache),
        )
        # In this computer's own network, where the archive is.
        threading.Thread(target=web.serve_forever, daemon=True).start()
        yield running
        web.shutdown()
        web.server_close()


def test_an_empty_machine_ends_installed(lab: InstallerLab) -> None:
    mac, machine = SPEC.mac, lab.lab.machines.known(NAME)
    assert lab.ask(f"/api/machines/{mac}/install", {})["state"] == INSTALL_PENDING
    begun = time.monotonic()
    lab.lab.machines_up([SPEC])
    now = lab.wait_for(mac, lambda now: now["state"] in (INSTALLED, FAILED), SECONDS)
    tell(f"{time.monotonic() - begun:.0f} s from power-on to installed")
    log = lab.ask(f"/api/data/{mac}/install_log")["value"]["text"]
    assert now["state"] == INSTALLED, f"{now['error']}\n{log[-3000:]}"
    assert "token=" not in log
    lab.wait_for(mac, lambda now: now["phase"] == "first-boot", 900)
    tell(f"{time.monotonic() - begun:.0f} s from power-on to the first words of the installed system")
    keys = lab.ask(f"/api/data/{mac}/ssh_host_keys")["value"]
    lab.lab.machine_known_hosts.write_text("".join(f"{NAME},{SPEC.ip} {key}\n" for key in keys))

    def said(command: str) -> str:
        done = lab.lab.ssh(NAME, [command], timeout=120)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    assert said("findmnt --noheadings --output SOURCE /") == "/dev/vda1"
    assert said("cat /etc/hostname") == NAME
    assert said("getent shadow root").split(":")[1].startswith(("*", "!"))
    assert "install_token" not in said("cat /etc/kubestead/agent.json")
    assert said("grep -rl token= /var/log/installer || true") == ""
    assert "console=ttyS0,115200n8" in said("cat /proc/cmdline")
    assert machine.running()
    done = lab.told(mac)["install"]
    assert (done["attempts"], done["completed_id"]) == (1, done["desired_id"])
