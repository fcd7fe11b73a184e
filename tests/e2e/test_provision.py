# SPDX-License-Identifier: GPL-3.0-or-later
"""A machine with an empty disk, from power-on to `ready` by image; and machines that must stay as they are.

The PXE server is our own roles on a node of the lab, the State API the real one. The tests are one story and
run in order. They boot by BIOS. By UEFI test_homelab.py's machine is installed, and thereby boots its disk.
"""

from __future__ import annotations

import os
import time

import pytest

from kubestead.model.state_api_client import StateApiRefusedError
from lab import MachineSpec
from lab.host import problems
from tests.e2e.install_lab import SAYS_DISK, InstallLab, boot_sector
from tests.figures import tell

pytestmark = pytest.mark.skipif(bool(os.geteuid() or problems()), reason="python -m lab check says why")

STRANGER = MachineSpec("stranger", "10.77.0.143", "52:54:00:77:00:8f", "bios", 1 << 26)


def installed_id(lab: InstallLab, name: str) -> str:
    """The installation that a machine runs, as the State API and the machine itself have it: they agree."""
    found = lab.view(name)["install"]
    assert found["desired_id"] == found["completed_id"], found
    told = lab.ssh(name, "cat /etc/kubestead/agent.json")
    assert f'"{found["completed_id"]}"' in told
    assert "install_token" not in told, "it is worthless by now, and gone"
    return str(found["completed_id"])


def boot_id(lab: InstallLab, name: str) -> str:
    """What is another after each boot."""
    return lab.ssh(name, "cat /proc/sys/kernel/random/boot_id")


def test_a_machine_is_ready_by_image(install_lab: InstallLab) -> None:
    [since] = install_lab.install("bios").values()
    install_lab.tell_times("bios", "image", since)
    assert install_lab.view("bios")["install"]["attempts"] == 1


def test_it_runs_from_its_disk(install_lab: InstallLab) -> None:
    """The root file system is the disk's, not one in memory, and has the disk's size."""
    found = install_lab.ssh("bios", "findmnt --noheadings --bytes --output SOURCE,FSTYPE,SIZE /").split()
    source, kind, size = found
    assert source.startswith("/dev/vda"), source
    assert kind == "ext4"
    assert int(size) > install_lab.machines["bios"].disk * 0.85, "it has grown to its disk"
    assert install_lab.ssh("bios", "hostname") == "bios"
    running = install_lab.ssh(
        "bios", "systemctl is-system-running --wait || systemctl list-units --failed", 300
    )
    assert running == "running"
    assert install_lab.ssh("bios", "getent shadow root | cut -d: -f2") in ("*", "!", "!*"), "no password"
    installed_id(install_lab, "bios")


def test_what_it_is_made_of_was_reported(install_lab: InstallLab) -> None:
    spec = install_lab.machines["bios"]
    hardware = str(install_lab.data(spec.mac, "hardware"))
    assert "vda" in hardware
    assert spec.mac in hardware


def test_a_reboot_boots_the_disk_of_the_same_installation(install_lab: InstallLab) -> None:
    """The plug is pulled, and the network is asked first: nothing is installed again."""
    before, boot = installed_id(install_lab, "bios"), boot_id(install_lab, "bios")
    install_lab.switch_on("bios")
    install_lab.wait_serial("bios", "boots its local disk")
    install_lab.wait_ssh("bios")
    assert installed_id(install_lab, "bios") == before
    assert boot_id(install_lab, "bios") != boot
    view = install_lab.view("bios")
    assert (view["state"], view["install"]["attempts"]) == ("ready", 1)


def test_reinstall_installs_again_through_a_power_cut(install_lab: InstallLab) -> None:
    """Cut when all of the image is written; test_provision_faults.py cuts while it is."""
    before = installed_id(install_lab, "bios")
    install_lab.ssh("bios", "touch /root/old")
    with pytest.raises(StateApiRefusedError, match="reinstall"):
        install_lab.act("bios", "install")
    install_lab.act("bios", "reinstall")
    install_lab.switch_on("bios")
    install_lab.wait_phase("bios", "bootloader")
    install_lab["bios"].cut()
    view = install_lab.view("bios")
    assert (view["state"], view["install"]["attempts"]) == ("installing", 1)
    install_lab.switch_on("bios")
    install_lab.wait_installed("bios", attempt=2)
    install_lab.provision("bios")
    assert install_lab.view("bios")["state"] == "ready"
    assert installed_id(install_lab, "bios") != before
    install_lab.ssh("bios", "test ! -e /root/old")
    install_lab["bios"].cut()


# Machines that must stay as they are: their disk's first sector says that it was booted.


def test_a_locked_machine_boots_its_disk(install_lab: InstallLab) -> None:
    install_lab.act("stone", "lock")
    with pytest.raises(StateApiRefusedError, match="locked"):
        install_lab.act("stone", "install")
    with install_lab.unchanged("stone"):
        since = install_lab.switch_on("stone")
        install_lab.wait_serial("stone", "it is locked")
        tell(f"BIOS, from power-on to its boot script: {time.time() - since:.0f} s")
        install_lab.wait_serial("stone", SAYS_DISK)
    install_lab.act("stone", "unlock")


def test_an_unknown_machine_gets_a_menu_and_then_its_disk(install_lab: InstallLab) -> None:
    install_lab.lab.machines_make([STRANGER])
    with install_lab["stranger"].disk.open("r+b") as disk:
        disk.write(boot_sector())
    with install_lab.unchanged("stranger"):
        install_lab.switch_on("stranger")
        install_lab.wait_serial("stranger", "is not in the registry")
        install_lab.wait_serial("stranger", SAYS_DISK)
    view = install_lab.ask(lambda client: client.machine(STRANGER.mac))
    assert (view["state"], view["registered"]) == ("discovered", False)
    told = install_lab.data(STRANGER.mac, "firmware")
    assert told["platform"] == "pcbios"
    assert told["manufacturer"] == "Kubestead"
    assert told["serial"] == STRANGER.serial
    install_lab["stranger"].wipe()


def test_without_the_api_a_machine_boots_its_disk_though_it_is_to_be_installed(
    install_lab: InstallLab,
) -> None:
    install_lab.act("stone", "install")
    install_lab.on_server("systemctl stop machine-state-api")
    with install_lab.unchanged("stone"):
        install_lab.switch_on("stone")
        install_lab.wait_serial("stone", "the State API does not answer")
        install_lab.wait_serial("stone", SAYS_DISK)
    install_lab.on_server("systemctl start machine-state-api")
    view = install_lab.wait_state("stone", "install_pending")
    assert view["install"]["attempts"] == 0
    install_lab.act("stone", "approve")


def test_rescue_leaves_the_disk_alone_and_ends_with_the_next_boot(install_lab: InstallLab) -> None:
    before = install_lab.view("stone")["state"]
    with install_lab.unchanged("stone"):
        install_lab.act("stone", "rescue")
        install_lab.switch_on("stone")
        install_lab.wait_ssh("stone", known=False)
        root = install_lab.ssh("stone", "findmnt --noheadings --output FSTYPE /", known=False)
        assert root in ("tmpfs", "ramfs", "rootfs", "overlay")
        assert install_lab.view("stone")["state"] == "rescue"
        assert "vda1" in install_lab.ssh("stone", "lsblk --noheadings --output NAME", known=False)
        for tool in ("fsck.ext4", "sfdisk", "mdadm", "rsync"):
            install_lab.ssh("stone", f"command -v {tool}", known=False)
        install_lab.switch_on("stone")
        install_lab.wait_serial("stone", SAYS_DISK)
    assert install_lab.view("stone")["state"] == before
