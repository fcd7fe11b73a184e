# SPDX-License-Identifier: GPL-3.0-or-later
"""The PXE server as the roles make it, by each kind of DHCP: machines really boot, live edits really arrive.

One node is the server for all kinds, one after the other. The tests run in order.
"""

from __future__ import annotations

import dataclasses
import os
import re
import shutil
import time
from collections.abc import Iterator

import pytest

from lab import Lab, MachineSpec
from lab.host import problems
from lab.process import wait_until
from tests.e2e.boot_lab import Homelab, registry
from tests.e2e.needs import require_machines
from tests.figures import tell

pytestmark = pytest.mark.skipif(bool(os.geteuid() or problems()), reason="python -m lab check says why")

BOOT_SECONDS = 120
# "A valid edit takes effect in seconds": the service looks each second, and ISC's server is started anew.
EDIT_SECONDS = 8
FIRST = "kea"
BIOS = MachineSpec("bios", "10.77.0.31", memory=512, disk=64 << 20)
UEFI = MachineSpec("uefi", "10.77.0.32", memory=512, disk=64 << 20, firmware="uefi")
OTHER = MachineSpec("other", "10.77.0.33")
# The router of a home: addresses for all, not a word of what to boot.
ROUTER = f"dhcp-range=10.77.0.210,10.77.0.219,255.255.255.0,10m\ndhcp-host={BIOS.mac},{BIOS.ip}\n"


@pytest.fixture(scope="module")
def homelab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Homelab]:
    require_machines(*([] if shutil.which("dnsmasq") else ["dnsmasq-base"]))
    one = Homelab(Lab("boots", say=print), tmp_path_factory.mktemp("boots"))
    one.up()
    one.lab.machines_make([BIOS, UEFI])
    one.lab.machines.accelerator()
    yield one
    one.down()


def boots(homelab: Homelab, spec: MachineSpec, kind: str) -> None:
    """Switch a machine on; it fetches its own script from the State API, and does what that says."""
    machine, cursor = homelab.lab.machines.known(spec.name), homelab.cursor()
    since = time.monotonic()
    homelab.lab.machines_up([spec])
    path = f"/boot/{spec.mac.replace(':', '-')}.ipxe"

    def said() -> str:
        return re.sub(r"\x1b\[[0-9;?=]*[A-Za-z]", "", machine.serial_log.read_text(errors="replace"))[-3000:]

    try:
        assert wait_until(lambda: homelab.answered_since(cursor, path), BOOT_SECONDS), said()
        seconds = time.monotonic() - since
        tell(f"{kind}, {spec.firmware}: {seconds:.1f} s from power-on to the request for the boot script")
        told = f"Kubestead: {spec.name} boots its local disk: no installation is asked for"
        assert wait_until(lambda: told in said(), 30), said()
    finally:
        machine.cut()


@pytest.mark.parametrize("kind", [FIRST, "isc", "dnsmasq"])
def test_live_edits_and_a_boot(homelab: Homelab, kind: str) -> None:
    homelab.play("state_api,pxe_server" if kind == FIRST else "pxe_server", pxe_server_dhcp=kind)
    known = registry([BIOS, UEFI])
    homelab.takes(known, BIOS.mac, BIOS.ip)
    homelab.takes(known, OTHER.mac, "10.77.0.20")  # of the range for unknown machines

    seconds = homelab.takes(registry([BIOS, UEFI, OTHER]), OTHER.mac, OTHER.ip)
    tell(f"{kind}: {seconds:.1f} s from the edit to the first offer")
    assert seconds < EDIT_SECONDS
    boots(homelab, BIOS, kind)


def test_who_edits_wrongly_changes_nothing(homelab: Homelab) -> None:
    far = dataclasses.replace(OTHER, ip="10.77.0.204")  # the range is for unknown machines
    for text, words in (
        (registry([BIOS, UEFI])[:-20], "is no JSON"),
        (registry([BIOS, UEFI, far]), "has 10.77.0.204 of other in it"),
    ):
        homelab.write_live(text)

        def told(words: str = words) -> bool:
            check = next(one for one in homelab.status()["server"] if one["name"] == "reservations")
            return not check["ok"] and words in check["found"]

        assert wait_until(told, EDIT_SECONDS), homelab.status()
        assert homelab.address(OTHER.mac) == OTHER.ip


def test_a_run_leaves_a_live_edit_alone(homelab: Homelab) -> None:
    homelab.takes(registry([BIOS, UEFI, OTHER]), OTHER.mac, OTHER.ip)
    assert homelab.play("pxe_server", pxe_server_dhcp="dnsmasq")["changed"] == 0
    assert homelab.address(OTHER.mac) == OTHER.ip


def test_a_uefi_machine_boots(homelab: Homelab) -> None:
    boots(homelab, UEFI, "dnsmasq")


def test_the_server_at_a_look(homelab: Homelab) -> None:
    found = homelab.status()
    checks = {check["name"]: check for check in found["server"]}
    assert [name for name, check in checks.items() if not check["ok"]] == []
    assert checks.keys() >= {"State API", "boot port", "DHCP", "TFTP", "HTTP", "reservations", "registry"}
    leases = {lease["ip"]: lease for lease in found["leases"]}
    assert leases[BIOS.ip]["mac"] == BIOS.mac
    assert leases[UEFI.ip]["hostname"] == UEFI.name
    homelab.on_server("systemctl stop pxe-tftp")
    try:
        checks = {check["name"]: check for check in homelab.status()["server"]}
        assert not checks["TFTP"]["ok"]
        assert "pxe-tftp" in checks["TFTP"]["found"]
    finally:
        homelab.on_server("systemctl start pxe-tftp")


def test_beside_a_router(homelab: Homelab) -> None:
    homelab.play("pxe_server", pxe_server_dhcp="proxy")
    leases = homelab.dnsmasq("router", ROUTER)
    boots(homelab, BIOS, "proxy")
    assert BIOS.ip in leases.read_text()
